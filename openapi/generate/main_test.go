package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"parley/model"
)

const committed = "../openapi.json"

func TestCommittedIsFresh(t *testing.T) {
	if testing.Short() {
		t.Skip("runs swag")
	}
	fresh, err := generate(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(committed)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(fresh, old) {
		t.Error("openapi/openapi.json is stale: run make openapi, and commit it")
	}
}

// document is the committed one.
func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile(committed)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// What the tools leave behind by themselves must not come back.
func TestNothingOfTheTools(t *testing.T) {
	text, err := os.ReadFile(committed)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"x-originalParamName", "x-formData-name", "x-enum-comments", "x-nullable", "handlers.", "model.", "/definitions/", `"*/*"`, "x-codes\": null"} {
		if bytes.Contains(text, []byte(word)) {
			t.Errorf("the document holds %s", word)
		}
	}
}

func TestEveryOperation(t *testing.T) {
	doc := document(t)
	ids := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			name := method + " " + path
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("%s: operationId %q is empty or taken", name, op.OperationID)
			}
			ids[op.OperationID] = true
			if op.Summary == "" || len(op.Tags) != 1 || doc.Tags.Get(op.Tags[0]) == nil {
				t.Errorf("%s: summary %q, tags %v", name, op.Summary, op.Tags)
			}
			if op.Security == nil || (len(*op.Security) > 0) != strings.HasPrefix(path, "/v1/") {
				t.Errorf("%s: a token is wanted under /v1 and nowhere else", name)
			}
			checkAnswers(t, name, op)
			checkBody(t, name, op)
		}
	}
}

// Successes are never problems, failures are never anything else.
func checkAnswers(t *testing.T, name string, op *openapi3.Operation) {
	t.Helper()
	for status, r := range op.Responses.Map() {
		success := status[0] < '4'
		problem := r.Value.Content[mediaProblem]
		if success && problem != nil || !success && (problem == nil || len(r.Value.Content) != 1) {
			t.Errorf("%s: answer %s has the content %v", name, status, slices.Collect(maps.Keys(r.Value.Content)))
		}
		if r.Value.Headers["X-Request-Id"] == nil {
			t.Errorf("%s: answer %s has no X-Request-Id", name, status)
		}
		if !success && (problem.Schema.Ref != "#/components/schemas/Problem" || len(problem.Examples) == 0) {
			t.Errorf("%s: answer %s shows no problem", name, status)
		}
	}
	if op.Responses.Default() == nil {
		t.Errorf("%s has no default answer", name)
	}
}

// Every body has an example, which the try-it-out button sends, and refuses what is not its own.
func checkBody(t *testing.T, name string, op *openapi3.Operation) {
	t.Helper()
	if op.RequestBody == nil {
		return
	}
	if op.RequestBody.Value.Description == "" {
		t.Errorf("%s: the body has no description", name)
	}
	for media, m := range op.RequestBody.Value.Content {
		if media != mediaJSON && op.OperationID == "uploadFile" {
			continue // the file itself
		}
		if m.Example == nil && len(m.Examples) == 0 {
			t.Errorf("%s: the body has no example as %s", name, media)
		}
		if more := m.Schema.Value.AdditionalProperties.Has; more == nil || *more {
			t.Errorf("%s: the body does not refuse unknown fields", name)
		}
	}
}

func TestCodes(t *testing.T) {
	schema := document(t).Components.Schemas["ProblemCode"].Value
	if len(schema.Enum) != len(model.Codes()) {
		t.Errorf("%d codes in the document, %d in the catalogue", len(schema.Enum), len(model.Codes()))
	}
}

// Every event that a client can get from the log is described, and the listing is of the same events as the schema.
func TestEvents(t *testing.T) {
	doc := document(t)
	stream := doc.Paths.Find("/v1/events").Get.Responses.Status(200).Value.Content[mediaStream]
	listed := map[string]bool{}
	for _, e := range stream.Extensions["x-sse-events"].([]any) {
		listed[e.(map[string]any)["event"].(string)] = true
	}
	for kind := model.EventKind(1); kind < 1000; kind++ {
		if name := kind.Name(); name != "" && !listed[name] {
			t.Errorf("the event %s is not described: add it to parts/events.yaml", name)
		}
	}
	mapping := stream.Schema.Value.Discriminator.Mapping
	if len(mapping) != len(listed) || len(stream.Schema.Value.OneOf) != len(listed) {
		t.Errorf("%d events are listed, %d have a schema", len(listed), len(mapping))
	}
}

func TestMerge(t *testing.T) {
	doc, part, want := `{"a":1,"b":{"c":1,"d":2},"parameters":[{"name":"x","in":"query"},{"name":"y","in":"query"}],"example":{"k":1}}`,
		`{"a":null,"b":{"c":null,"e":3},"parameters":[{"name":"y","required":true},{"name":"z"}],"example":{"k":null}}`,
		`{"b":{"d":2,"e":3},"parameters":[{"name":"y","in":"query","required":true},{"name":"z"},{"name":"x","in":"query"}],"example":{"k":null}}`
	d, p, w := decode(t, doc), decode(t, part), decode(t, want)
	merge("", d, p)
	if got, want := encode(t, d), encode(t, w); got != want {
		t.Errorf("merged to %s, want %s", got, want)
	}
}

func TestSchemaName(t *testing.T) {
	for definition, want := range map[string]string{
		"model.Conversation": "Conversation", "handlers.list-model_Conversation": "ConversationList",
		"handlers.ackRequest": "AckRequest", "model.Kind": "ConversationKind",
	} {
		if got := schemaName(definition); got != want {
			t.Errorf("schemaName(%q) = %q, want %q", definition, got, want)
		}
	}
}

func decode(t *testing.T, text string) object {
	t.Helper()
	o, err := parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func encode(t *testing.T, o object) string {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
