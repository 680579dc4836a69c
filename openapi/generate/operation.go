package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
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
func (op operation) onConversation() bool {
	return strings.HasPrefix(op.path, "/v1/conversations/{id}")
}

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
	components["responses"] = problems.shared
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
		share("id", "ConversationIdInPath")
		share("mid", "MessageIdInPath")
	case strings.HasPrefix(op.path, "/v1/clients/{id}"):
		share("id", "ClientIdInPath")
	case strings.HasPrefix(op.path, "/v1/sessions/{id}"):
		share("id", "SessionIdInPath")
	case strings.HasPrefix(op.path, "/v1/files/{id}"):
		share("id", "FileIdInPath")
	}
	share("cursor", "Cursor")
	share("Parley-Grant", "Parley-Grant")
	if op.onConversation() && op.method != "get" && named("Parley-Session") < 0 {
		list = append(list, ref("parameters", "Parley-Session"))
	}
	if op.private() {
		list = append(list, ref("parameters", "Parley-As"))
	}
	if list != nil {
		slices.SortStableFunc(list, func(a, b any) int { return place(a.(object)) - place(b.(object)) })
		op.object["parameters"] = list
	}
}

// place has the parameters of the path come first, then those of the query, then headers.
func place(p object) int {
	target, _ := p["$ref"].(string)
	switch {
	case p["in"] == "path", strings.HasSuffix(target, "InPath"):
		return 0
	case p["in"] == "query", strings.HasSuffix(target, "Cursor"):
		return 1
	}
	return 2
}

func ref(kind, name string) object { return object{"$ref": "#/components/" + kind + "/" + name} }

// addSecurity says which credentials an operation takes.
func (op operation) addSecurity() {
	switch {
	case op.streams():
		op.object["security"] = []any{object{"token": []any{}}, object{"ticket": []any{}}, object{"accessToken": []any{}}}
	case op.object["operationId"] == "downloadFile": // or the key in its url
		op.object["security"] = []any{object{"token": []any{}}, object{}}
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
	if media, ok := content["*/*"]; ok {
		delete(content, "*/*")
		content[mediaJSON] = media
	}
	if example, ok := body["example"]; ok { // where parts/paths.yaml puts it, whatever the media type
		delete(body, "example")
		for _, media := range content {
			media.(object)["example"] = example
		}
	}
}

// fixAnswers gives successes, and 304, their media type and headers.
func (op operation) fixAnswers(events []any) {
	for status, r := range sub(op.object, "responses") {
		if status[0] > '3' {
			continue
		}
		answer := r.(object)
		headers := sub(answer, "headers")
		headers["X-Request-Id"] = ref("headers", "X-Request-Id")
		content, _ := answer["content"].(object)
		delete(content, mediaProblem)
		for _, unsaid := range []string{"*/*", ""} {
			if media, ok := content[unsaid]; ok {
				delete(content, unsaid)
				content[mediaJSON] = media
			}
		}
		switch {
		case op.streams() && status == "200":
			answer["content"] = object{mediaStream: object{"schema": ref("schemas", "StreamEvent"), "x-sse-events": events}}
		case op.private() && op.method == "get" && status == "200" && op.object["operationId"] != "downloadFile":
			headers["Parley-Position"] = ref("headers", "Parley-Position")
		case status == "201" && op.path != "/v1/tickets":
			headers["Location"] = ref("headers", "Location")
		}
	}
}

// closeRequests has the bodies of requests refuse fields that are not theirs, as the server does. Defaults go
// into words: generators take a member that has one for always there, which is right in answers alone.
func closeRequests(schemas object) {
	for name, s := range schemas {
		if !isRequest(name) && name != "ConversationPatch" {
			continue
		}
		s.(object)["additionalProperties"] = false
		for _, p := range sub(s.(object), "properties") {
			p := p.(object)
			if value, ok := p["default"]; ok {
				said, _ := p["description"].(string)
				p["description"] = strings.TrimSpace(sentence(said) + fmt.Sprintf(" Default: %v.", value))
				delete(p, "default")
			}
		}
	}
}

// clean takes away what the tools leave behind, and says in full what redocly wants said.
func clean(o object) {
	for _, name := range []string{"x-originalParamName", "x-formData-name", "x-enum-comments"} {
		delete(o, name)
	}
	if o["nullable"] == true && o["allOf"] != nil {
		o["type"] = "object"
	}
	if items, ok := o["content"].(object); ok && len(items) == 0 {
		delete(o, "content")
	}
	if text, ok := o["description"].(string); ok {
		o["description"] = sentence(text)
	}
}

// sentence makes one of what annotations and comments on fields say in a few words.
func sentence(text string) string {
	if text == "" || strings.Contains(text, "\n") {
		return text
	}
	first, size := utf8.DecodeRuneInString(text)
	text = string(unicode.ToUpper(first)) + text[size:]
	if !strings.ContainsAny(text[len(text)-1:], ".?!:`") {
		text += "."
	}
	return text
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
