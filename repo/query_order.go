package repo

import (
	"strconv"
	"strings"

	"parley/model"
)

// sortTerm is one term of an ORDER BY. Nulls come first when ascending and last when descending.
type sortTerm struct {
	sql      string
	typ      string
	desc     bool
	nullable bool
	value    any // where a page begins; nil: null
	// boundOnly is true of a term that follows from the next one: an hour from its time. It is
	// there for an index.
	boundOnly bool
}

// terms are the ORDER BY of an order; values, when there is a place to go on behind.
func (q *compiler) terms(order []model.SortKey, after *model.Place) []sortTerm {
	var terms []sortTerm
	for i, k := range order {
		var key model.PlaceKey
		if after != nil {
			key = after.Keys[i]
		}
		if k.Field.Column == model.QueryAttribute {
			terms = append(terms, q.attributeTerms(k, key)...)
			continue
		}
		terms = append(terms, q.columnTerms(k, key)...)
		if k.Field.Column == model.QueryID {
			return terms // no two have one id
		}
	}
	id := sortTerm{sql: "c.id", typ: "text"}
	if after != nil {
		id.value = after.ID
	}
	return append(terms, id)
}

func (q *compiler) columnTerms(k model.SortKey, key model.PlaceKey) []sortTerm {
	col := q.column(k.Field.Column)
	t := sortTerm{sql: col.sql, desc: k.Descending, nullable: col.nullable}
	switch col.typ {
	case model.TypeString:
		t.typ = "text"
		if key.Text != nil {
			t.value = *key.Text
		}
	case model.TypeDate:
		t.typ = "timestamptz"
		if key.Time != nil {
			t.value = *key.Time
		}
	case model.TypeNumber:
		t.typ, t.value = "integer", jsonText(key)
	case model.TypeBoolean:
		t.typ, t.value = "boolean", jsonText(key)
	}
	hour := sortTerm{typ: "timestamp", desc: t.desc, nullable: t.nullable, boundOnly: true}
	if key.Time != nil {
		hour.value = key.Time.UTC().Truncate(60 * 60e9).Format("2006-01-02 15:04:05")
	}
	switch k.Field.Column {
	case model.QueryActivity:
		hour.sql = "c.activity_hour"
	case model.QueryLastMessageAt:
		hour.sql = "c.last_message_hour"
	default:
		return []sortTerm{t}
	}
	return []sortTerm{hour, t}
}

func jsonText(key model.PlaceKey) any {
	if key.JSON == nil {
		return nil
	}
	return string(key.JSON)
}

// attributeTerms order values of any type: by their types' rank first.
func (q *compiler) attributeTerms(k model.SortKey, key model.PlaceKey) []sortTerm {
	x := q.attributePath(k.Field.Path)
	rank := sortTerm{sql: "attribute_rank(" + x + ")", typ: "smallint", value: 0}
	text := sortTerm{sql: "attribute_text(" + x + `) COLLATE "C"`, typ: "text", nullable: true}
	date := sortTerm{sql: "attribute_date(" + x + ")", typ: "timestamptz", nullable: true}
	other := sortTerm{sql: "attribute_other(" + x + ")", typ: "jsonb", nullable: true}
	switch {
	case key.Text != nil:
		rank.value, text.value = 1, *key.Text
	case key.Time != nil:
		rank.value, date.value = 5, *key.Time
	case key.JSON != nil:
		rank.value, other.value = rankOf(key.JSON[0]), string(key.JSON)
	}
	terms := []sortTerm{rank, text, date, other}
	for i := range terms {
		terms[i].desc = k.Descending
	}
	return terms
}

// rankOf is what attribute_rank says of JSON that begins so.
func rankOf(first byte) int {
	switch first {
	case 't', 'f':
		return 3
	case '[':
		return 4
	case '{':
		return 6
	}
	return 2
}

// behind is true of the rows that come after the place that the terms hold.
func (q *compiler) behind(terms []sortTerm) string {
	bound := q.compare(terms[0], true) // follows from the rest, and is what an index can use
	rest := "false"
	for i := len(terms) - 1; i >= 0; i-- {
		t := terms[i]
		if t.boundOnly {
			continue
		}
		past := q.compare(t, false)
		if i < len(terms)-1 {
			past += " OR " + q.same(t) + " AND (" + rest + ")"
		}
		rest = past
	}
	return "(" + bound + ") AND (" + rest + ")"
}

func (q *compiler) same(t sortTerm) string {
	if t.value == nil {
		return t.sql + " IS NULL"
	}
	return t.sql + " = " + q.arg(t.value, t.typ)
}

// compare is true of rows whose term comes after the place's, or, with same, not before it.
func (q *compiler) compare(t sortTerm, same bool) string {
	switch {
	case t.value == nil && t.desc: // nulls are last
		if same {
			return t.sql + " IS NULL"
		}
		return "false"
	case t.value == nil: // nulls are first
		if same {
			return "true"
		}
		return t.sql + " IS NOT NULL"
	}
	op := " > "
	if t.desc {
		op = " < "
	}
	if same {
		op = strings.TrimRight(op, " ") + "= "
	}
	sql := t.sql + op + q.arg(t.value, t.typ)
	if t.desc && t.nullable {
		sql = "(" + sql + " OR " + t.sql + " IS NULL)"
	}
	return sql
}

// sortedBy is an ORDER BY over columns k0, k1, ... of a row, which keys puts there.
func sortedBy(row string, terms []sortTerm) string {
	var list []string
	for i, t := range terms {
		item := row + "k" + strconv.Itoa(i)
		switch {
		case t.desc && t.nullable:
			item += " DESC NULLS LAST"
		case t.desc:
			item += " DESC"
		case t.nullable:
			item += " NULLS FIRST"
		}
		list = append(list, item)
	}
	return " ORDER BY " + strings.Join(list, ", ")
}

// keys are the columns that sortedBy names.
func keys(terms []sortTerm) string {
	var b strings.Builder
	for i, t := range terms {
		b.WriteString(", " + t.sql + " AS k" + strconv.Itoa(i))
	}
	return b.String()
}
