package handlers

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"parley/model"
)

type decoded struct {
	Members    []string       `json:"members"`
	Name       *string        `json:"name"`
	Attributes jsontext.Value `json:"attributes"`
	Unique     *bool          `json:"unique"`
	Limit      *int64         `json:"limit"`
	File       *struct {
		URL string `json:"url"`
	} `json:"file"`
}

func bodyRequest(body, contentType string) *http.Request {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func TestDecode(t *testing.T) {
	t.Parallel()
	deep := func(n int) string {
		return `{"attributes":` + strings.Repeat(`{"a":`, n-1) + `{}` + strings.Repeat(`}`, n)
	}
	tests := []struct {
		name, body string
		want       string // the field named, or another code; empty: accepted
	}{
		{"all", `{"members":["a"],"name":"n","attributes":{"x":[1.5e3]},"unique":true,"limit":3,"file":{"url":"u"}}`, ""},
		{"nulls are as good as nothing", `{"members":null,"name":null,"attributes":null,"unique":null,"limit":null,"file":null}`, ""},
		{"unknown", `{"x":1}`, "x"},
		{"unknown, deeper", `{"file":{"url":"u","x":1}}`, "file.x"},
		{"wrongly cased", `{"Members":[]}`, "Members"},
		{"repeated", `{"name":"a","name":"b"}`, "name"},
		{"repeated in attributes", `{"attributes":{"a":{"b":1,"b":2}}}`, "attributes.a.b"},
		{"wrong type in a list", `{"members":["a","b","c",4]}`, "members[3]"},
		{"string for a boolean", `{"unique":"true"}`, "unique"},
		{"number for a string", `{"name":1}`, "name"},
		{"fraction for an integer", `{"limit":1.5}`, "limit"},
		{"too large an integer", `{"limit":9223372036854775808}`, "limit"},
		{"object for a list", `{"members":{}}`, "members"},
		{"string for an object", `{"file":"x"}`, "file"},
		{"NUL", `{"attributes":{"a":["\u0000"]}}`, "attributes.a[0]"},
		{"NUL in a field", `{"name":"a\u0000b"}`, "name"},
		{"surrogate", `{"name":"\ud800"}`, "name"},
		{"UTF-8", "{\"name\":\"\xc3\x28\"}", "name"},
		{"number", `{"attributes":{"a":1e999}}`, "attributes.a"},
		{"attributes 32 deep", deep(32), ""},
		{"attributes 33 deep", deep(33), "attributes" + strings.Repeat(".a", 32)},
		{"trailing data", `{"name":"a"} x`, "body"},
		{"two objects", `{"name":"a"}{"name":"b"}`, "body"},
		{"cut", `{"name":"a`, "name"},
		{"array", `[]`, "body"},
		{"null", `null`, "body"},
		{"string", `"x"`, "body"},
		{"nothing", ``, "body"},
		{"white space", " \n", "body"},
		{"byte order mark", "\ufeff{}", "body"},
		{"as large as allowed", `{"name":"` + strings.Repeat("x", 200-11) + `"}`, ""},
		{"larger", `{"name":"` + strings.Repeat("x", 200-10) + `"}`, "request_too_large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			most := int64(200)
			if strings.Contains(tt.name, "deep") {
				most = maxBody
			}
			var dst decoded
			err := decode(bodyRequest(tt.body, "application/json; charset=utf-8"), &dst, most, model.RequestTooLarge)
			if got := field(err); got != tt.want {
				t.Errorf("decode(%.100q) = %v, want %q", tt.body, err, tt.want)
			}
			// A body whose length is not announced must fare the same.
			r := bodyRequest("", "application/json")
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(tt.body)), -1
			if got := field(decode(r, &dst, most, model.RequestTooLarge)); got != tt.want {
				t.Errorf("decode of a chunked body names %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDecodeMediaType(t *testing.T) {
	t.Parallel()
	type decoder = func(*http.Request, any, int64, model.Code) error
	const refused = string(model.UnsupportedMediaType)
	for _, tt := range []struct {
		name              string
		decode            decoder
		body, contentType string
		want              string
	}{
		{"JSON", decode, `{}`, "application/json", ""},
		{"any case", decode, `{}`, "Application/JSON", ""},
		{"none", decode, `{}`, "", refused},
		{"text", decode, `{}`, "text/plain", refused},
		{"form", decode, `{}`, "application/x-www-form-urlencoded", refused},
		{"garbage", decode, `{}`, ";;", refused},
		{"patch to another endpoint", decode, `{}`, mediaMergePatch, refused},
		{"patch", decodePatch, `{}`, mediaMergePatch, ""},
		{"patch as JSON", decodePatch, `{}`, mediaJSON, ""},
		{"patch as text", decodePatch, `{}`, "text/plain", refused},
		{"optional, none", decodeOptional, ``, "", ""},
		{"optional, none but a type", decodeOptional, ``, "text/plain", ""},
		{"optional, text", decodeOptional, `{}`, "text/plain", refused},
		{"optional, unknown", decodeOptional, `{"x":1}`, mediaJSON, "x"},
		{"required, none", decode, ``, "", "body"},
		{"patch, none", decodePatch, ``, "", "body"},
	} {
		var dst decoded
		if got := field(tt.decode(bodyRequest(tt.body, tt.contentType), &dst, maxBody, model.RequestTooLarge)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// FuzzDecode checks that whatever is accepted could be kept and given back, and that every refusal names something.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"members":["a"],"attributes":{"a":{"b":[1,null,"\ud83d\ude00"]}}}`, `{"name":null}`, `{"a":1,"a":2}`, `[`, `{"attributes":1e9}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var dst decoded
		err := decode(bodyRequest(string(body), "application/json"), &dst, maxBody, model.RequestTooLarge)
		if err != nil {
			if got := field(err); got == "" || strings.HasPrefix(got, "internal") || !(model.IsCode(err, model.InvalidRequest) || model.IsCode(err, model.RequestTooLarge)) {
				t.Fatalf("decode(%q) = %v", body, err)
			}
			return
		}
		if !json.Valid(body) || strings.Contains(string(dst.Attributes), "\x00") {
			t.Fatalf("decode accepted %q", body)
		}
		if dst.Name != nil && strings.Contains(*dst.Name, "\x00") {
			t.Fatalf("decode accepted U+0000 in %q", body)
		}
	})
}

func TestEncode(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	if err := encode(w, http.StatusCreated, map[string]string{"a": "<&>\u2028"}); err != nil {
		t.Fatal(err)
	}
	if got := w.Body.String(); got != `{"a":"<&>\u2028"}` || w.Code != 201 || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("encode = %d %q %v", w.Code, got, w.Header())
	}
	w = httptest.NewRecorder()
	if err := encode(w, http.StatusOK, func() {}); err == nil || w.Body.Len() != 0 || len(w.Header()) != 0 {
		t.Errorf("what cannot be encoded = %v, and something was written", err)
	}
	next := `c"`
	for want, page := range map[string]any{
		`{"items":[],"next":null}`:                        &list[int]{},
		`{"items":[1,2],"next":"c\""}`:                    &list[int]{Items: []int{1, 2}, Next: &next},
		`{"items":[{"count":1},{"count":2}],"next":null}`: &list[memberCount]{Items: []memberCount{{1}, {2}}},
	} {
		w := httptest.NewRecorder()
		if err := encode(w, http.StatusOK, page); err != nil || w.Body.String() != want {
			t.Errorf("encode = %q, %v; want %q", w.Body, err, want)
		}
	}
}
