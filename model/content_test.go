package model_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parley/model"
)

func ptr[T any](v T) *T { return &v }

func TestDraftValidate(t *testing.T) {
	t.Parallel()
	file := &model.File{URL: "https://example.org/cat.png"}
	place := &model.Location{Latitude: ptr(90.0), Longitude: ptr(-180.0)}
	many := strings.Split(strings.Repeat("a ", 21)+"b c d e f g h i j k l m n o p q r s t", " ")
	tests := []struct {
		name  string
		draft model.Draft
		wrong string // the field named; empty: nothing is wrong
	}{
		{"text", model.Draft{Type: model.TypeText, Text: ptr("hi"), Attributes: []byte(`{"a":1}`)}, ""},
		{"empty text", model.Draft{Type: model.TypeText, Text: ptr("")}, ""},
		{"no type", model.Draft{Text: ptr("hi")}, "type"},
		{"recalled is the server's", model.Draft{Type: model.TypeRecalled}, "type"},
		{"text without text", model.Draft{Type: model.TypeText}, "text"},
		{"text with a file", model.Draft{Type: model.TypeText, Text: ptr("hi"), File: file}, "file"},
		{"text with a location", model.Draft{Type: model.TypeText, Text: ptr("hi"), Location: place}, "location"},
		{"text with a custom type", model.Draft{Type: model.TypeText, Text: ptr("hi"), CustomType: 1}, "customType"},
		{"text with data", model.Draft{Type: model.TypeText, Text: ptr("hi"), Data: []byte("1")}, "data"},
		{"attributes no object", model.Draft{Type: model.TypeText, Text: ptr("hi"), Attributes: []byte(`[1]`)}, "attributes"},

		{"image", model.Draft{Type: model.TypeImage, File: file, Text: ptr("look"), Attributes: []byte(`{"a":1}`)}, ""},
		{"audio", model.Draft{Type: model.TypeAudio, File: file}, ""},
		{"video", model.Draft{Type: model.TypeVideo, File: file}, ""},
		{"file", model.Draft{Type: model.TypeFile, File: file}, ""},
		{"image without file", model.Draft{Type: model.TypeImage}, "file"},
		{"file by an id", model.Draft{Type: model.TypeFile, File: &model.File{ID: "x", URL: "nonsense", Size: ptr(int64(-1))}}, ""}, // who has it is asked later
		{"file by a url of ours", model.Draft{Type: model.TypeFile, File: &model.File{URL: "/v1/files/x?key=y"}}, ""},
		{"file by a url of ours without its key", model.Draft{Type: model.TypeFile, File: &model.File{URL: "/v1/files/x"}}, "file.url"},
		{"file without url", model.Draft{Type: model.TypeFile, File: &model.File{Name: "x"}}, "file.url"},
		{"file at a relative url", model.Draft{Type: model.TypeFile, File: &model.File{URL: "/cat.png"}}, "file.url"},
		{"file by ftp", model.Draft{Type: model.TypeFile, File: &model.File{URL: "ftp://example.org/cat.png"}}, "file.url"},
		{"file nowhere", model.Draft{Type: model.TypeFile, File: &model.File{URL: "https:///cat.png"}}, "file.url"},
		{"scheme in capitals", model.Draft{Type: model.TypeFile, File: &model.File{URL: "HTTPS://example.org"}}, ""},
		{"negative size", model.Draft{Type: model.TypeFile, File: &model.File{URL: file.URL, Size: ptr(int64(-1))}}, "file.size"},
		{"negative width", model.Draft{Type: model.TypeFile, File: &model.File{URL: file.URL, Width: ptr(int64(-1))}}, "file.width"},
		{"negative height", model.Draft{Type: model.TypeFile, File: &model.File{URL: file.URL, Height: ptr(int64(-1))}}, "file.height"},
		{"negative duration", model.Draft{Type: model.TypeFile, File: &model.File{URL: file.URL, Duration: ptr(-0.1)}}, "file.duration"},
		{"nothing of a file", model.Draft{Type: model.TypeFile, File: &model.File{URL: file.URL, Size: ptr(int64(0)), Duration: ptr(0.0)}}, ""},

		{"location", model.Draft{Type: model.TypeLocation, Location: place, Text: ptr("here")}, ""},
		{"location without location", model.Draft{Type: model.TypeLocation}, "location"},
		{"location without longitude", model.Draft{Type: model.TypeLocation, Location: &model.Location{Latitude: ptr(1.0)}}, "location.longitude"},
		{"latitude out of range", model.Draft{Type: model.TypeLocation, Location: &model.Location{Latitude: ptr(90.01), Longitude: ptr(0.0)}}, "location.latitude"},
		{"longitude out of range", model.Draft{Type: model.TypeLocation, Location: &model.Location{Latitude: ptr(0.0), Longitude: ptr(180.5)}}, "location.longitude"},
		{"latitude no number", model.Draft{Type: model.TypeLocation, Location: &model.Location{Latitude: ptr(math.NaN()), Longitude: ptr(0.0)}}, "location.latitude"},

		{"custom", model.Draft{Type: model.TypeCustom, CustomType: 7}, ""},
		{"custom with all", model.Draft{Type: model.TypeCustom, CustomType: 7, Text: ptr(""), File: file, Location: place, Data: []byte(`[1]`), Attributes: []byte(`{}`)}, ""},
		{"custom without its type", model.Draft{Type: model.TypeCustom, Data: []byte(`[1]`)}, "customType"},
		{"custom type not positive", model.Draft{Type: model.TypeCustom, CustomType: -1}, "customType"},

		{"raw", model.Draft{Type: model.TypeRaw, Text: ptr("{{ anything")}, ""},
		{"raw with attributes", model.Draft{Type: model.TypeRaw, Text: ptr("x"), Attributes: []byte(`{"a":1}`)}, "attributes"},
		{"raw without text", model.Draft{Type: model.TypeRaw}, "text"},
		{"raw with options", model.Draft{Type: model.TypeRaw, Text: ptr("x"), MentionAll: true, Receipt: true, PushData: []byte(`{}`)}, ""},
		{"binary", model.Draft{Type: model.TypeBinary, Data: []byte(`"AQI="`)}, ""},
		{"binary of nothing", model.Draft{Type: model.TypeBinary, Data: []byte(`""`)}, ""},
		{"binary, escaped", model.Draft{Type: model.TypeBinary, Data: []byte(`"\u0041QI="`)}, ""},
		{"binary with text", model.Draft{Type: model.TypeBinary, Data: []byte(`"AQI="`), Text: ptr("x")}, "text"},
		{"binary without padding", model.Draft{Type: model.TypeBinary, Data: []byte(`"AQI"`)}, "data"},
		{"binary with stray bits", model.Draft{Type: model.TypeBinary, Data: []byte(`"AQJ="`)}, "data"},
		{"binary for urls", model.Draft{Type: model.TypeBinary, Data: []byte(`"-_8="`)}, "data"},
		{"binary in lines", model.Draft{Type: model.TypeBinary, Data: []byte(`"AQ\nI="`)}, "data"},
		{"binary no string", model.Draft{Type: model.TypeBinary, Data: []byte(`1`)}, "data"},

		{"mentions", model.Draft{Type: model.TypeText, Text: ptr("hi"), MentionList: many[:40]}, ""},
		{"a mention too many", model.Draft{Type: model.TypeText, Text: ptr("hi"), MentionList: append(many[:40:40], "u")}, "mentionList"},
		{"no client", model.Draft{Type: model.TypeText, Text: ptr("hi"), MentionList: []string{"a", " b"}}, "mentionList[1]"},

		{"push data no object", model.Draft{Type: model.TypeText, Text: ptr("hi"), PushData: []byte(`"x"`)}, "pushData"},
		{"to", model.Draft{Type: model.TypeText, Text: ptr("hi"), To: []string{}}, "to"},
		{"transient", model.Draft{Type: model.TypeText, Text: ptr("hi"), Transient: true, Receipt: true}, ""},
		{"transient with a key", model.Draft{Type: model.TypeText, Text: ptr("hi"), Transient: true, Key: "k"}, "Idempotency-Key"},
		{"will with a key", model.Draft{Type: model.TypeText, Text: ptr("hi"), Will: true, Key: "k"}, "Idempotency-Key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.draft.Validate()
			var e *model.Error
			switch {
			case tt.wrong == "" && err != nil:
				t.Fatalf("Validate() = %v, want nothing wrong", err)
			case tt.wrong != "" && (!errors.As(err, &e) || len(e.Fields) != 1 || e.Fields[0].Field != tt.wrong):
				t.Fatalf("Validate() = %v, want invalid_request naming %s", err, tt.wrong)
			}
		})
	}
}

func TestDraftEncode(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		draft    model.Draft
		mentions []string
		want     string
	}{
		{"text", model.Draft{Type: model.TypeText, Text: ptr("a \"b\"\n\u2028")}, nil, `{"type":"text","text":"a \"b\"\n` + "\u2028" + `"}`},
		{"what says nothing is left out", model.Draft{
			Type: model.TypeRaw, Text: ptr(""), Attributes: []byte(`{}`), MentionList: []string{"Stranger"},
			PushData: []byte(`{"alert":"x"}`), NoSync: true, Key: "k", Priority: model.PriorityHigh,
		}, nil, `{"type":"raw","text":""}`},
		{"all", model.Draft{
			Type: model.TypeCustom, CustomType: 7, Text: ptr("t"), Attributes: []byte(`{"b":1,"a":1e0}`),
			File: &model.File{
				URL: "http://h/<a>", Name: "n", MimeType: "m", Size: ptr(int64(0)), Width: ptr(int64(1)), Height: ptr(int64(2)),
				Duration: ptr(1.5), Format: "f",
			},
			Location: &model.Location{Latitude: ptr(-0.5), Longitude: ptr(0.0)}, Data: []byte(`[12345678901234567890,"\u0041"]`),
			MentionAll: true, Transient: true, Receipt: true,
		}, []string{"Tom", "Jerry"}, `{"type":"custom","text":"t","attributes":{"b":1,"a":1e0},` +
			`"file":{"url":"http://h/<a>","name":"n","mimeType":"m","size":0,"width":1,"height":2,"duration":1.5,"format":"f"},` +
			`"location":{"latitude":-0.5,"longitude":0},"customType":7,"data":[12345678901234567890,"\u0041"],` +
			`"mentionAll":true,"mentionList":["Tom","Jerry"],"transient":true,"receipt":true}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := tt.draft.Encode(model.Ordinary, tt.mentions)
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("Encode (-want +got):\n%s", diff)
			}
			if !json.Valid(got) {
				t.Error("no JSON")
			}
		})
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, a, b string
		same       bool
	}{
		{"space and order", `{"type":"text","text":"a","data":{"x":1,"y":[1, 2]}}`, ` {"data" : {"y":[1,2],"x":1}, "text":"a","type":"text"} `, true},
		{"spelling", `{"text":"A\/","n":1}`, `{"text":"\u0041/","n":1.0e0}`, true},
		{"another text", `{"text":"a"}`, `{"text":"b"}`, false},
		{"another order of an array", `{"a":[1,2]}`, `{"a":[2,1]}`, false},
		{"a field less", `{"a":1,"b":null}`, `{"a":1}`, false},
		{"integers that no double tells apart", `{"a":9007199254740993}`, `{"a":9007199254740992}`, false},
		{"one such integer", `{"a":9007199254740993, "b":2}`, `{"b":2,"a":9007199254740993}`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, err := model.Digest([]byte(tt.a))
			if err != nil {
				t.Fatal(err)
			}
			b, err := model.Digest([]byte(tt.b))
			if err != nil {
				t.Fatal(err)
			}
			if same := string(a) == string(b); same != tt.same {
				t.Errorf("Digest(%s) and Digest(%s) are the same: %v, want %v", tt.a, tt.b, same, tt.same)
			}
		})
	}
}

func TestValidIdempotencyKey(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]bool{
		"": false, "a": true, "!~": true, "a b": false, "é": false, "a\x7f": false,
		strings.Repeat("k", 128): true, strings.Repeat("k", 129): false,
	} {
		if got := model.ValidIdempotencyKey(key); got != want {
			t.Errorf("ValidIdempotencyKey(%q) = %v, want %v", key, got, want)
		}
	}
}
