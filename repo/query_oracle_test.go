package repo_test

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"parley/model"
)

// What follows answers queries slowly and plainly, from the documents themselves: the
// compiler is checked against it.

// thing is a conversation as a query may know it.
type thing struct {
	id, kind, visibility string
	name, creator        *string
	members, mutedBy     []string
	created, updated     time.Time
	last                 *time.Time
	unique, expired      bool
	attributes           string
}

// truth has three values: -1 no, 0 nobody can say, 1 yes.
type truth int

func yes(b bool) truth {
	if b {
		return 1
	}
	return -1
}

func (c *thing) member(client string) bool { return slices.Contains(c.members, client) }

// found reports whether a query of the caller finds the conversation.
func (c *thing) found(caller model.Caller, where map[string]any) bool {
	visible := caller.Server || c.visibility == "public" || c.member(caller.Client)
	if len(where) == 0 {
		visible = c.member(caller.Client)
	}
	return visible && !c.expired && c.document(caller, where) > 0
}

func (c *thing) document(caller model.Caller, where map[string]any) truth {
	t := truth(1)
	for name, v := range where {
		switch name {
		case "$and", "$or", "$nor":
			t = min(t, c.list(caller, name, v.([]any)))
		default:
			t = min(t, c.field(caller, name, v))
		}
	}
	return t
}

func (c *thing) list(caller model.Caller, op string, list []any) truth {
	all, some := truth(1), truth(-1)
	for _, item := range list {
		t := c.document(caller, item.(map[string]any))
		all, some = min(all, t), max(some, t)
	}
	switch op {
	case "$and":
		return all
	case "$nor":
		return -some
	}
	return some
}

func (c *thing) field(caller model.Caller, name string, v any) truth {
	v2, isObject := v.(map[string]any)
	operators := false
	for k := range v2 {
		operators = operators || strings.HasPrefix(k, "$")
	}
	if !isObject || !operators {
		return c.operator(caller, name, "$eq", v, nil)
	}
	t := truth(1)
	for op, operand := range v2 {
		if op == "$not" {
			t = min(t, -c.field(caller, name, operand))
		} else if op != "$options" {
			t = min(t, c.operator(caller, name, op, operand, v2["$options"]))
		}
	}
	return t
}

func (c *thing) operator(caller model.Caller, name, op string, v, options any) truth {
	if name == "members" || name == "m" {
		hidden := !c.member(caller.Client) || c.kind == "chatroom" || c.kind == "service"
		if hidden && !caller.Server {
			return 0
		}
		// A whole list of members is a set: its order does not matter.
		switch list, ok := v.([]any); {
		case ok && (op == "$eq" || op == "$ne"):
			v = sortedTexts(list)
		case ok:
			v = slices.Clone(list)
			for i, e := range list {
				if inner, ok := e.([]any); ok {
					v.([]any)[i] = sortedTexts(inner)
				}
			}
		}
		return yes(holds(sortedTexts(texts(c.members)), op, v, options))
	}
	value := c.value(caller, name)
	if _, isTime := value.(time.Time); isTime || name == "lm" || name == "lastMessageAt" {
		v = timesIn(v)
	}
	return yes(holds(value, op, v, options))
}

func sortedTexts(list []any) []any {
	out := slices.Clone(list)
	slices.SortFunc(out, func(a, b any) int {
		x, _ := a.(string)
		y, _ := b.(string)
		return cmp.Compare(x, y)
	})
	return append([]any{}, out...)
}

func texts(list []string) []any {
	out := []any{}
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

// timesIn makes times of the strings at a field of times.
func timesIn(v any) any {
	switch v := v.(type) {
	case string:
		t, _ := model.ParseTime(v)
		return t.Time
	case []any:
		out := []any{}
		for _, e := range v {
			out = append(out, timesIn(e))
		}
		return out
	}
	return v
}

func text(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}

// value is what a field holds: nil, string, float64, bool, time.Time, []any, map[string]any.
func (c *thing) value(caller model.Caller, name string) any {
	switch name {
	case "id", "objectId":
		return c.id
	case "name":
		return text(c.name)
	case "kind":
		return c.kind
	case "creator", "c":
		return text(c.creator)
	case "memberCount":
		return float64(len(c.members))
	case "createdAt":
		return c.created
	case "updatedAt":
		return c.updated
	case "lastMessageAt", "lm":
		if c.last == nil {
			return nil
		}
		return *c.last
	case "unique":
		return c.unique
	case "tr":
		return c.kind == "chatroom"
	case "sys":
		return c.kind == "service"
	case "muted":
		if !c.member(caller.Client) {
			return nil
		}
		return slices.Contains(c.mutedBy, caller.Client)
	}
	path, ok := strings.CutPrefix(name, "attributes.")
	if !ok {
		path = strings.TrimPrefix(name, "attr.")
	}
	var v any
	_ = json.Unmarshal([]byte(c.attributes), &v)
	for step := range strings.SplitSeq(path, ".") {
		object, _ := v.(map[string]any)
		v = object[step]
	}
	return v
}

// dated makes a time of what stands for one.
func dated(v any) any {
	m, ok := v.(map[string]any)
	if iso, isText := m["iso"].(string); ok && isText && m["__type"] == "Date" && len(m) == 2 {
		if t, err := time.Parse(time.RFC3339Nano, iso); err == nil {
			return t.Round(time.Microsecond)
		}
	}
	return v
}

func same(a, b any) bool {
	a, b = dated(a), dated(b)
	x, isTime := a.(time.Time)
	y, too := b.(time.Time)
	if isTime && too {
		return x.Equal(y)
	}
	return reflect.DeepEqual(a, b)
}

func equal(value, v any) bool {
	list, isList := value.([]any)
	if _, whole := v.([]any); isList && !whole {
		return slices.ContainsFunc(list, func(e any) bool { return same(e, v) })
	}
	return same(value, v)
}

func holds(value any, op string, v, options any) bool {
	isOne := func(v any) bool { return equal(value, v) }
	switch op {
	case "$eq":
		return isOne(v)
	case "$ne":
		return !isOne(v)
	case "$in":
		return slices.ContainsFunc(v.([]any), isOne)
	case "$nin":
		return !slices.ContainsFunc(v.([]any), isOne)
	case "$exists":
		return (value != nil) == v.(bool)
	case "$all":
		list, ok := value.([]any)
		for _, want := range v.([]any) {
			ok = ok && slices.ContainsFunc(list, func(e any) bool { return same(e, want) })
		}
		return ok
	case "$size":
		list, ok := value.([]any)
		return ok && float64(len(list)) == v.(float64)
	case "$gt", "$gte", "$lt", "$lte":
		order, ok := compared(dated(value), dated(v))
		return ok && (op == "$gt" && order > 0 || op == "$gte" && order >= 0 || op == "$lt" && order < 0 || op == "$lte" && order <= 0)
	}
	s, ok := value.(string)
	if !ok {
		return false
	}
	switch op {
	case "$contains":
		return strings.Contains(s, v.(string))
	case "$startsWith":
		return strings.HasPrefix(s, v.(string))
	case "$endsWith":
		return strings.HasSuffix(s, v.(string))
	}
	o, _ := options.(string)
	p, err := model.ParsePattern(v.(string), o)
	return err == nil && matches(p, s)
}

// compared orders two values of one type; false when they are not.
func compared(a, b any) (int, bool) {
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		return cmp.Compare(a, b), ok
	case float64:
		b, ok := b.(float64)
		return cmp.Compare(a, b), ok
	case bool:
		b, ok := b.(bool)
		return cmp.Compare(number(a), number(b)), ok
	case time.Time:
		b, ok := b.(time.Time)
		return a.Compare(b), ok
	}
	return 0, false
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rank orders values of unlike types.
func rank(v any) int {
	switch v.(type) {
	case nil:
		return 0
	case string:
		return 1
	case float64:
		return 2
	case bool:
		return 3
	case []any:
		return 4
	case time.Time:
		return 5
	}
	return 6
}

// ordered sorts as an order such as "-name" says, ties by id.
func ordered(caller model.Caller, order []string, list []*thing) {
	slices.SortFunc(list, func(a, b *thing) int {
		for _, key := range order {
			name, descending := strings.CutPrefix(key, "-")
			x, y := dated(a.value(caller, name)), dated(b.value(caller, name))
			by := cmp.Compare(rank(x), rank(y))
			if by == 0 {
				by, _ = compared(x, y)
			}
			if descending {
				by = -by
			}
			if by != 0 {
				return by
			}
		}
		return cmp.Compare(a.id, b.id)
	})
}

// activity is the order that applies when none is asked for.
func activity(list []*thing) {
	at := func(c *thing) time.Time {
		if c.last != nil {
			return *c.last
		}
		return c.created
	}
	slices.SortFunc(list, func(a, b *thing) int {
		return cmp.Or(at(b).Compare(at(a)), cmp.Compare(a.id, b.id))
	})
}

// matches is a matcher that tries everything.
func matches(p *model.Pattern, s string) bool {
	m := matcher{text: []rune(s), groups: make([][2]int, p.Groups+1)}
	for i := range m.groups {
		m.groups[i] = [2]int{-1, -1}
	}
	for at := range len(m.text) + 1 {
		if m.match(p.Root, at, func(int) bool { return true }) {
			return true
		}
	}
	return false
}

type matcher struct {
	text   []rune
	groups [][2]int
}

func (m *matcher) match(n *model.PatternNode, at int, then func(int) bool) bool {
	switch n.Op {
	case model.PatternEmpty:
		return then(at)
	case model.PatternClass:
		return at < len(m.text) && n.Class.Has(m.text[at]) && then(at+1)
	case model.PatternConcat:
		return m.concat(n.Subs, at, then)
	case model.PatternChoice:
		return slices.ContainsFunc(n.Subs, func(sub *model.PatternNode) bool { return m.match(sub, at, then) })
	case model.PatternRepeat:
		return m.repeat(n, 0, at, then)
	case model.PatternGroup:
		before := m.groups[n.Index]
		return m.match(n.Subs[0], at, func(end int) bool {
			inner := m.groups[n.Index]
			m.groups[n.Index] = [2]int{at, end}
			if then(end) {
				return true
			}
			m.groups[n.Index] = inner
			return false
		}) || func() bool { m.groups[n.Index] = before; return false }()
	case model.PatternRef:
		g := m.groups[n.Index]
		if g[0] < 0 || at+g[1]-g[0] > len(m.text) {
			return false
		}
		a, b := string(m.text[g[0]:g[1]]), string(m.text[at:at+g[1]-g[0]])
		return (a == b || n.Fold && strings.EqualFold(a, b)) && then(at+g[1]-g[0])
	case model.PatternLook:
		return m.look(n, at) != n.Not && then(at)
	}
	return m.stands(n, at) && then(at)
}

func (m *matcher) concat(subs []*model.PatternNode, at int, then func(int) bool) bool {
	if len(subs) == 0 {
		return then(at)
	}
	return m.match(subs[0], at, func(end int) bool { return m.concat(subs[1:], end, then) })
}

func (m *matcher) repeat(n *model.PatternNode, done, at int, then func(int) bool) bool {
	if n.Max < 0 || done < n.Max {
		if m.match(n.Subs[0], at, func(end int) bool {
			return (end > at || done < n.Min) && m.repeat(n, done+1, end, then)
		}) {
			return true
		}
	}
	return done >= n.Min && then(at)
}

func (m *matcher) look(n *model.PatternNode, at int) bool {
	if !n.Behind {
		return m.match(n.Subs[0], at, func(int) bool { return true })
	}
	for from := range at + 1 {
		if m.match(n.Subs[0], from, func(end int) bool { return end == at }) {
			return true
		}
	}
	return false
}

func (m *matcher) stands(n *model.PatternNode, at int) bool {
	switch n.Op {
	case model.PatternStart:
		return at == 0
	case model.PatternEnd:
		return at == len(m.text)
	case model.PatternLineStart:
		return at == 0 || m.text[at-1] == '\n'
	case model.PatternLineEnd:
		return at == len(m.text) || m.text[at] == '\n'
	}
	word := func(i int) bool {
		return i >= 0 && i < len(m.text) && m.text[i] < 128 && (m.text[i] == '_' || strings.ContainsRune(
			"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", m.text[i]))
	}
	return (word(at-1) != word(at)) != n.Not
}
