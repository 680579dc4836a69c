package repo

import (
	"strings"

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
	x := q.attributePath(c.Field.Path)
	switch c.Op {
	case model.CondExists:
		return x + " <> 'null'"
	case model.CondEqual:
		return q.attributeEqual(c.Field.Path, c.Values)
	case model.CondGreater, model.CondGreaterOrEqual, model.CondLess, model.CondLessOrEqual:
		return q.attributeCompare(x, comparison[c.Op], c.Values[0])
	case model.CondSize:
		return "CASE WHEN jsonb_typeof(" + x + ") = 'array' THEN jsonb_array_length(" + x + ") = " + q.arg(c.Size, "bigint") + " END"
	case model.CondAll:
		parts := []string{"jsonb_typeof(" + x + ") = 'array'"}
		for _, v := range c.Values {
			parts = append(parts, q.hasElement(c.Field.Path, v))
		}
		return strings.Join(parts, " AND ")
	}
	return "CASE WHEN jsonb_typeof(" + x + ") = 'string' THEN " + q.text(c, "("+x+` #>> '{}') COLLATE "C"`) + " END"
}

func (q *compiler) attributeCompare(x, op string, v model.QueryValue) string {
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
	case model.TypeDate:
		return "attribute_date(" + x + ") " + op + " " + q.scalar(v)
	}
	return "false"
}

// attributeEqual asks whether the value at a path is one of some, or an array with such an element.
func (q *compiler) attributeEqual(path []string, values []model.QueryValue) string {
	x := q.attributePath(path)
	var parts, scalars []string
	for _, v := range values {
		switch v.Type {
		case model.TypeString, model.TypeNumber, model.TypeBoolean:
			scalars = append(scalars, string(v.JSON))
		case model.TypeNull:
			parts = append(parts, x+" IS NULL", x+" = 'null'", "c.attrs @> "+q.arg(nested(path, "[null]"), "jsonb"))
		case model.TypeArray: // as a whole; an array within an array is not looked for
			parts = append(parts, q.whole(path, v))
		case model.TypeDate:
			parts = append(parts, "attribute_date("+x+") = "+q.scalar(v), q.hasElement(path, v))
		case model.TypeObject:
			parts = append(parts, q.whole(path, v), q.hasElement(path, v))
		}
	}
	if len(scalars) > 0 {
		parts = append(parts, q.scalarsEqual(path, scalars))
	}
	return anyOf(parts)
}

func (q *compiler) scalarsEqual(path, scalars []string) string {
	if len(scalars) > indexedValues {
		list := q.arg(pq.Array(scalars), "jsonb[]")
		x := q.attributePath(path)
		return x + " = ANY (" + list + ") OR EXISTS (SELECT FROM " + elements(x) + " WHERE e = ANY (" + list + "))"
	}
	var parts []string
	for _, v := range scalars {
		parts = append(parts, "c.attrs @> "+q.arg(nested(path, v), "jsonb"), "c.attrs @> "+q.arg(nested(path, "["+v+"]"), "jsonb"))
	}
	return anyOf(parts)
}

// whole asks for an object or array as it is, nothing more and nothing less.
func (q *compiler) whole(path []string, v model.QueryValue) string {
	sql := q.attributePath(path) + " = " + q.arg(string(v.JSON), "jsonb")
	if len(v.JSON) > len("{}") {
		sql = "c.attrs @> " + q.arg(nested(path, string(v.JSON)), "jsonb") + " AND " + sql // which the index finds
	}
	return "(" + sql + ")"
}

// hasElement asks whether an array has a value among its elements.
func (q *compiler) hasElement(path []string, v model.QueryValue) string {
	x := q.attributePath(path)
	switch v.Type {
	case model.TypeDate:
		return "EXISTS (SELECT FROM " + elements(x) + " WHERE attribute_date(e) = " + q.scalar(v) + ")"
	case model.TypeArray, model.TypeObject:
		found := "EXISTS (SELECT FROM " + elements(x) + " WHERE e = " + q.arg(string(v.JSON), "jsonb") + ")"
		if len(v.JSON) > len("{}") {
			found = "c.attrs @> " + q.arg(nested(path, "["+string(v.JSON)+"]"), "jsonb") + " AND " + found
		}
		return "(" + found + ")"
	}
	return "c.attrs @> " + q.arg(nested(path, "["+string(v.JSON)+"]"), "jsonb")
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
