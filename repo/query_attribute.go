package repo

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"

	"parley/model"
)

// indexedValues is up to how many values are looked up in the index one by one. More are
// compared with every row, by hash.
const indexedValues = 20

// attributePath is the value at a path: null when there is none. Names on the way are
// those of objects: an array has no member "0".
func (q *compiler) attributePath(path []string) string {
	key := strings.Join(path, ".")
	sql, ok := q.paths[key]
	if !ok {
		sql = "(c.attrs"
		for _, name := range path {
			sql += " -> " + q.arg(name, "text")
		}
		sql += ")"
		q.paths[key] = sql
	}
	return sql
}

// attribute is a condition on an attribute.
func (q *compiler) attribute(c *model.Condition) string {
	if c.Op == model.CondEqual {
		return q.attributeEqual(c.Field.Path, c.Values)
	}
	if c.Op == model.CondAll {
		return q.attributeAll(c.Field.Path, c.Values)
	}
	if op, ok := comparison[c.Op]; ok {
		return q.attributeCompare(c.Field.Path, op, c.Values[0])
	}
	x := q.attributePath(c.Field.Path)
	switch c.Op {
	case model.CondExists:
		return x + " <> 'null'"
	case model.CondSize:
		return "CASE WHEN jsonb_typeof(" + x + ") = 'array' THEN jsonb_array_length(" + x + ") = " + q.arg(c.Size, "bigint") + " END"
	}
	return "CASE WHEN jsonb_typeof(" + x + ") = 'string' THEN " + q.text(c, "("+x+` #>> '{}') COLLATE "C"`) + " END"
}

func (q *compiler) attributeCompare(path []string, op string, v model.QueryValue) string {
	if v.Type == model.TypeNull || v.Type == model.TypeArray || v.Type == model.TypeObject {
		return "false"
	}
	x := q.attributePath(path)
	typed := func(name, sql string) string {
		return "CASE WHEN jsonb_typeof(" + x + ") = '" + name + "' THEN " + sql + " END"
	}
	switch v.Type {
	case model.TypeString:
		return typed("string", "("+x+` #>> '{}') COLLATE "C" `+op+" "+q.scalar(v))
	case model.TypeNumber:
		return typed("number", x+" "+op+" "+q.arg(string(v.JSON), "jsonb"))
	case model.TypeBoolean:
		return typed("boolean", x+" "+op+" "+q.arg(string(v.JSON), "jsonb"))
	}
	return "attribute_date(" + x + ") " + op + " " + q.scalar(v)
}

// attributeEqual asks whether the value at a path is one of some, or an array with such an element.
func (q *compiler) attributeEqual(path []string, values []model.QueryValue) string {
	by := byType(values)
	var parts []string
	if by.null {
		x := q.attributePath(path)
		parts = append(parts, x+" IS NULL", x+" = 'null'", "c.attrs @> "+q.arg(nested(path, "[null]"), "jsonb"))
	}
	if n := len(by.scalars); n > 0 && n <= indexedValues {
		parts = append(parts, q.contains(path, by.scalars, true))
	} else if n > 0 {
		parts = append(parts, q.isOrHas(path, by.scalars))
	}
	if len(by.objects) > 0 {
		parts = append(parts, q.preselected(path, by.objects, true, q.isOrHas(path, by.objects)))
	}
	if len(by.arrays) > 0 { // as a whole: an array within an array is not looked for
		is := q.attributePath(path) + " = ANY (" + q.arg(pq.Array(by.arrays), "jsonb[]") + ")"
		parts = append(parts, q.preselected(path, by.arrays, false, is))
	}
	if len(by.dates) > 0 {
		x, dates := q.attributePath(path), q.arg(pq.Array(by.dates), "timestamptz[]")
		parts = append(parts, "attribute_date("+x+") = ANY ("+dates+")",
			"EXISTS (SELECT FROM "+elements(x)+" WHERE attribute_date(e) = ANY ("+dates+"))")
	}
	return anyOf(parts)
}

// contains asks, so that the index can answer, whether one of some values is at a path, or in an array
// there. Of scalars that is the exact answer. @> ANY (...) would do, but of several such conditions
// the index is asked for every combination.
func (q *compiler) contains(path, values []string, inArrays bool) string {
	var forms []string
	for _, v := range values {
		forms = append(forms, "c.attrs @> "+q.arg(nested(path, v), "jsonb"))
		if inArrays {
			forms = append(forms, "c.attrs @> "+q.arg(nested(path, "["+v+"]"), "jsonb"))
		}
	}
	return anyOf(forms)
}

// preselected adds to an exact condition on objects or arrays one that the index can answer.
func (q *compiler) preselected(path, values []string, inArrays bool, exact string) string {
	if len(values) > indexedValues || slices.Contains(values, "{}") || slices.Contains(values, "[]") { // nothing to look up
		return "(" + exact + ")"
	}
	return "(" + q.contains(path, values, inArrays) + " AND (" + exact + "))"
}

func (q *compiler) isOrHas(path, values []string) string {
	x, list := q.attributePath(path), q.arg(pq.Array(values), "jsonb[]")
	return x + " = ANY (" + list + ") OR EXISTS (SELECT FROM " + elements(x) + " WHERE e = ANY (" + list + "))"
}

// attributeAll asks for an array that has all the values among its elements.
func (q *compiler) attributeAll(path []string, values []model.QueryValue) string {
	x, by := q.attributePath(path), byType(values)
	parts := []string{"jsonb_typeof(" + x + ") = 'array'"}
	if by.null {
		by.scalars = append(by.scalars, "null")
	}
	if len(by.scalars) > 0 {
		parts = append(parts, "c.attrs @> "+q.arg(nested(path, "["+strings.Join(by.scalars, ",")+"]"), "jsonb"))
	}
	const each = "NOT EXISTS (SELECT FROM unnest(%s) w WHERE NOT EXISTS (SELECT FROM %s WHERE %s = w))"
	if whole := slices.Concat(by.objects, by.arrays); len(whole) > 0 {
		parts = append(parts, fmt.Sprintf(each, q.arg(pq.Array(whole), "jsonb[]"), elements(x), "e"))
	}
	if len(by.dates) > 0 {
		parts = append(parts, fmt.Sprintf(each, q.arg(pq.Array(by.dates), "timestamptz[]"), elements(x), "attribute_date(e)"))
	}
	return strings.Join(parts, " AND ")
}

// typedValues are the values of a list, as JSON where nothing else is said.
type typedValues struct {
	null                     bool
	scalars, objects, arrays []string
	texts, numbers, dates    []string // bare
	hasTrue, hasFalse        bool
}

func byType(values []model.QueryValue) (by typedValues) {
	for _, v := range values {
		raw := string(v.JSON)
		switch v.Type {
		case model.TypeNull:
			by.null = true
		case model.TypeString:
			by.scalars, by.texts = append(by.scalars, raw), append(by.texts, v.Text)
		case model.TypeNumber:
			by.scalars, by.numbers = append(by.scalars, raw), append(by.numbers, raw)
		case model.TypeBoolean:
			by.scalars = append(by.scalars, raw)
			by.hasTrue, by.hasFalse = by.hasTrue || v.Bool, by.hasFalse || !v.Bool
		case model.TypeDate:
			by.dates = append(by.dates, v.Time.UTC().Format(time.RFC3339Nano))
		case model.TypeObject:
			by.objects = append(by.objects, raw)
		case model.TypeArray:
			by.arrays = append(by.arrays, raw)
		}
	}
	return by
}

// elements are those of an array, and none of anything else.
func elements(x string) string {
	return "jsonb_array_elements(CASE WHEN jsonb_typeof(" + x + ") = 'array' THEN " + x + " END) e"
}

// nested is JSON at a path: {"a":{"b":...}}.
func nested(path []string, value string) string {
	b := make([]byte, 0, len(value)+16)
	for _, name := range path {
		b = append(b, '{')
		b = model.AppendJSONString(b, name)
		b = append(b, ':')
	}
	b = append(b, value...)
	for range path {
		b = append(b, '}')
	}
	return string(b)
}
