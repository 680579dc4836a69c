package api

import (
	"net/http/httptest"
	"strings"
	"testing"

	"parley/model"
)

func TestOrigins(t *testing.T) {
	tom := "Authorization: Bearer " + clientToken(t, "Tom")
	listed := Config{AllowedOrigins: []string{"https://chat.example", "http://dev.example:3000"}, PublicURL: "https://api.example/parley"}
	for _, c := range []struct {
		name    string
		cfg     Config
		host    string
		origin  string // "-": none
		allowed bool
	}{
		{"no origin", Config{}, "api.example", "-", true},
		{"own", Config{}, "api.example", "http://api.example", true},
		{"own with port", Config{}, "api.example:8080", "http://api.example:8080", true},
		{"own in other letters", Config{}, "API.example", "http://api.Example", true},
		{"own behind TLS", Config{}, "api.example", "https://api.example", true},
		{"own, default port written", Config{}, "api.example:443", "https://api.example", true},
		{"another port", Config{}, "api.example:8080", "http://api.example:8081", false},
		{"another port, default", Config{}, "api.example:80", "https://api.example", false},
		{"foreign, empty list", Config{}, "api.example", "https://chat.example", false},
		{"subdomain", Config{}, "api.example", "https://x.api.example", false},
		{"null", listed, "api.example", "null", false},
		{"rubbish", listed, "api.example", "chat.example", false},
		{"listed", listed, "localhost:8080", "https://chat.example", true},
		{"listed, default port", listed, "localhost:8080", "https://chat.example:443", true},
		{"listed, other scheme", listed, "localhost:8080", "http://chat.example", false},
		{"listed with port", listed, "localhost:8080", "http://dev.example:3000", true},
		{"listed without port", listed, "localhost:8080", "http://dev.example", false},
		{"prefix of a listed", listed, "localhost:8080", "https://chat.example.evil", false},
		{"public URL", listed, "10.0.0.7:8080", "https://api.example", true},
		{"any", Config{AllowedOrigins: []string{"*"}}, "api.example", "https://foreign.example", true},
		{"any, null", Config{AllowedOrigins: []string{"*"}}, "api.example", "null", true},
		{"generated key, localhost", Config{LocalHostsOnly: true}, "localhost:8080", "http://localhost:8080", true},
		{"generated key, no origin", Config{LocalHostsOnly: true}, "LOCALHOST", "-", true},
		{"generated key, IPv4", Config{LocalHostsOnly: true}, "127.0.0.1:8080", "-", true},
		{"generated key, IPv6", Config{LocalHostsOnly: true}, "[::1]:8080", "http://[::1]:8080", true},
		{"generated key, IPv6 without port", Config{LocalHostsOnly: true}, "[::1]", "-", true},
		{"generated key, foreign host", Config{LocalHostsOnly: true}, "evil.example:8080", "-", false},
		{"generated key, rebound host", Config{LocalHostsOnly: true}, "evil.example:8080", "http://evil.example:8080", false},
		{"generated key, localhost in front", Config{LocalHostsOnly: true}, "localhost.evil.example", "-", false},
		{"generated key, any origin", Config{LocalHostsOnly: true, AllowedOrigins: []string{"*"}}, "evil.example", "http://evil.example", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := testServer(t, c.cfg, nil)
			headers := []string{"Host: " + c.host}
			if c.origin != "-" {
				headers = append(headers, "Origin: "+c.origin)
			}
			cors := func(res *httptest.ResponseRecorder) {
				t.Helper()
				h := res.Header()
				if !strings.Contains(strings.Join(h["Vary"], ","), "Origin") {
					t.Errorf("Vary %v", h["Vary"])
				}
				got, exposed := h.Get("Access-Control-Allow-Origin"), h.Get("Access-Control-Expose-Headers")
				if want := c.allowed && c.origin != "-"; want != (got == c.origin) || want != (exposed != "") {
					t.Errorf("Access-Control-Allow-Origin %q, exposed %q", got, exposed)
				}
			}
			// An answer, a refusal, a stream, no such path: the headers are on all of them.
			for _, path := range []string{"/v1/whoami", "/v1/events", "/healthz"} {
				res := call(t, srv, "GET", path, append(headers, tom)...)
				cors(res)
				if c.allowed {
					if res.Code != 200 {
						t.Errorf("%s answered %d %s", path, res.Code, res.Body)
					}
				} else if p := wantProblem(t, res, model.InvalidOrigin); p.LegacyCode != 4110 {
					t.Errorf("legacy code %d", p.LegacyCode)
				}
			}
			if c.allowed {
				res := call(t, srv, "GET", "/v1/whoami", headers...)
				wantProblem(t, res, model.Unauthenticated)
				cors(res)
			}
			res := call(t, srv, "GET", "/v1/nowhere", headers...)
			wantProblem(t, res, model.NotFound)
			cors(res)
			res = call(t, srv, "DELETE", "/v1/whoami", headers...)
			wantProblem(t, res, model.MethodNotAllowed)
			cors(res)
		})
	}
}

func TestPreflight(t *testing.T) {
	srv := testServer(t, Config{AllowedOrigins: []string{"https://chat.example"}}, nil)
	res := call(t, srv, "OPTIONS", "/v1/whoami", "Origin: https://chat.example",
		"Access-Control-Request-Method: PATCH", "Access-Control-Request-Headers: authorization,idempotency-key")
	h := res.Header()
	if res.Code != 204 || h.Get("Access-Control-Allow-Origin") != "https://chat.example" || res.Body.Len() != 0 {
		t.Errorf("answered %d %v", res.Code, h)
	}
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
		if !strings.Contains(h.Get("Access-Control-Allow-Methods"), m) {
			t.Errorf("%s is not allowed", m)
		}
	}
	for _, name := range []string{"Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Parley-As", "Parley-Session", "Parley-Grant", "X-Request-Id", "Range"} {
		if !strings.Contains(h.Get("Access-Control-Allow-Headers"), name) {
			t.Errorf("%s is not allowed", name)
		}
	}
	for _, name := range []string{"Parley-Position", "Idempotent-Replayed", "X-Request-Id", "Location", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"} {
		if !strings.Contains(h.Get("Access-Control-Expose-Headers"), name) {
			t.Errorf("%s is not exposed", name)
		}
	}
	res = call(t, srv, "OPTIONS", "/v1/whoami", "Origin: https://foreign.example", "Access-Control-Request-Method: GET")
	if res.Code < 400 || res.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a foreign preflight is answered %d", res.Code)
	}
	wantProblem(t, res, model.InvalidOrigin)
	wantProblem(t, call(t, srv, "OPTIONS", "/v1/whoami"), model.MethodNotAllowed)
	wantProblem(t, call(t, srv, "OPTIONS", "/v1/nowhere", "Origin: https://foreign.example", "Access-Control-Request-Method: GET"), model.NotFound)
}

func TestParseOrigins(t *testing.T) {
	got, err := ParseOrigins([]string{"*", "HTTPS://Chat.Example:443", "http://localhost:3000"})
	if want := "* https://chat.example http://localhost:3000"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"", "chat.example", "https://", "https://chat.example/", "https://chat.example/x", "https://chat.example?x", "https://a@b", "null", "://"} {
		if _, err := ParseOrigins([]string{text}); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestRemoteAddr(t *testing.T) {
	proxies, err := ParseProxies([]string{"10.0.0.0/8", "192.0.2.1", "::1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		peer string
		xff  []string
		want string
	}{
		{"203.0.113.9:5", nil, "203.0.113.9:5"},
		{"203.0.113.9:5", []string{"198.51.100.1"}, "203.0.113.9:5"},
		{"10.1.2.3:5", nil, "10.1.2.3:5"},
		{"10.1.2.3:5", []string{"198.51.100.1"}, "198.51.100.1:0"},
		{"[::ffff:10.1.2.3]:5", []string{"198.51.100.1"}, "198.51.100.1:0"},
		{"10.1.2.3:5", []string{"6.6.6.6, 198.51.100.1"}, "198.51.100.1:0"},
		{"10.1.2.3:5", []string{"6.6.6.6, 198.51.100.1, 192.0.2.1"}, "198.51.100.1:0"},
		{"10.1.2.3:5", []string{"6.6.6.6", "198.51.100.1", "192.0.2.1,10.9.9.9"}, "198.51.100.1:0"},
		{"10.1.2.3:5", []string{"10.7.7.7, 10.8.8.8"}, "10.7.7.7:0"},
		{"10.1.2.3:5", []string{"198.51.100.1, rubbish, 10.8.8.8"}, "10.8.8.8:0"},
		{"10.1.2.3:5", []string{"198.51.100.1:777"}, "198.51.100.1:0"},
		{"[::1]:5", []string{"2001:db8::7"}, "[2001:db8::7]:0"},
		{"[::1]:5", []string{"[2001:db8::7]:8"}, "[2001:db8::7]:0"},
		{"@", []string{"198.51.100.1"}, "@"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = c.peer, c.xff
		if got := remoteAddr(r, proxies); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.peer, c.xff, got, c.want)
		}
	}
	for _, text := range []string{"", "proxy.example", "10.0.0.0/33", "10.0.0"} {
		if _, err := ParseProxies([]string{text}); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
