package main

import (
	"fmt"
	"slices"
	"strings"
)

// addEvents turns the list of events in parts/events.yaml into schemas: the data of each, each
// event as a whole, and StreamEvent, which is any of them. It returns the listing for x-sse-events.
func addEvents(doc object, order orders) ([]any, error) {
	events := sub(doc, "x-sse-events")
	delete(doc, "x-sse-events")
	schemas := sub(sub(doc, "components"), "schemas")
	mapping, list, oneOf := object{}, []any{}, []any{}
	for _, name := range order["/x-sse-events"] {
		e := events[name].(object)
		data, ok := e["data"].(object)
		if !ok {
			return nil, fmt.Errorf("event %s has no data", name)
		}
		camel := camelCase(name)
		if refs, isRef := data["$ref"]; !isRef {
			schemas[camel+"Data"] = data
			order["/components/schemas/"+camel+"Data/properties"] = order["/x-sse-events/"+name+"/data/properties"]
			data = ref("schemas", camel+"Data")
		} else {
			data = object{"$ref": refs}
		}
		id := fmt.Sprint(e["id"])
		if !slices.Contains([]string{"always", "sometimes", "never"}, id) {
			return nil, fmt.Errorf("event %s: id must be always, sometimes or never", name)
		}
		schemas[camel+"Event"] = eventSchema(name, id, e["description"], data)
		mapping[name] = ref("schemas", camel+"Event")["$ref"]
		oneOf = append(oneOf, ref("schemas", camel+"Event"))
		list = append(list, object{"event": name, "goesTo": e["goesTo"], "durable": e["durable"], "id": id, "data": data})
	}
	stream := sub(schemas, "StreamEvent")
	stream["oneOf"] = oneOf
	stream["discriminator"] = object{"propertyName": "event", "mapping": mapping}
	return list, nil
}

// eventSchema is one event as an object of its fields, data decoded.
func eventSchema(name, id string, description any, data object) object {
	properties := object{
		"event": object{"type": "string", "enum": []any{name}},
		"data":  data,
	}
	required := []any{"event", "data"}
	order := object{"$ref": "#/components/schemas/Position"}
	switch id {
	case "always":
		properties["id"] = order
		required = []any{"id", "event", "data"}
	case "sometimes":
		properties["id"] = order
	}
	return object{"type": "object", "description": description, "required": required, "properties": properties}
}

func camelCase(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
