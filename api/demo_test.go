package api

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"parley/model"
	"parley/web"
)

// demoServer serves the page of a server whose key is generated, or configured.
func demoServer(t *testing.T, generated bool) *server {
	t.Helper()
	cfg := Config{Keys: testKeys(t, KeyConfig{}), Demo: &Demo{}, LocalHostsOnly: generated, AllowedOrigins: []string{"https://app.example"}}
	if generated {
		cfg.Demo.Token = func(client string) (string, error) { return clientToken(t, client), nil }
	}
	s := newServer(cfg)
	s.handle(s.routes(nil))
	return s
}

func TestDemoFiles(t *testing.T) {
	s := demoServer(t, true)
	paths := map[string]string{"/": "text/html; charset=utf-8", "/page/app.js": "text/javascript; charset=utf-8", "/page/style.css": "text/css; charset=utf-8", "/page/icon.svg": "image/svg+xml"}
	for name := range web.Page {
		if name != "index.html" && paths["/page/"+name] == "" {
			paths["/page/"+name] = "text/javascript; charset=utf-8"
		}
	}
	for path, mediaType := range paths {
		res := call(t, s, "GET", path, "Host: localhost:8080")
		h := res.Header()
		if res.Code != http.StatusOK || h.Get("Content-Type") != mediaType || res.Body.Len() == 0 {
			t.Errorf("%s: %d, %q, %d bytes", path, res.Code, h.Get("Content-Type"), res.Body.Len())
		}
		policy := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-cache"} {
			if h.Get(name) != want {
				t.Errorf("%s: %s %q", path, name, h.Get(name))
			}
		}
		if again := call(t, s, "GET", path, "Host: localhost:8080", "If-None-Match: "+h.Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("%s with its ETag: %d", path, again.Code)
		}
		if head := call(t, s, "HEAD", path, "Host: localhost:8080"); head.Code != http.StatusOK || head.Header().Get("ETag") != h.Get("ETag") {
			t.Errorf("HEAD %s: %d", path, head.Code)
		}
	}
	wantProblem(t, call(t, s, "GET", "/page/nothing.js", "Host: localhost:8080"), model.NotFound)
	wantProblem(t, call(t, s, "GET", "/page/index.html", "Host: localhost:8080"), model.NotFound)
	wantProblem(t, call(t, s, "GET", "/", "Host: parley.example"), model.InvalidOrigin)
}

// The policy would block what stands in the page itself.
func TestDemoHasNothingInline(t *testing.T) {
	page := string(web.Page["index.html"])
	if found := regexp.MustCompile(`<script(?: type="module")?>|<style|\s(?:on\w+|style)=|javascript:|//[a-z]`).FindString(page); found != "" {
		t.Errorf("the page has %q", found)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="/page/([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if _, ok := web.Page[m[1]]; !ok {
			t.Errorf("the page loads %s, which is not there", m[1])
		}
	}
	for name, content := range web.Page {
		if found := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|setAttribute\('style'`).Find(content); found != nil {
			t.Errorf("%s uses %q: what users write could become markup", name, found)
		}
	}
}

func TestDemoOff(t *testing.T) {
	s := newServer(Config{Keys: testKeys(t, KeyConfig{})})
	s.handle(s.routes(nil))
	for _, path := range []string{"/", "/page/app.js", "/page/token"} {
		wantProblem(t, call(t, s, "GET", path), model.NotFound)
		wantProblem(t, call(t, s, "POST", path), model.NotFound)
	}
}

func askToken(t *testing.T, s *server, name string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("POST", "/page/token", strings.NewReader(name))
	r.Host = "localhost:8080"
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestDemoToken(t *testing.T) {
	s := demoServer(t, true)
	for _, headers := range [][]string{
		nil,
		{"Origin: http://localhost:8080", "Sec-Fetch-Site: same-origin"},
		{"Origin: http://127.0.0.1:8080", "Host: 127.0.0.1:8080"},
	} {
		res := askToken(t, s, "小明", headers...)
		if res.Code != http.StatusOK || res.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("with %q: %d %s", headers, res.Code, res.Body)
		}
		r := httptest.NewRequest("GET", "/v1/unread", nil)
		r.Header.Set("Authorization", "Bearer "+res.Body.String())
		caller, err := s.authenticate(r, false)
		if err != nil || caller.Client != "小明" || caller.Server {
			t.Errorf("the token is for %+v, %v", caller, err)
		}
	}
	for _, headers := range [][]string{
		{"Origin: https://evil.example"},
		{"Origin: https://app.example"}, // it may call the API, with tokens of its own
		{"Origin: null"},
		{"Origin: http://localhost:3000"},
		{"Sec-Fetch-Site: cross-site"},
		{"Sec-Fetch-Site: same-site"},
		{"Host: evil.example"},
		{"Host: evil.example", "Origin: http://evil.example", "Sec-Fetch-Site: same-origin"},
	} {
		wantProblem(t, askToken(t, s, "Tom", headers...), model.InvalidOrigin)
	}
	for _, name := range []string{"", ".", "..", " Tom", "Tom ", "a\nb", "a\x00b", "\xff", strings.Repeat("x", 65)} {
		wantProblem(t, askToken(t, s, name), model.InvalidRequest)
	}
	wantProblem(t, askToken(t, s, strings.Repeat("x", 2000)), model.RequestTooLarge)
}

// With keys of the operator's own nobody is given a token, and the page says that it needs one.
func TestDemoWithConfiguredKeys(t *testing.T) {
	s := demoServer(t, false)
	wantProblem(t, askToken(t, s, "Tom"), model.NotFound)
	for generated, want := range map[bool]string{true: `data-sign-in="name"`, false: `data-sign-in="token"`} {
		res := call(t, demoServer(t, generated), "GET", "/", "Host: localhost")
		if !strings.Contains(res.Body.String(), want) {
			t.Errorf("generated %v: the page does not say %s", generated, want)
		}
	}
}
