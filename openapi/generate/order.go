package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/oasdiff/yaml3"
)

// orders says in which order an object's names are written, by the JSON pointer of the object
// (a slash within a name is written as it is: nobody takes these apart again).
type orders map[string][]string

// keywords come first, in this order, where nothing else is said; the rest follows by name.
var keywords = []string{
	"openapi", "info", "servers", "operationId", "tags", "paths", "components", "get", "put", "post", "patch", "delete",
	"$ref", "title", "event", "name", "in", "type", "format", "nullable", "enum", "summary", "version", "description",
	"x-limit", "security", "required", "parameters", "requestBody", "responses", "headers", "content", "schema",
	"oneOf", "allOf", "discriminator", "items", "properties",
}

// listings are objects whose names are ours to choose; the YAML files say in which order they come.
var listings = []string{"/paths", "/schemas", "/properties", "/components/parameters", "/components/headers", "/x-sse-events", "/mapping"}

func listing(at string) bool {
	return strings.Contains(at, "/example/") || strings.HasSuffix(at, "/example") ||
		slices.ContainsFunc(listings, func(l string) bool { return strings.HasSuffix(at, l) })
}

// note takes over the order in which a YAML document names things.
func (o orders) note(at string, n *yaml.Node) {
	switch n.Kind {
	case yaml.DocumentNode:
		o.note(at, n.Content[0])
	case yaml.AliasNode:
		o.note(at, n.Alias)
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			name := n.Content[i].Value
			if name == "<<" { // what is merged in
				o.note(at, n.Content[i+1])
				continue
			}
			o[at] = append(o[at], name)
			o.note(at+"/"+name, n.Content[i+1])
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			o.note(fmt.Sprintf("%s/%d", at, i), item)
		}
	}
}

// write is the document as text.
func (o orders) write(doc object) ([]byte, error) {
	var flat, pretty bytes.Buffer
	if err := o.append(&flat, "", doc); err != nil {
		return nil, err
	}
	if err := json.Indent(&pretty, flat.Bytes(), "", "  "); err != nil {
		return nil, err
	}
	pretty.WriteByte('\n')
	return pretty.Bytes(), nil
}

func (o orders) append(b *bytes.Buffer, at string, v any) error {
	switch v := v.(type) {
	case object:
		b.WriteByte('{')
		for i, name := range o.names(at, v) {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := appendScalar(b, name); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := o.append(b, at+"/"+name, v[name]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := o.append(b, fmt.Sprintf("%s/%d", at, i), item); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	default:
		return appendScalar(b, v)
	}
	return nil
}

func appendScalar(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line's end
	return nil
}

// names are an object's, in order.
func (o orders) names(at string, v object) []string {
	order := keywords
	if listing(at) || strings.HasSuffix(at, "/responses") {
		order = o[at]
	}
	rank := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	list := make([]string, 0, len(v))
	for name := range v {
		list = append(list, name)
	}
	slices.SortFunc(list, func(a, b string) int {
		if ra, rb := rank(a), rank(b); ra != rb {
			return ra - rb
		}
		return strings.Compare(a, b)
	})
	return list
}
