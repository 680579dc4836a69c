package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"parley/model"
)

// grantOf makes the claims of a grant for Tom.
func grantOf(op string, more ...any) jwt.MapClaims {
	return claimsOf("Tom", append([]any{"op", op}, more...)...)
}

func TestParseGrant(t *testing.T) {
	s := signers()
	keys := testKeys(t, KeyConfig{
		Secrets: []Secret{{Kid: "a", Value: secretA}, {Value: secretB}}, PublicKeys: []PublicKey{{Path: publicPEM(t, s.ec)}},
	})
	strict := testKeys(t, KeyConfig{Secrets: []Secret{{Value: secretA}}, Issuer: "me", Audience: "parley"})
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	hs := func(claims jwt.MapClaims) string { return hs256(t, secretA, claims) }
	many := make([]string, 500)
	for i := range many {
		many[i] = strings.Repeat("x", 61) + string(rune('0'+i/100)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10))
	}
	for _, tt := range []struct {
		name string
		keys *Keys
		raw  string
		why  string // part of the refusal; empty: it is good
	}{
		{"plain", keys, hs(grantOf("history", "cid", "C")), ""},
		{"with all", keys, hs(grantOf("invite", "cid", "C", "mem", []string{"Tom"}, "jti", "X")), ""},
		{"named key", keys, sign(t, jwt.SigningMethodHS256, "a", []byte(secretA), grantOf("history")), ""},
		{"ES256", keys, sign(t, jwt.SigningMethodES256, nil, s.ec, grantOf("history")), ""},
		{"500 members", keys, hs(grantOf("create", "mem", many)), ""},
		{"an unknown operation", keys, hs(grantOf("dance")), ""}, // it is for something else
		{"iss and aud", strict, hs(grantOf("history", "iss", "me", "aud", "parley")), ""},
		{"expired within the leeway", keys, hs(grantOf("history", "exp", at(-20*time.Second))), ""},
		{"six hours", keys, hs(grantOf("history", "iat", at(-time.Hour), "exp", at(5*time.Hour))), ""},
		{"null jti, cid and mem", keys, rawClaims(t, `{"sub":"Tom","op":"history","iat":`+unix(now)+`,"exp":`+unix(now)+`,"jti":null,"cid":null,"mem":null}`), ""},

		{"garbage", keys, "hello", "malformed"},
		{"Bearer", keys, "Bearer " + hs(grantOf("history")), "malformed"},
		{"a token", keys, clientToken(t, "Tom"), "a token, not a grant"},
		{"op null", keys, hs(grantOf("history", "op", jwt.ClaimStrings(nil))), "a token, not a grant"},
		{"op a number", keys, hs(grantOf("history", "op", 7)), "malformed"},
		{"another's key", keys, hs256(t, secretC, grantOf("history")), "not signed"},
		{"none", keys, sign(t, jwt.SigningMethodNone, nil, jwt.UnsafeAllowNoneSignatureType, grantOf("history")), "not signed"},
		{"another algorithm", keys, sign(t, jwt.SigningMethodHS512, nil, []byte(secretA), grantOf("history")), "not signed"},
		{"expired", keys, hs(grantOf("history", "exp", at(-40*time.Second))), "expired"},
		{"no exp", keys, hs(grantOf("history", "exp", nil)), "exp"},
		{"no iat", keys, hs(grantOf("history", "iat", nil)), "iat"},
		{"issued in the future", keys, hs(grantOf("history", "iat", at(40*time.Second))), "future"},
		{"not yet valid", keys, hs(grantOf("history", "nbf", at(40*time.Second))), "not valid yet"},
		{"too long-lived", keys, hs(grantOf("history", "iat", at(0), "exp", at(6*time.Hour+time.Second))), "6 hours"},
		{"for all time", keys, hs(grantOf("history", "exp", 1e15)), "6 hours"},
		{"no iss", strict, hs(grantOf("history", "aud", "parley")), "iss"},
		{"another iss", strict, hs(grantOf("history", "iss", "you", "aud", "parley")), "somebody else"},
		{"another aud", strict, hs(grantOf("history", "iss", "me", "aud", "bar")), "another audience"},
		{"mem a string", keys, hs(grantOf("invite", "mem", "Tom")), "malformed"},
		{"mem of numbers", keys, hs(grantOf("invite", "mem", []int{7})), "malformed"},
		{"cid a number", keys, hs(grantOf("invite", "cid", 7)), "malformed"},
		{"jti a number", keys, hs(grantOf("invite", "jti", 7)), "malformed"},
		{"jti empty", keys, hs(grantOf("invite", "jti", "")), "jti is empty"},
		{"a repeated claim", keys, rawClaims(t, `{"sub":"Tom","op":"history","op":"invite","iat":`+unix(now)+`,"exp":`+unix(now)+`}`), "malformed"},
		{"very long", keys, strings.Repeat("x", 1<<20), "longer"},
	} {
		g, err := tt.keys.ParseGrant(tt.raw)
		if tt.why == "" && (err != nil || g.Client != "Tom" || g.Op == "") {
			t.Errorf("%s: %+v, %v", tt.name, g, err)
		}
		if tt.why != "" && (!model.IsCode(err, model.GrantInvalid) || !strings.Contains(err.Error(), tt.why)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.why)
		}
		if err != nil && len(tt.raw) > 20 && strings.Contains(err.Error(), tt.raw[:20]) {
			t.Errorf("%s: the grant is in the error", tt.name)
		}
		if _, err := tt.keys.verify(tt.raw); !model.IsCode(err, model.Unauthenticated) && tt.name != "a token" {
			t.Errorf("%s: taken for a token: %v", tt.name, err)
		}
	}

	got, err := keys.ParseGrant(hs(grantOf("invite", "cid", "C", "mem", []string{"Tom", "Mary"}, "jti", "X", "iat", 1000, "exp", at(0))))
	if !model.IsCode(err, model.GrantInvalid) {
		t.Errorf("issued long ago: %v", err)
	}
	want := model.Grant{ID: "X", Client: "Tom", Op: "invite", Conversation: "C", Members: []string{"Tom", "Mary"}, IssuedAt: time.Unix(1000, 0), ExpiresAt: time.Unix(at(0), 0)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func unix(t time.Time) string {
	b, _ := jwt.NewNumericDate(t).MarshalJSON()
	return string(b)
}

// A grant's claims mean nothing in a token, where others may use the same names.
func TestTokenWithOthersClaims(t *testing.T) {
	keys := testKeys(t, KeyConfig{})
	if _, err := keys.verify(hs256(t, secretA, claimsOf("Tom", "cid", 7, "mem", "gold", "jti", ""))); err != nil {
		t.Error(err)
	}
}

// What is sent reaches the endpoint, unless nobody will ask for it.
func TestGrantHeader(t *testing.T) {
	var sent *model.SentGrant
	look := func(_ http.ResponseWriter, _ *http.Request, caller model.Caller) error {
		sent = caller.Grant
		return nil
	}
	routes := func(s *server) []*route { return []*route{get("/v1/look", s.client(look))} }
	on := testServer(t, Config{Grants: true}, routes)
	off := testServer(t, Config{}, routes)
	tom, server := "Authorization: Bearer "+clientToken(t, "Tom"), "Authorization: Bearer "+serverToken(t)
	good := "Parley-Grant: " + hs256(t, secretA, grantOf("history", "cid", "C"))
	for _, tt := range []struct {
		name    string
		h       http.Handler
		headers []string
		want    string
	}{
		{"sent", on, []string{tom, good}, "good"},
		{"not sent", on, []string{tom}, "none"},
		{"empty", on, []string{tom, "Parley-Grant: "}, "none"},
		{"bad", on, []string{tom, "Parley-Grant: x"}, "bad"},
		{"in other letters", on, []string{tom, strings.Replace(good, "Parley-Grant", "parley-grant", 1)}, "good"},
		{"by a server", on, []string{server, good}, "none"},
		{"switched off", off, []string{tom, good}, "none"},
		{"switched off, bad", off, []string{tom, "Parley-Grant: x"}, "none"},
	} {
		sent = nil
		if res := call(t, tt.h, "GET", "/v1/look", tt.headers...); res.Code != 200 {
			t.Errorf("%s: %d %s", tt.name, res.Code, res.Body)
		}
		got := "none"
		if sent != nil && sent.Err == nil && sent.Grant.Conversation == "C" {
			got = "good"
		} else if sent != nil && model.IsCode(sent.Err, model.GrantInvalid) {
			got = "bad"
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	for _, h := range []http.Handler{on, off} {
		p := wantProblem(t, call(t, h, "GET", "/v1/look", tom, good, good), model.InvalidRequest)
		if len(p.Errors) != 1 || p.Errors[0].Field != "Parley-Grant" {
			t.Errorf("twice: %+v", p.Errors)
		}
	}
	wantProblem(t, call(t, on, "GET", "/v1/look", strings.Replace(good, "Parley-Grant:", "Authorization: Bearer", 1)), model.Unauthenticated)
}

// While the keys cannot be had nobody can say whether a grant is good.
func TestGrantWhileJWKSIsAway(t *testing.T) {
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	defer away.Close()
	keys := testKeys(t, KeyConfig{JWKSURL: away.URL})
	if _, err := keys.ParseGrant(sign(t, jwt.SigningMethodES256, "k", signers().ec, grantOf("history"))); !model.IsCode(err, model.Unavailable) {
		t.Errorf("%v, want unavailable", err)
	}
}
