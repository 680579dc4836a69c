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
// says its type (or oneOf, allOf) replaces what was there, parameters are merged by name, and
// examples are data.
func overlay(doc object) (orders, error) {
	order := orders{}
	files, err := parts.ReadDir("parts")
	if err != nil {
		return nil, err
	}
	rename(doc)
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
			old, ok := doc[name].(object)
			if ok && !slices.Contains(verbatim, name) && !(strings.HasPrefix(here, "/components/schemas/") && whole(v)) {
				merge(here, old, v)
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

func whole(schema object) bool {
	return schema["type"] != nil || schema["oneOf"] != nil || schema["allOf"] != nil
}

// mergeParameters lays parameters over those of the same name and adds the others.
func mergeParameters(at string, old, more []any) []any {
	for _, m := range more {
		m := m.(object)
		i := slices.IndexFunc(old, func(o any) bool {
			return m["name"] != nil && o.(object)["name"] == m["name"]
		})
		if i < 0 {
			old = append(old, m)
			continue
		}
		merge(at, old[i].(object), m)
	}
	return old
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
func rename(doc object) {
	schemas := sub(sub(doc, "components"), "schemas")
	for name, schema := range schemas {
		if public := schemaName(name); public != name {
			delete(schemas, name)
			schemas[public] = schema
		}
	}
	walk(doc, func(o object) {
		if ref, ok := o["$ref"].(string); ok {
			i := strings.LastIndexByte(ref, '/') + 1
			o["$ref"] = ref[:i] + schemaName(ref[i:])
		}
	})
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
