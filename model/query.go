package model

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a query for conversations (API.md section 6).
const (
	MaxQueryDepth      = 8  // $and $or $nor $not inside one another
	MaxQueryConditions = 64 // each operator on a field is one
	MaxQueryValues     = 1000
	MaxOrder           = 5
	MaxSkip            = 10_000
)

// QueryColumn is what of a conversation a condition or an order looks at.
type QueryColumn uint8

// The columns.
const (
	QueryID QueryColumn = iota + 1
	QueryName
	QueryKind
	QueryCreator
	QueryMembers
	QueryMemberCount
	QueryCreatedAt
	QueryUpdatedAt
	QueryLastMessageAt
	QueryUnique
	QueryMuted      // the viewer's own; missing for who is no member
	QueryIsChatroom // the old system's tr
	QueryIsService  // and sys
	QueryAttribute  // what lies at a path in the attributes
	QueryActivity   // lastMessageAt, else createdAt: the order that nobody has to ask for by name
)

var queryColumns = map[string]QueryColumn{
	"id": QueryID, "name": QueryName, "kind": QueryKind, "creator": QueryCreator, "members": QueryMembers,
	"memberCount": QueryMemberCount, "createdAt": QueryCreatedAt, "updatedAt": QueryUpdatedAt,
	"lastMessageAt": QueryLastMessageAt, "unique": QueryUnique, "muted": QueryMuted,
	"objectId": QueryID, "c": QueryCreator, "m": QueryMembers, "lm": QueryLastMessageAt, // as the old system spelled them
	"tr": QueryIsChatroom, "sys": QueryIsService,
}

// QueryField is a field that a query names.
type QueryField struct {
	Column QueryColumn
	Path   []string // names within one another, of QueryAttribute alone
}

// IsTime reports whether the field holds times, which may then be written as bare strings.
func (f QueryField) IsTime() bool {
	return f.Column == QueryCreatedAt || f.Column == QueryUpdatedAt || f.Column == QueryLastMessageAt
}

// parseQueryField looks a field's name up; false when queries know none of that name.
func parseQueryField(name string) (QueryField, bool) {
	if c, ok := queryColumns[name]; ok {
		return QueryField{Column: c}, true
	}
	path, ok := strings.CutPrefix(name, "attributes.")
	if !ok {
		path, ok = strings.CutPrefix(name, "attr.")
	}
	if !ok {
		return QueryField{}, false
	}
	f := QueryField{Column: QueryAttribute, Path: strings.Split(path, ".")}
	for _, step := range f.Path {
		ok = ok && step != ""
	}
	return f, ok && len(f.Path) <= MaxNesting
}

// ConditionOp is what a Condition asks.
type ConditionOp uint8

// What can be asked. Everything else that a client may write is made of these:
// $in is CondEqual with several values, $ne is CondNot around CondEqual.
const (
	CondAnd ConditionOp = iota + 1 // of Conds; true when there are none
	CondOr
	CondNot            // of the only one of Conds
	CondEqual          // to one of Values; of an array, that an element is
	CondGreater        // than the only one of Values, and so on
	CondGreaterOrEqual //
	CondLess           //
	CondLessOrEqual    //
	CondExists         // neither missing nor null
	CondContains       // the Text of the value, and so on
	CondStartsWith     //
	CondEndsWith       //
	CondMatches        // Pattern
	CondAll            // an array that has all Values among its elements
	CondSize           // an array of Size elements
)

// Condition is a where document, or a part of it. It is never true of a
// conversation of which the caller may not see what it asks about: see CondNot and
// QueryMembers in API.md section 6.
type Condition struct {
	Op    ConditionOp
	Conds []*Condition // of CondAnd, CondOr, CondNot

	Field   QueryField
	Values  []QueryValue
	Pattern *Pattern
	Size    int64
	At      string // the field of the request that CondMatches comes from
}

// Walk calls f for a condition and all within it.
func (c *Condition) Walk(f func(*Condition)) {
	f(c)
	for _, sub := range c.Conds {
		sub.Walk(f)
	}
}

// QueryType is the type of a value; values of unlike types never compare.
type QueryType uint8

// The types.
const (
	TypeNull QueryType = iota
	TypeString
	TypeNumber
	TypeBoolean
	TypeArray
	TypeObject
	TypeDate
)

// QueryValue is a value that a condition compares with.
type QueryValue struct {
	Type QueryType
	Text string         // of TypeString
	Bool bool           // of TypeBoolean
	Time Time           // of TypeDate
	JSON jsontext.Value // compact, and fit for the database; of bare times as strings the string
}

// SortKey is one key of an order.
type SortKey struct {
	Field      QueryField
	Descending bool
}

// ByActivity is the order that applies when none is asked for: newest activity first.
func ByActivity() []SortKey {
	return []SortKey{{Field: QueryField{Column: QueryActivity}, Descending: true}}
}

// ParseOrder reads an order; at names the field of the request that holds item i.
// None at all is ByActivity. A field that comes again adds nothing and is dropped.
func ParseOrder(items []string, at func(i int) string) ([]SortKey, error) {
	if len(items) == 0 {
		return ByActivity(), nil
	}
	if len(items) > MaxOrder {
		return nil, Invalid(at(MaxOrder), "is one too many: an order has at most %d fields", MaxOrder)
	}
	seen := make(map[string]bool)
	var order []SortKey
	for i, item := range items {
		name, descending := strings.CutPrefix(item, "-")
		f, ok := parseQueryField(name)
		if !ok || f.Column == QueryMembers {
			return nil, Invalid(at(i), "must be a field to order by, such as lastMessageAt, name or attributes.<path>, with - before it for descending")
		}
		id := string(rune(f.Column)) + strings.Join(f.Path, ".")
		if seen[id] {
			continue
		}
		seen[id] = true
		order = append(order, SortKey{f, descending})
	}
	return order, nil
}

// newQueryValue reads a value that CheckJSON has accepted. At a field of times a
// string is one. An object that says it is a Date must be a good one.
func newQueryValue(f QueryField, raw jsontext.Value, at string) (QueryValue, error) {
	v := QueryValue{JSON: storableJSON(raw)}
	switch raw.Kind() {
	case 'n':
		v.Type = TypeNull
	case 't', 'f':
		v.Type, v.Bool = TypeBoolean, raw.Kind() == 't'
	case '0':
		v.Type = TypeNumber
	case '[':
		v.Type = TypeArray
	case '"':
		v.Type = TypeString
		if err := json.Unmarshal(raw, &v.Text); err != nil {
			return QueryValue{}, InvalidJSON(at, err)
		}
		if f.IsTime() {
			return dateValue(v, v.Text, at)
		}
	default:
		v.Type = TypeObject
		iso, isDate, ok := dateText(raw)
		if isDate && !ok {
			return QueryValue{}, Invalid(at, `must be {"__type": "Date", "iso": "<a time>"}`)
		}
		if isDate {
			return dateValue(v, iso, at)
		}
	}
	return v, nil
}

func dateValue(v QueryValue, text, at string) (QueryValue, error) {
	t, err := ParseTime(text)
	if err != nil {
		return QueryValue{}, Invalid(at, "%v", err)
	}
	v.Type, v.Time = TypeDate, t
	return v, nil
}

// dateText is the time in {"__type": "Date", "iso": "..."}. isDate is true of every
// object that says it is one, ok only when it looks like that and nothing else.
func dateText(object jsontext.Value) (iso string, isDate, ok bool) {
	members, err := jsonMembers(object)
	if err != nil {
		return "", false, false
	}
	for _, m := range members {
		var text string
		isText := m.value.Kind() == '"' && json.Unmarshal(m.value, &text) == nil
		switch {
		case m.name == "__type" && isText && text == "Date":
			isDate = true
		case m.name == "iso" && isText:
			iso, ok = text, true
		}
	}
	return iso, isDate, isDate && ok && len(members) == 2
}

// storableJSON is a compact copy in which the numbers that a double cannot tell from
// 0, and PostgreSQL's numeric cannot hold, are 0. The function attributes_jsonb does the same.
func storableJSON(raw jsontext.Value) jsontext.Value {
	v := raw.Clone()
	_ = v.Compact() // it is valid
	if !mayBeTiny(v) {
		return v
	}
	out := make(jsontext.Value, 0, len(v))
	for i := 0; i < len(v); {
		n := tokenLength(v[i:])
		if isTiny(v[i : i+n]) {
			out = append(out, '0')
		} else {
			out = append(out, v[i:i+n]...)
		}
		i += n
	}
	return out
}

// tokenLength is that of a string or of a number; of anything else one byte at a time.
func tokenLength(v []byte) int {
	n := 1
	switch c := v[0]; {
	case c == '"':
		for v[n] != '"' {
			if v[n] == '\\' {
				n++
			}
			n++
		}
		return n + 1
	case c == '-' || c >= '0' && c <= '9':
		for n < len(v) && strings.IndexByte("+-.eE0123456789", v[n]) >= 0 {
			n++
		}
	}
	return n
}

func mayBeTiny(v []byte) bool {
	s := string(v)
	return strings.Contains(s, "e-") || strings.Contains(s, "E-")
}

// isTiny is true of numbers like 1e-10000, and of digits without end times 1e-100.
func isTiny(number []byte) bool {
	if number[0] != '-' && (number[0] < '0' || number[0] > '9') {
		return false
	}
	digits, exponent, ok := strings.Cut(strings.ToLower(string(number)), "e-")
	const far, long = 5, 300
	exponent = strings.TrimLeft(exponent, "0")
	return ok && (len(exponent) >= far || len(digits) > long && len(exponent) > 0)
}

// clipText keeps a text from filling an answer.
func clipText(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return shorten(s)
}
