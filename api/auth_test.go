package api

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/model"
)

func TestCredentials(t *testing.T) {
	tom, server := clientToken(t, "Tom"), serverToken(t)
	srv := testServer(t, Config{RedeemTicket: func(_ context.Context, ticket, session string) (model.Caller, error) {
		if ticket != "good" || session != "laptop" {
			return model.Caller{}, unauthenticated("no such ticket")
		}
		return model.Caller{Client: "Tom", Server: true}, nil
	}}, nil)
	for _, c := range []struct {
		name, target string
		headers      []string
		want         model.Code // empty: let in
	}{
		{"bearer", "/v1/whoami", []string{"Authorization: Bearer " + tom}, ""},
		{"scheme in other letters", "/v1/whoami", []string{"Authorization: bEARER  " + tom}, ""},
		{"nothing", "/v1/whoami", nil, model.Unauthenticated},
		{"empty header", "/v1/whoami", []string{"Authorization: "}, model.Unauthenticated},
		{"scheme alone", "/v1/whoami", []string{"Authorization: Bearer "}, model.Unauthenticated},
		{"token alone", "/v1/whoami", []string{"Authorization: " + tom}, model.Unauthenticated},
		{"another scheme", "/v1/whoami", []string{"Authorization: Basic " + tom}, model.Unauthenticated},
		{"two headers", "/v1/whoami", []string{"Authorization: Bearer " + tom, "Authorization: Bearer " + tom}, model.Unauthenticated},
		{"text behind the token", "/v1/whoami", []string{"Authorization: Bearer " + tom + " x"}, model.Unauthenticated},
		{"query elsewhere", "/v1/whoami?access_token=" + tom, nil, model.Unauthenticated},
		{"ticket elsewhere", "/v1/whoami?ticket=good&session=laptop", nil, model.Unauthenticated},

		{"stream, bearer", "/v1/events", []string{"Authorization: Bearer " + tom}, ""},
		{"stream, server token", "/v1/events", []string{"Authorization: Bearer " + server, "Parley-As: Tom"}, ""},
		{"stream, query", "/v1/events?session=x&access_token=" + tom, nil, ""},
		{"stream, unknown parameters", "/v1/events?foo=1&foo=2&access_token=" + tom, nil, ""},
		{"stream, nothing", "/v1/events", nil, model.Unauthenticated},
		{"stream, empty query token", "/v1/events?access_token=", nil, model.Unauthenticated},
		{"stream, server token in the query", "/v1/events?access_token=" + server, nil, model.Unauthenticated},
		{"stream, the same with Parley-As", "/v1/events?access_token=" + server, []string{"Parley-As: Tom"}, model.Unauthenticated},
		{"stream, query twice", "/v1/events?access_token=" + tom + "&access_token=" + tom, nil, model.Unauthenticated},
		{"stream, query and header", "/v1/events?access_token=" + tom, []string{"Authorization: Bearer " + tom}, model.Unauthenticated},
		{"stream, ticket", "/v1/events?ticket=good&session=laptop", nil, ""},
		{"stream, ticket of nobody", "/v1/events?ticket=bad&session=laptop", nil, model.Unauthenticated},
		{"stream, ticket without session", "/v1/events?ticket=good", nil, model.Unauthenticated},
		{"stream, ticket with odd session", "/v1/events?ticket=good&session=a%20b", nil, model.Unauthenticated},
		{"stream, ticket with two sessions", "/v1/events?ticket=good&session=laptop&session=laptop", nil, model.Unauthenticated},
		{"stream, ticket and token", "/v1/events?ticket=good&session=laptop&access_token=" + tom, nil, model.Unauthenticated},
		{"stream, ticket and header", "/v1/events?ticket=good&session=laptop", []string{"Authorization: Bearer " + tom}, model.Unauthenticated},
		{"stream, ticket for somebody else", "/v1/events?ticket=good&session=laptop", []string{"Parley-As: Jerry"}, model.ServerScopeRequired},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := call(t, srv, "GET", c.target, c.headers...)
			if c.want != "" {
				wantProblem(t, res, c.want)
			} else if got := wantCaller(t, res); got.Client != "Tom" {
				t.Errorf("caller %+v", got)
			}
		})
	}
}

func TestScopeAndActing(t *testing.T) {
	srv := testServer(t, Config{}, nil)
	tom, server := "Authorization: Bearer "+clientToken(t, "Tom"), "Authorization: Bearer "+serverToken(t)
	named := "Authorization: Bearer " + hs256(t, secretA, claimsOf("job", "scope", "server"))
	for _, c := range []struct {
		name, method, target string
		headers              []string
		code                 model.Code
		want                 whoamiAnswer
	}{
		{"client", "GET", "/v1/whoami", []string{tom, "Parley-Session: a.B_9-"}, "", whoamiAnswer{Client: "Tom", Session: "a.B_9-"}},
		{"server", "GET", "/v1/whoami", []string{server}, "", whoamiAnswer{Server: true}},
		{"a server token's sub acts for nobody", "GET", "/v1/whoami", []string{named}, "", whoamiAnswer{Server: true}},
		{"server as Tom", "GET", "/v1/whoami", []string{server, "Parley-As: Tom", "Parley-Session: x"}, "", whoamiAnswer{Client: "Tom", Session: "x", Server: true}},
		{"encoded", "GET", "/v1/whoami", []string{server, "Parley-As: a%2Fb%25%20%E5%B0%8F+c"}, "", whoamiAnswer{Client: "a/b% 小+c", Server: true}},
		{"client as itself", "GET", "/v1/whoami", []string{tom, "Parley-As: Tom"}, model.ServerScopeRequired, whoamiAnswer{}},
		{"client as rubbish", "GET", "/v1/whoami", []string{tom, "Parley-As: %zz"}, model.ServerScopeRequired, whoamiAnswer{}},
		{"client on a server's route", "PUT", "/v1/server", []string{tom}, model.ServerScopeRequired, whoamiAnswer{}},
		{"server on its route", "PUT", "/v1/server", []string{server}, "", whoamiAnswer{Server: true}},
		{"nobody on a server's route", "PUT", "/v1/server", nil, model.Unauthenticated, whoamiAnswer{}},
		{"raw UTF-8", "GET", "/v1/whoami", []string{server, "Parley-As: 小明"}, model.InvalidRequest, whoamiAnswer{}},
		{"bad escape", "GET", "/v1/whoami", []string{server, "Parley-As: 50%"}, model.InvalidRequest, whoamiAnswer{}},
		{"not UTF-8", "GET", "/v1/whoami", []string{server, "Parley-As: %ff"}, model.InvalidRequest, whoamiAnswer{}},
		{"control", "GET", "/v1/whoami", []string{server, "Parley-As: a%00"}, model.InvalidRequest, whoamiAnswer{}},
		{"space", "GET", "/v1/whoami", []string{server, "Parley-As: %20Tom"}, model.InvalidRequest, whoamiAnswer{}},
		{"empty", "GET", "/v1/whoami", []string{server, "Parley-As: "}, model.InvalidRequest, whoamiAnswer{}},
		{"dots", "GET", "/v1/whoami", []string{server, "Parley-As: %2e%2E"}, model.InvalidRequest, whoamiAnswer{}},
		{"long", "GET", "/v1/whoami", []string{server, "Parley-As: " + strings.Repeat("x", 65)}, model.InvalidRequest, whoamiAnswer{}},
		{"twice", "GET", "/v1/whoami", []string{server, "Parley-As: Tom", "Parley-As: Tom"}, model.InvalidRequest, whoamiAnswer{}},
		{"session empty", "GET", "/v1/whoami", []string{tom, "Parley-Session: "}, model.InvalidRequest, whoamiAnswer{}},
		{"session odd", "GET", "/v1/whoami", []string{tom, "Parley-Session: a b"}, model.InvalidRequest, whoamiAnswer{}},
		{"session long", "GET", "/v1/whoami", []string{tom, "Parley-Session: " + strings.Repeat("x", 65)}, model.InvalidRequest, whoamiAnswer{}},
		{"session twice", "GET", "/v1/whoami", []string{tom, "Parley-Session: a", "Parley-Session: a"}, model.InvalidRequest, whoamiAnswer{}},
		{"key twice", "POST", "/v1/whoami", []string{tom, "Idempotency-Key: a", "Idempotency-Key: b"}, model.InvalidRequest, whoamiAnswer{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := call(t, srv, c.method, c.target, c.headers...)
			if c.code != "" {
				p := wantProblem(t, res, c.code)
				if c.code == model.InvalidRequest {
					last := c.headers[len(c.headers)-1]
					name, _, _ := strings.Cut(last, ":")
					if len(p.Errors) != 1 || p.Errors[0].Field != name {
						t.Errorf("errors %v, want one that names %s", p.Errors, name)
					}
				} else if p.Errors != nil {
					t.Errorf("errors %v", p.Errors)
				}
			} else if got := wantCaller(t, res); got != c.want {
				t.Errorf("caller %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestRevocation(t *testing.T) {
	kicked := time.Now().Truncate(time.Second).Add(300 * time.Millisecond)
	srv := testServer(t, Config{Revoked: func(client string) (time.Time, bool) { return kicked, client == "Tom" }}, nil)
	for _, c := range []struct {
		name   string
		claims map[string]any
		ok     bool
	}{
		{"issued before", claimsOf("Tom", "iat", kicked.Unix()-1), false},
		{"issued in that second", claimsOf("Tom", "iat", kicked.Unix()), false},
		{"issued in that second, later", claimsOf("Tom", "iat", float64(kicked.Unix())+.9), false},
		{"issued in the next", claimsOf("Tom", "iat", kicked.Unix()+1), true},
		{"without iat", claimsOf("Tom", "iat", nil), false},
		{"somebody else", claimsOf("Jerry", "iat", nil), true},
		{"server token of nobody", claimsOf("", "sub", nil, "scope", "server"), true},
		{"server token of the client", claimsOf("Tom", "scope", "server", "iat", kicked.Unix()), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			token := hs256(t, secretA, jwt.MapClaims(c.claims))
			for range 2 { // the second time from the cache
				res := call(t, srv, "GET", "/v1/whoami", "Authorization: Bearer "+token)
				if c.ok {
					wantCaller(t, res)
				} else {
					wantProblem(t, res, model.Unauthenticated)
				}
			}
		})
	}
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	log, text := logTo()
	srv := testServer(t, Config{Log: log, RedeemTicket: redeemNothing}, nil)
	tom := clientToken(t, "Tom")
	for _, target := range []string{
		"/v1/events?access_token=" + tom, "/v1/events?access_token=" + tom + "x", "/v1/events?ticket=tick3t&session=a",
		"/v1/whoami?access_token=" + tom, "/v1/nowhere/" + tom, "/v1/clients/" + url.PathEscape(tom),
	} {
		res := call(t, srv, "GET", target, "Authorization: Bearer "+tom+"y")
		if strings.Contains(res.Body.String(), tom) {
			t.Errorf("%s: the token is in the answer", target)
		}
	}
	call(t, srv, tom, "/v1/whoami")
	if strings.Contains(text.String(), tom) || strings.Contains(text.String(), "tick3t") {
		t.Errorf("a secret is in the log:\n%s", text)
	}
}
