package repo

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/lib/pq"

	"parley/model"
)

// scope is which conversations one part of a query's statement looks at. A statement
// has a part for the caller's own and one for those that everybody finds, so that each
// goes by its own indexes, and so that what nobody but members may ask about is plainly
// false in the second.
type scope uint8

const (
	own       scope = iota // conversations c of which m is the caller's row
	public                 // those of others; there is no such row
	unlimited              // all of them, for server tokens; m may be null
)

// compiler turns conditions and orders into SQL. What a client wrote reaches the
// statement as parameters alone.
//
// Negations are pushed down to the single conditions. A condition on the members
// that the caller may not see is false there either way: this is SQL's logic with
// three values, of which only "true" matters at the top.
type compiler struct {
	args  []any
	scope scope
	paths map[string]string // SQL of attributes met before
}

func newCompiler(args ...any) *compiler { return &compiler{args: args} }

// in starts a part of the statement.
func (q *compiler) in(s scope) {
	q.scope = s
	q.paths = make(map[string]string) // shared parameters would do no harm, but a part reads better by itself
}

// arg adds a parameter of a type.
func (q *compiler) arg(v any, typ string) string {
	q.args = append(q.args, v)
	return fmt.Sprintf("$%d::%s", len(q.args), typ)
}

// condition is the SQL of c, or of its negation. Where that is null it stands for false.
func (q *compiler) condition(c *model.Condition, not bool) string {
	switch {
	case c.Op == model.CondNot:
		return q.condition(c.Conds[0], !not)
	case c.Op == model.CondAnd || c.Op == model.CondOr:
		return q.junction(c, not)
	case c.Field.Column == model.QueryMembers:
		return q.members(c, not)
	}
	leaf := q.leaf(c)
	if not {
		return "(" + leaf + ") IS NOT TRUE"
	}
	return leaf
}

func (q *compiler) junction(c *model.Condition, not bool) string {
	word, empty := " AND ", "true"
	if (c.Op == model.CondOr) != not {
		word, empty = " OR ", "false"
	}
	var parts []string
	for _, sub := range c.Conds {
		parts = append(parts, "("+q.condition(sub, not)+")")
	}
	if len(parts) == 0 {
		return empty
	}
	return strings.Join(parts, word)
}

// any is the disjunction of some SQL.
func anyOf(parts []string) string {
	if len(parts) == 0 {
		return "false"
	}
	return "(" + strings.Join(parts, " OR ") + ")"
}

func (q *compiler) leaf(c *model.Condition) string {
	if c.Field.Column == model.QueryAttribute {
		return q.attribute(c)
	}
	col := q.column(c.Field.Column)
	switch c.Op {
	case model.CondExists:
		if col.nullable {
			return col.sql + " IS NOT NULL"
		}
		return "true"
	case model.CondEqual:
		return q.columnEqual(c, col)
	case model.CondGreater, model.CondGreaterOrEqual, model.CondLess, model.CondLessOrEqual:
		v := c.Values[0]
		if v.Type != col.typ {
			return "false"
		}
		return col.sql + " " + comparison[c.Op] + " " + q.scalar(v)
	}
	if col.typ != model.TypeString {
		return "false"
	}
	return q.text(c, col.sql)
}

var comparison = map[model.ConditionOp]string{
	model.CondGreater: ">", model.CondGreaterOrEqual: ">=", model.CondLess: "<", model.CondLessOrEqual: "<=",
}

// column is a field other than members and attributes.
type column struct {
	sql      string
	typ      model.QueryType
	nullable bool
}

// The name of a kind, as clients see it.
const kindName = `(CASE c.kind WHEN 1 THEN 'ordinary' WHEN 2 THEN 'chatroom' WHEN 3 THEN 'service' ELSE 'temporary' END COLLATE "C")`

func (q *compiler) column(c model.QueryColumn) column {
	switch c {
	case model.QueryID:
		return column{"c.id", model.TypeString, false}
	case model.QueryName:
		return column{`c.name COLLATE "C"`, model.TypeString, true}
	case model.QueryKind:
		return column{kindName, model.TypeString, false}
	case model.QueryCreator:
		return column{`c.creator COLLATE "C"`, model.TypeString, true}
	case model.QueryMemberCount:
		return column{"c.member_count", model.TypeNumber, false}
	case model.QueryCreatedAt:
		return column{"c.created_at", model.TypeDate, false}
	case model.QueryUpdatedAt:
		return column{"c.updated_at", model.TypeDate, false}
	case model.QueryLastMessageAt:
		return column{"c.last_message_at", model.TypeDate, true}
	case model.QueryActivity:
		return column{"COALESCE(c.last_message_at, c.created_at)", model.TypeDate, false}
	case model.QueryUnique:
		return column{"c.is_unique", model.TypeBoolean, false}
	case model.QueryIsChatroom:
		return column{"(c.kind = 2)", model.TypeBoolean, false}
	case model.QueryIsService:
		return column{"(c.kind = 3)", model.TypeBoolean, false}
	case model.QueryMuted:
		if q.scope == public {
			return column{"NULL::boolean", model.TypeBoolean, true}
		}
		return column{"m.muted", model.TypeBoolean, true}
	}
	panic(fmt.Sprintf("repo: no such column: %d", c))
}

// scalar is a text, number, boolean or date as a parameter.
func (q *compiler) scalar(v model.QueryValue) string {
	switch v.Type {
	case model.TypeString:
		return q.arg(v.Text, "text")
	case model.TypeNumber:
		return q.arg(string(v.JSON), "numeric")
	case model.TypeBoolean:
		return q.arg(v.Bool, "boolean")
	}
	return q.arg(v.Time, "timestamptz")
}

func (q *compiler) columnEqual(c *model.Condition, col column) string {
	if c.Field.Column == model.QueryKind {
		return q.kindEqual(c.Values)
	}
	by := byType(c.Values)
	var parts []string
	if by.null && col.nullable {
		parts = append(parts, col.sql+" IS NULL")
	}
	var list []string
	var typ string
	switch col.typ {
	case model.TypeBoolean:
		if by.hasTrue {
			parts = append(parts, col.sql)
		}
		if by.hasFalse {
			parts = append(parts, "NOT "+col.sql)
		}
	case model.TypeString:
		list, typ = by.texts, "text"
	case model.TypeNumber:
		list, typ = by.numbers, "numeric"
	case model.TypeDate:
		list, typ = by.dates, "timestamptz"
	}
	if len(list) == 1 {
		parts = append(parts, col.sql+" = "+q.arg(list[0], typ))
	} else if len(list) > 1 {
		parts = append(parts, col.sql+" = ANY ("+q.arg(pq.Array(list), typ+"[]")+")")
	}
	return anyOf(parts)
}

func (q *compiler) kindEqual(values []model.QueryValue) string {
	var parts []string
	for _, v := range values {
		if kind, ok := model.ParseKind(v.Text); ok && v.Type == model.TypeString {
			parts = append(parts, fmt.Sprintf("c.kind = %d", kind))
		}
	}
	return anyOf(parts)
}

// text is an operator on a text.
func (q *compiler) text(c *model.Condition, sql string) string {
	switch c.Op {
	case model.CondContains:
		return "strpos(" + sql + ", " + q.arg(c.Values[0].Text, "text") + ") > 0"
	case model.CondStartsWith:
		return sql + " ^@ " + q.arg(c.Values[0].Text, "text")
	case model.CondEndsWith:
		suffix := q.arg(c.Values[0].Text, "text")
		return "right(" + sql + ", length(" + suffix + ")) = " + suffix
	case model.CondMatches:
		return q.guarded(sql + " ~ (" + q.arg(advanced(c.Pattern), "text") + ` COLLATE "C")`)
	}
	return "false" // $all and $size are for arrays
}

// guarded keeps what may take long from being asked of conversations that the caller
// cannot see: how long it takes would tell about them.
func (q *compiler) guarded(sql string) string {
	switch q.scope {
	case own:
		return "CASE WHEN m.client_id = $1 THEN " + sql + " END"
	case public:
		return "CASE WHEN c.visibility = 1 THEN " + sql + " END"
	}
	return sql
}

// members is a condition on the members, or its negation.
func (q *compiler) members(c *model.Condition, not bool) string {
	if q.scope == public {
		return "false"
	}
	sql := q.membersLeaf(c)
	if not {
		sql = "NOT (" + sql + ")"
	}
	if q.scope == own { // chatrooms and services show their members to server tokens alone
		return "c.kind IN (1, 4) AND " + sql
	}
	return sql
}

// membersLeaf is never null.
func (q *compiler) membersLeaf(c *model.Condition) string {
	const these = `SELECT FROM members x WHERE x.conversation_id = c.id AND x.client_id = `
	switch c.Op {
	case model.CondExists:
		return "true"
	case model.CondSize:
		return "c.member_count = " + q.arg(c.Size, "bigint")
	case model.CondEqual:
		by := byType(c.Values)
		var parts []string
		if len(by.texts) > 0 {
			parts = append(parts, "EXISTS ("+these+"ANY ("+q.arg(pq.Array(by.texts), "text[]")+"))")
		}
		if len(by.arrays) > 0 { // exactly these members, in any order
			parts = append(parts, "to_jsonb(ARRAY(SELECT x.client_id FROM members x WHERE x.conversation_id = c.id ORDER BY x.client_id)) = ANY ("+
				q.arg(pq.Array(sortedLists(by.arrays)), "jsonb[]")+")")
		}
		return anyOf(parts)
	case model.CondAll:
		clients := byType(c.Values).texts
		slices.Sort(clients)
		clients = slices.Compact(clients)
		switch {
		case slices.ContainsFunc(c.Values, func(v model.QueryValue) bool { return v.Type != model.TypeString }):
			return "false"
		case len(clients) == 0:
			return "true"
		}
		first := "EXISTS (" + these + q.arg(clients[0], "text") + ")" // which an index finds
		if len(clients) == 1 {
			return first
		}
		return first + " AND (SELECT count(*) FROM members x WHERE x.conversation_id = c.id AND x.client_id = ANY (" +
			q.arg(pq.Array(clients), "text[]") + ")) = " + q.arg(len(clients), "bigint")
	}
	return "false"
}

// sortedLists puts arrays of client ids in order. What is none matches nothing as it is.
func sortedLists(arrays []string) []string {
	var out []string
	for _, raw := range arrays {
		var list []string
		if err := json.Unmarshal([]byte(raw), &list); err == nil {
			slices.Sort(list)
			sorted, _ := json.Marshal(append([]string{}, list...)) // strings always can be
			raw = string(sorted)
		}
		out = append(out, raw)
	}
	return out
}
