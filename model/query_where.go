package model

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// ParseWhere reads a where document that CheckJSON has accepted. It is nil when it asks
// for nothing: absent, null or {}. It fails with invalid_request, which names the
// place, such as where.$or[1].name.$gt.
func ParseWhere(raw jsontext.Value) (*Condition, error) {
	const root = "where"
	switch raw.Kind() {
	case 'n', 0:
		return nil, nil
	case '{':
	default:
		return nil, Invalid(root, "must be an object")
	}
	if v := raw.Clone(); v.Compact() == nil && string(v) == "{}" {
		return nil, nil
	}
	return new(whereParser).document(raw, root, 0)
}

type whereParser struct {
	conditions  int
	patternSize int
}

// document reads {"field": ..., "$or": [...], ...}: all of it must hold.
func (p *whereParser) document(raw jsontext.Value, at string, depth int) (*Condition, error) {
	if raw.Kind() != '{' {
		return nil, Invalid(at, "must be an object with conditions")
	}
	members, err := jsonMembers(raw)
	if err != nil {
		return nil, InvalidJSON(at, err)
	}
	if len(members) == 0 { // it is counted, so that there is an end to lists of such
		if err := p.count(); err != nil {
			return nil, err
		}
	}
	all := &Condition{Op: CondAnd}
	for _, m := range members {
		c, err := p.member(m, at+"."+clipText(m.name), depth)
		if err != nil {
			return nil, err
		}
		all.Conds = append(all.Conds, c)
	}
	return simplest(all), nil
}

func (p *whereParser) member(m jsonMember, at string, depth int) (*Condition, error) {
	switch {
	case m.name == "$and":
		return p.conditionsOf(CondAnd, m.value, at, depth+1)
	case m.name == "$or":
		return p.conditionsOf(CondOr, m.value, at, depth+1)
	case m.name == "$nor":
		c, err := p.conditionsOf(CondOr, m.value, at, depth+1)
		return not(c), err
	case strings.HasPrefix(m.name, "$"):
		return nil, Invalid(at, "is not an operator around conditions: those are $and, $or and $nor")
	}
	f, ok := parseQueryField(m.name)
	if !ok {
		return nil, Invalid(at, "is not a field that can be asked about")
	}
	return p.field(f, m.value, at, depth)
}

// conditionsOf reads the list of $and, $or and $nor.
func (p *whereParser) conditionsOf(op ConditionOp, raw jsontext.Value, at string, depth int) (*Condition, error) {
	if depth > MaxQueryDepth {
		return nil, errQueryDepth(at)
	}
	list, err := jsonElements(raw)
	if err != nil || len(list) == 0 {
		return nil, Invalid(at, "must be an array of one or more conditions")
	}
	c := &Condition{Op: op}
	for i, item := range list {
		sub, err := p.document(item, fmt.Sprintf("%s[%d]", at, i), depth)
		if err != nil {
			return nil, err
		}
		c.Conds = append(c.Conds, sub)
	}
	return simplest(c), nil
}

func errQueryDepth(at string) error {
	return Invalid(at, "lies too deep: at most %d of $and, $or, $nor and $not may be inside one another", MaxQueryDepth)
}

// field reads what stands behind a field's name: operators, or a bare value.
func (p *whereParser) field(f QueryField, raw jsontext.Value, at string, depth int) (*Condition, error) {
	var operators []jsonMember
	if raw.Kind() == '{' {
		members, err := jsonMembers(raw)
		if err != nil {
			return nil, InvalidJSON(at, err)
		}
		if anyOperator(members) {
			operators = members
		}
	}
	if operators == nil {
		return p.equal(f, []jsontext.Value{raw}, func(int) string { return at })
	}
	all := &Condition{Op: CondAnd}
	for _, m := range operators {
		c, err := p.operator(f, m, operators, at, depth)
		if err != nil {
			return nil, err
		}
		if c != nil {
			all.Conds = append(all.Conds, c)
		}
	}
	return simplest(all), nil
}

func anyOperator(members []jsonMember) bool {
	for _, m := range members {
		if strings.HasPrefix(m.name, "$") {
			return true
		}
	}
	return false
}

var queryOperators = map[string]ConditionOp{
	"$gt": CondGreater, "$gte": CondGreaterOrEqual, "$lt": CondLess, "$lte": CondLessOrEqual,
	"$contains": CondContains, "$startsWith": CondStartsWith, "$endsWith": CondEndsWith,
}

// operator reads one operator on a field; nil for $options, which $regex takes along.
func (p *whereParser) operator(f QueryField, m jsonMember, beside []jsonMember, at string, depth int) (*Condition, error) {
	field := at
	at += "." + clipText(m.name)
	switch m.name {
	case "$not":
		if depth+1 > MaxQueryDepth {
			return nil, errQueryDepth(at)
		}
		c, err := p.field(f, m.value, at, depth+1)
		return not(c), err
	case "$options":
		if _, ok := memberNamed(beside, "$regex"); !ok {
			return nil, Invalid(at, "goes with $regex alone")
		}
		return nil, nil
	case "$eq", "$ne":
		c, err := p.equal(f, []jsontext.Value{m.value}, func(int) string { return at })
		return negated(c, m.name == "$ne"), err
	case "$in", "$nin", "$all":
		return p.list(f, m, at)
	}
	if err := p.count(); err != nil {
		return nil, err
	}
	switch m.name {
	case "$exists":
		if m.value.Kind() != 't' && m.value.Kind() != 'f' {
			return nil, Invalid(at, "must be true or false")
		}
		return negated(&Condition{Op: CondExists, Field: f}, m.value.Kind() == 'f'), nil
	case "$regex":
		return p.regex(f, m.value, beside, at, field+".$options")
	case "$size":
		var n int64
		if err := json.Unmarshal(m.value, &n); err != nil || m.value.Kind() != '0' || n < 0 {
			return nil, Invalid(at, "must be a whole number, 0 or more")
		}
		return &Condition{Op: CondSize, Field: f, Size: n}, nil
	}
	op, ok := queryOperators[m.name]
	if !ok {
		return nil, Invalid(at, "is not an operator")
	}
	if op >= CondContains && m.value.Kind() != '"' {
		return nil, Invalid(at, "must be a string")
	}
	if op >= CondContains {
		v, err := newQueryValue(QueryField{}, m.value, at) // a piece of text, at a field of times too
		return &Condition{Op: op, Field: f, Values: []QueryValue{v}}, err
	}
	v, err := newQueryValue(f, m.value, at)
	return &Condition{Op: op, Field: f, Values: []QueryValue{v}}, err
}

// list reads $in, $nin and $all.
func (p *whereParser) list(f QueryField, m jsonMember, at string) (*Condition, error) {
	list, err := jsonElements(m.value)
	if err != nil {
		return nil, Invalid(at, "must be an array")
	}
	if len(list) > MaxQueryValues {
		return nil, Invalid(at, "must hold at most %d values", MaxQueryValues)
	}
	c, err := p.equal(f, list, func(i int) string { return fmt.Sprintf("%s[%d]", at, i) })
	if err != nil {
		return nil, err
	}
	if m.name == "$all" {
		c.Op = CondAll
	}
	return negated(c, m.name == "$nin"), nil
}

func (p *whereParser) equal(f QueryField, list []jsontext.Value, at func(i int) string) (*Condition, error) {
	if err := p.count(); err != nil {
		return nil, err
	}
	c := &Condition{Op: CondEqual, Field: f}
	for i, raw := range list {
		v, err := newQueryValue(f, raw, at(i))
		if err != nil {
			return nil, err
		}
		c.Values = append(c.Values, v)
	}
	return c, nil
}

func (p *whereParser) regex(f QueryField, raw jsontext.Value, beside []jsonMember, at, atOptions string) (*Condition, error) {
	var text, options string
	if raw.Kind() != '"' || json.Unmarshal(raw, &text) != nil {
		return nil, Invalid(at, "must be a string")
	}
	if o, ok := memberNamed(beside, "$options"); ok {
		if o.value.Kind() != '"' || json.Unmarshal(o.value, &options) != nil || strings.Trim(options, "imsx") != "" {
			return nil, Invalid(atOptions, "must be a string of the letters i, m, s and x")
		}
	}
	pattern, err := ParsePattern(text, options)
	if err != nil {
		return nil, Invalid(at, "%s", clipText(err.Error()))
	}
	if p.patternSize += pattern.Size; p.patternSize > maxPatternSize {
		return nil, Invalid(at, "makes the query's patterns too large together")
	}
	return &Condition{Op: CondMatches, Field: f, Pattern: pattern, At: at}, nil
}

func (p *whereParser) count() error {
	if p.conditions++; p.conditions > MaxQueryConditions {
		return Invalid("where", "must hold at most %d conditions, each operator on a field being one", MaxQueryConditions)
	}
	return nil
}

func not(c *Condition) *Condition { return &Condition{Op: CondNot, Conds: []*Condition{c}} }

func negated(c *Condition, yes bool) *Condition {
	if yes {
		return not(c)
	}
	return c
}

// simplest takes a list of one apart.
func simplest(c *Condition) *Condition {
	if len(c.Conds) == 1 {
		return c.Conds[0]
	}
	return c
}

func memberNamed(members []jsonMember, name string) (jsonMember, bool) {
	for _, m := range members {
		if m.name == name {
			return m, true
		}
	}
	return jsonMember{}, false
}

// jsonElements takes an array apart.
func jsonElements(array jsontext.Value) ([]jsontext.Value, error) {
	var list []jsontext.Value
	if array.Kind() != '[' {
		return nil, fmt.Errorf("not an array")
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(array, &raw); err != nil {
		return nil, err
	}
	for _, r := range raw {
		list = append(list, jsontext.Value(r))
	}
	return list, nil
}
