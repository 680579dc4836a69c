package model

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func pointerOf(s string) jsontext.Pointer { return jsontext.Pointer(s) }

// The examples of RFC 7396, appendix A, that begin with an object, and what attributes add to it.
func TestPatchAttributes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		stored, patch, want string
		changed             bool
	}{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`, true},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`, true},
		{`{"a":"b"}`, `{"a":null}`, `{}`, true},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`, true},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`, true},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`, true},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`, true},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`, true},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`, true},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`, true},
		{`{"a":[1,null]}`, `{"b":[null]}`, `{"a":[1,null],"b":[null]}`, true},

		{`{"a":1,"b":2}`, `{}`, `{"a":1,"b":2}`, false},
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`, `{"a":1,"b":2}`, false},
		{`{"a":1}`, `{"x":null}`, `{"a":1}`, false},
		{`{"a":1}`, `{"a":1.0}`, `{"a":1}`, false},
		{`{"a":{"x":1,"y":2}}`, `{"a":{"y":2}}`, `{"a":{"x":1,"y":2}}`, false},
		{`{"a":[{"x":1,"y":2}]}`, `{"a":[{"y":2,"x":1}]}`, `{"a":[{"x":1,"y":2}]}`, false},
		{`{"a":"é"}`, `{"a":"\u00e9"}`, `{"a":"é"}`, false},
		{`{"a":1}`, `null`, `{}`, true},
		{`{}`, `null`, `{}`, false},
		{`{"a":12345678901234567890}`, `{"b":0.10}`, `{"a":12345678901234567890,"b":0.10}`, true},
		{`{"a":1}`, "{ \"b\" : [ 1 ,\n2 ] }", `{"a":1,"b":[1,2]}`, true},
		{`{"q\"":1}`, `{"q\"":2}`, `{"q\"":2}`, true},
	}
	for _, tt := range tests {
		got, changed, err := PatchAttributes([]byte(tt.stored), []byte(tt.patch))
		if err != nil || string(got) != tt.want || changed != tt.changed {
			t.Errorf("PatchAttributes(%s, %s) = %s, %v, %v; want %s, %v", tt.stored, tt.patch, got, changed, err, tt.want, tt.changed)
		}
	}
}

func TestAttributesBounds(t *testing.T) {
	t.Parallel()
	object := func(size int) []byte { return []byte(`{"a":"` + strings.Repeat("x", size-8) + `"}`) }
	if _, err := NewAttributes(object(MaxAttributesBytes)); err != nil {
		t.Errorf("attributes of the greatest size: %v", err)
	}
	if _, err := NewAttributes(object(MaxAttributesBytes + 1)); !IsCode(err, InvalidRequest) {
		t.Errorf("attributes over the greatest size: %v", err)
	}
	spread := append(object(MaxAttributesBytes), " \n\t "...)
	if got, err := NewAttributes(spread); err != nil || len(got) != MaxAttributesBytes {
		t.Errorf("white space counts: %v", err)
	}
	for _, bad := range []string{`[]`, `5`, `"x"`, `true`} {
		if _, err := NewAttributes([]byte(bad)); !IsCode(err, InvalidRequest) {
			t.Errorf("NewAttributes(%s) = %v, want invalid_request", bad, err)
		}
		if _, _, err := PatchAttributes([]byte(`{}`), []byte(bad)); !IsCode(err, InvalidRequest) {
			t.Errorf("PatchAttributes(%s) = %v, want invalid_request", bad, err)
		}
	}
	if _, _, err := PatchAttributes([]byte(`{"b":1}`), object(MaxAttributesBytes)); !IsCode(err, InvalidRequest) {
		t.Errorf("a patch that makes them too large: %v", err)
	}
	for _, none := range []string{``, `null`} {
		if got, err := NewAttributes([]byte(none)); err != nil || string(got) != "{}" {
			t.Errorf("NewAttributes(%q) = %s, %v", none, got, err)
		}
	}
}

// FuzzMergePatch checks what merging promises of any two objects: valid, compact, and stable when done again.
func FuzzMergePatch(f *testing.F) {
	f.Add(`{"a":{"b":1}}`, `{"a":{"b":null,"c":[1]}}`)
	f.Add(`{}`, `null`)
	f.Fuzz(func(t *testing.T, stored, patch string) {
		if CheckJSON("", []byte(stored), MaxNesting) != nil || CheckJSON("", []byte(patch), MaxNesting) != nil {
			return
		}
		before, err := NewAttributes([]byte(stored))
		if err != nil {
			return
		}
		once, _, err := PatchAttributes(before, []byte(patch))
		if err != nil {
			return
		}
		if err := CheckJSON("", once, MaxNesting); err != nil {
			t.Fatalf("the result %q is refused: %v", once, err)
		}
		twice, changed, err := PatchAttributes(once, []byte(patch))
		if err != nil || changed || string(twice) != string(once) {
			t.Fatalf("applied again: %q, %v, %v; want %q", twice, changed, err, once)
		}
	})
}
