package model

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckJSON(t *testing.T) {
	t.Parallel()
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	tests := []struct {
		name, json string
		field      string // of the refusal; empty: accepted
	}{
		{"object", `{"a":[1,-2.5e10,"x",true,null,{"b":{}}]}`, ""},
		{"scalar", `5`, ""},
		{"white space around", " \n{} \t", ""},
		{"escapes", `{"a":"\u00e9\ud83d\ude00\\u0000"}`, ""},
		{"empty", ``, "body"},
		{"cut", `{"a":[1`, "a"},
		{"two values", `{} {}`, "body"},
		{"two scalars", `1 2`, "body"},
		{"trailing comma", `{"a":1,}`, "body"},
		{"name twice", `{"a":1,"a":2}`, "a"},
		{"name twice, spelled differently", `{"x":{"a":1,"\u0061":2}}`, "x.a"},
		{"NUL", `{"a":["x","\u0000"]}`, "a[1]"},
		{"NUL in a name", `{"a":{"b\u0000":1}}`, "a.b\x00"},
		{"lone surrogate", `{"a":"\ud800"}`, "a"},
		{"lone low surrogate", `{"a":"\udc00x"}`, "a"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "a"},
		{"invalid UTF-8 in a name", "{\"\xff\":1}", "body"},
		{"number over a double", `{"a":{"b":1e400}}`, "a.b"},
		{"number under a double", `{"a":1e-400}`, ""},
		{"long integer", `{"a":123456789012345678901234567890}`, ""},
		{"nested to the limit", nested(32), ""},
		{"nested beyond", nested(33), strings.Repeat("[0]", 32)[3:]},
		{"not JSON", `hello`, "body"},
		{"NaN", `{"a":NaN}`, "a"},
		{"comment", `{"a":1} // x`, "body"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := CheckJSON("", []byte(tt.json), MaxNesting)
			if tt.field == "" {
				if err != nil {
					t.Fatalf("CheckJSON(%q) = %v, want nil", tt.json, err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.Code != InvalidRequest || len(e.Fields) != 1 {
				t.Fatalf("CheckJSON(%q) = %v, want invalid_request with a field", tt.json, err)
			}
			if tt.name == "nested beyond" {
				return // how a bare array's place is written does not matter
			}
			if got := e.Fields[0].Field; got != tt.field {
				t.Errorf("field = %q, want %q (%v)", got, tt.field, err)
			}
		})
	}
}

func TestFieldAt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ root, pointer, want string }{
		{"", "", "body"},
		{"", "/members/3", "members[3]"},
		{"", "/attributes/a/b", "attributes.a.b"},
		{"", "/attributes/a~1b/c~0d", "attributes.a/b.c~d"},
		{"where", "", "where"},
		{"where", "/$and/0/name", "where.$and[0].name"},
		{"", "/7", "7"},
	} {
		if got := FieldAt(tt.root, ""+pointerOf(tt.pointer)); got != tt.want {
			t.Errorf("FieldAt(%q, %q) = %q, want %q", tt.root, tt.pointer, got, tt.want)
		}
	}
	if got := FieldAt("", pointerOf("/"+strings.Repeat("é", 5000))); len(got) > 210 {
		t.Errorf("a long name is echoed with %d bytes", len(got))
	}
}
