package main

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/oasdiff/yaml3"
)

//go:embed parts/*.yaml
var parts embed.FS

// verbatim are names whose values are data: they are taken as they are, nulls included.
var verbatim = []string{"example", "value", "default", "enum"}

// overlay lays the files of parts over doc and returns the order in which they name things.
// They are merged as RFC 7396 says, null takes away, with these exceptions: a schema that
// says its type (or oneOf, allOf) and a reference replace what was there, parameters are merged
// by name, and examples are data.
func overlay(doc object) (orders, error) {
	order := orders{}
	files, err := parts.ReadDir("parts")
	if err != nil {
		return nil, err
	}
	if err := rename(doc); err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := parts.ReadFile("parts/" + f.Name())
		if err != nil {
			return nil, err
		}
		var node yaml.Node
		if err := yaml.Unmarshal(text, &node); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		var part object
		if err := node.Decode(&part); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		order.note("", &node)
		merge("", doc, part)
	}
	return order, nil
}

func merge(at string, doc, part object) {
	for name, v := range part {
		here := at + "/" + name
		switch v := v.(type) {
		case nil:
			delete(doc, name)
			continue
		case object:
			if !slices.Contains(verbatim, name) {
				if v["$ref"] != nil || strings.HasPrefix(here, "/components/schemas/") && whole(v) {
					doc[name] = object{}
				}
				merge(here, sub(doc, name), v)
				continue
			}
		case []any:
			if name == "parameters" {
				old, _ := doc[name].([]any)
				doc[name] = mergeParameters(here, old, v)
				continue
			}
		}
		doc[name] = v
	}
}

// whole reports whether a schema says what it is; a list of members may hold one that is called type.
func whole(schema object) bool {
	_, typed := schema["type"].(string)
	return typed || schema["oneOf"] != nil || schema["allOf"] != nil
}

// mergeParameters lays parameters over those of the same name. They come in the order of more; what is
// not named there follows.
func mergeParameters(at string, old, more []any) []any {
	var list []any
	for _, m := range more {
		m := m.(object)
		i := slices.IndexFunc(old, func(o any) bool { return m["name"] != nil && o.(object)["name"] == m["name"] })
		if i < 0 {
			list = append(list, m)
			continue
		}
		merge(at, old[i].(object), m)
		list = append(list, old[i])
		old = slices.Delete(old, i, i+1)
	}
	return append(list, old...)
}

// renamed are schemas whose Go names say too little outside their package.
var renamed = map[string]string{"Kind": "ConversationKind", "Code": "ProblemCode", "Role": "MemberRole"}

// schemaName is the public name of one of swag's definitions: without the package, and a list named for what it holds.
func schemaName(definition string) string {
	name := definition
	if generic, item, ok := strings.Cut(definition, "-"); ok {
		_, item, _ = strings.Cut(item, "_")
		name = item + strings.ToUpper(plain(generic)[:1]) + plain(generic)[1:]
	}
	name = plain(name)
	name = strings.ToUpper(name[:1]) + name[1:]
	if other, ok := renamed[name]; ok {
		return other
	}
	return name
}

func plain(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// rename gives all schemas their public names.
func rename(doc object) error {
	schemas := sub(sub(doc, "components"), "schemas")
	for name, schema := range schemas {
		public := schemaName(name)
		if public == name {
			continue
		}
		if schemas[public] != nil {
			return fmt.Errorf("two types are called %s", public)
		}
		delete(schemas, name)
		schemas[public] = schema
	}
	walk(doc, func(o object) {
		delete(o, "x-enum-varnames") // Go's names for constants, which are nobody else's
		if ref, ok := o["$ref"].(string); ok {
			i := strings.LastIndexByte(ref, '/') + 1
			o["$ref"] = ref[:i] + schemaName(ref[i:])
		}
	})
	return nil
}

// sub is the object of that name within o, made when there is none.
func sub(o object, name string) object {
	in, ok := o[name].(object)
	if !ok {
		in = object{}
		o[name] = in
	}
	return in
}

// walk calls f for every object within v, v's own last.
func walk(v any, f func(object)) {
	switch v := v.(type) {
	case object:
		for _, in := range v {
			walk(in, f)
		}
		f(v)
	case []any:
		for _, in := range v {
			walk(in, f)
		}
	}
}
