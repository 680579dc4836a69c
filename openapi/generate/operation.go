package main

import (
	"fmt"
	"slices"
	"strings"
)

const (
	mediaJSON    = "application/json"
	mediaProblem = "application/problem+json"
	mediaStream  = "text/event-stream"
)

// methods in the order in which a path's operations are written.
var methods = []string{"get", "put", "post", "patch", "delete"}

// operation is one of the document's, with its place.
type operation struct {
	path, method string
	object
}

func (op operation) String() string { return strings.ToUpper(op.method) + " " + op.path }

// private reports whether the operation wants a token.
func (op operation) private() bool { return strings.HasPrefix(op.path, "/v1/") }

// onConversation reports whether the operation is about one conversation.
func (op operation) onConversation() bool { return strings.HasPrefix(op.path, "/v1/conversations/{id}") }

func (op operation) streams() bool { return op.path == "/v1/events" }

// operations lists all, by path.
func operations(doc object) []operation {
	var list []operation
	for path, item := range sub(doc, "paths") {
		for method, op := range item.(object) {
			if slices.Contains(methods, method) {
				list = append(list, operation{path, method, op.(object)})
			}
		}
	}
	slices.SortFunc(list, func(a, b operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return list
}

// finish adds what is true by rule, and takes away what the tools left behind.
func finish(doc object, order orders) error {
	events, err := addEvents(doc, order)
	if err != nil {
		return err
	}
	problems := newProblems()
	for _, op := range operations(doc) {
		if op.object["operationId"] == nil {
			return fmt.Errorf("%v has no operationId: give it one in parts/paths.yaml", op)
		}
		op.addParameters()
		op.addSecurity()
		op.fixBody()
		if err := problems.add(op); err != nil {
			return err
		}
		op.fixAnswers(events)
	}
	components := sub(doc, "components")
	components["examples"] = problems.examples()
	problems.describeCodes(sub(components, "schemas"))
	closeRequests(sub(components, "schemas"))
	walk(doc, clean)
	prune(doc)
	return nil
}

// addParameters replaces path parameters by the shared ones and adds the headers of ours.
func (op operation) addParameters() {
	list, _ := op.object["parameters"].([]any)
	named := func(name string) int {
		return slices.IndexFunc(list, func(p any) bool { return p.(object)["name"] == name })
	}
	share := func(name, component string) {
		if i := named(name); i >= 0 {
			list[i] = ref("parameters", component)
		}
	}
	switch {
	case op.onConversation():
		share("id", "ConversationId")
		share("mid", "MessageId")
	case strings.HasPrefix(op.path, "/v1/clients/{id}"):
		share("id", "ClientId")
	case strings.HasPrefix(op.path, "/v1/sessions/{id}"):
		share("id", "SessionId")
	}
	share("cursor", "Cursor")
	if op.onConversation() && op.method != "get" && named("Parley-Session") < 0 {
		list = append(list, ref("parameters", "Parley-Session"))
	}
	if op.private() {
		list = append(list, ref("parameters", "Parley-As"))
	}
	if list != nil {
		op.object["parameters"] = list
	}
}

func ref(kind, name string) object { return object{"$ref": "#/components/" + kind + "/" + name} }

// addSecurity says which credentials an operation takes.
func (op operation) addSecurity() {
	switch {
	case op.streams():
		op.object["security"] = []any{object{"token": []any{}}, object{"ticket": []any{}}, object{"accessToken": []any{}}}
	case op.private():
		op.object["security"] = []any{object{"token": []any{}}}
	default:
		op.object["security"] = []any{}
	}
}

// fixBody keeps the media types that the annotation names; JSON when it names none.
func (op operation) fixBody() {
	body, ok := op.object["requestBody"].(object)
	if !ok {
		return
	}
	content := sub(body, "content")
	if any, ok := content["*/*"]; ok {
		delete(content, "*/*")
		content[mediaJSON] = any
	}
	if example, ok := body["example"]; ok { // where parts/paths.yaml puts it, whatever the media type
		delete(body, "example")
		for _, media := range content {
			media.(object)["example"] = example
		}
	}
}

// fixAnswers gives successes their media type and headers.
func (op operation) fixAnswers(events []any) {
	for status, r := range sub(op.object, "responses") {
		answer := r.(object)
		headers := sub(answer, "headers")
		headers["X-Request-Id"] = ref("headers", "X-Request-Id")
		if status == "default" || status[0] != '2' {
			continue
		}
		content, _ := answer["content"].(object)
		delete(content, mediaProblem)
		if any, ok := content["*/*"]; ok {
			delete(content, "*/*")
			content[mediaJSON] = any
		}
		switch {
		case op.streams() && status == "200":
			answer["content"] = object{mediaStream: object{"schema": ref("schemas", "StreamEvent"), "x-sse-events": events}}
		case op.private() && op.method == "get" && status == "200":
			headers["Parley-Position"] = ref("headers", "Parley-Position")
		case status == "201" && op.path != "/v1/tickets":
			headers["Location"] = ref("headers", "Location")
		}
	}
}

// closeRequests has the bodies of requests refuse fields that are not theirs, as the server does.
func closeRequests(schemas object) {
	for name, s := range schemas {
		if isRequest(name) || name == "ConversationPatch" {
			s.(object)["additionalProperties"] = false
		}
	}
}

// clean takes away what the tools leave behind, and says in full what redocly wants said.
func clean(o object) {
	for _, name := range []string{"x-originalParamName", "x-formData-name", "x-enum-varnames", "x-enum-comments"} {
		delete(o, name)
	}
	if o["nullable"] == true && o["allOf"] != nil {
		o["type"] = "object"
	}
	if items, ok := o["content"].(object); ok && len(items) == 0 {
		delete(o, "content")
	}
	if o["description"] == "" {
		delete(o, "description")
	}
}

// prune takes away the components that nothing refers to.
func prune(doc object) {
	for {
		used := map[string]bool{}
		walk(doc, func(o object) {
			if target, ok := o["$ref"].(string); ok {
				used[target] = true
			}
		})
		removed := false
		for kind, group := range sub(doc, "components") {
			for name := range group.(object) {
				if kind != "securitySchemes" && !used["#/components/"+kind+"/"+name] {
					delete(group.(object), name)
					removed = true
				}
			}
			if len(group.(object)) == 0 {
				delete(sub(doc, "components"), kind)
			}
		}
		if !removed {
			return
		}
	}
}
