package api

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"parley/model"
)

// Nobody gets in without a signature, and nothing that anybody sends is more than a refusal.
func FuzzToken(f *testing.F) {
	keys, err := NewKeys(KeyConfig{Secrets: []Secret{{Value: secretA}, {Kid: "b", Value: secretB}}})
	if err != nil {
		f.Fatal(err)
	}
	good := hs256(f, secretA, claimsOf("Tom"))
	for _, seed := range []string{good, good + "x", "Bearer", "..", rawClaims(f, `{"sub":1}`), sign(f, jwt.SigningMethodNone, nil, jwt.UnsafeAllowNoneSignatureType, claimsOf("Tom"))} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := keys.verify(raw)
		if err == nil && raw != good && !strings.HasPrefix(raw, good[:strings.LastIndex(good, ".")]) {
			// The fuzzer knows one signed text, and cannot have made another.
			if header, rest, _ := strings.Cut(raw, "."); header == "" || rest == "" || !signedBySeed(raw) {
				t.Fatalf("%q lets %v in", raw, got)
			}
		}
		if err != nil && !model.IsCode(err, model.Unauthenticated) {
			t.Fatalf("%q: %v", raw, err)
		}
	})
}

// signedBySeed reports whether a token carries a genuine signature of our first secret.
func signedBySeed(raw string) bool {
	_, err := jwt.NewParser(jwt.WithoutClaimsValidation()).Parse(raw, func(*jwt.Token) (any, error) { return []byte(secretA), nil })
	return err == nil
}

// Claims that are signed are still somebody's text: whatever they hold, a client that comes out of them is a valid one.
func FuzzClaims(f *testing.F) {
	keys, err := NewKeys(KeyConfig{Secrets: []Secret{{Value: secretA}}})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{`{"sub":"Tom","exp":9999999999}`, `{"sub":"Tom","exp":1e300,"iat":-1e300}`, `{"scope":"server","exp":9999999999}`, `{"sub":"T\ud800","exp":9999999999}`, `null`, `{"op":null}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := keys.verify(rawClaims(t, text))
		if err != nil && !model.IsCode(err, model.Unauthenticated) {
			t.Fatalf("%q: %v", text, err)
		}
		if err == nil && !got.server && model.ValidClientID(got.subject) != nil {
			t.Fatalf("%q makes the client %q", text, got.subject)
		}
	})
}

func FuzzParleyAs(f *testing.F) {
	for _, seed := range []string{"Tom", "a%2Fb", "%", "%zz", "%ff", "小", "%E5%B0%8F", "%00", "..", "%2e%2e", " ", "a+b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		client, err := decodeAs(value)
		if err != nil {
			if !model.IsCode(err, model.InvalidRequest) {
				t.Fatalf("%q: %v", value, err)
			}
			return
		}
		if model.ValidClientID(client) != nil {
			t.Fatalf("%q becomes the client %q", value, client)
		}
		if again, err := decodeAs(url.PathEscape(client)); err != nil || again != client {
			t.Fatalf("%q becomes %q, which becomes %q, %v", value, client, again, err)
		}
	})
}

// A client id in a path arrives as it was, whatever it holds.
func FuzzPath(f *testing.F) {
	srv := testServer(f, Config{}, nil)
	token := "Bearer " + clientToken(f, "Tom")
	for _, seed := range []string{"Tom", "a/b", "%", "%2F", "小?#", "*", "{id}", "a//b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if model.ValidClientID(id) != nil {
			return
		}
		r := httptest.NewRequest("GET", "/v1/clients/"+url.PathEscape(id)+"/kick", nil)
		r.Header.Set("Authorization", token)
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		if got := wantCaller(t, w); got.ID != id {
			t.Fatalf("%q arrives as %q", id, got.ID)
		}
	})
}
