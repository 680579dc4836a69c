package api

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"parley/model"
)

func TestRoutes(t *testing.T) {
	seen := map[Route]bool{}
	for _, rt := range Routes() {
		if seen[rt] {
			t.Errorf("%v is there twice", rt)
		}
		seen[rt] = true
	}
	for _, want := range []Route{{"GET", "/v1/events"}, {"POST", "/v1/conversations/{id}/messages"}, {"GET", "/metrics"}, {"GET", "/problems/{code}"}} {
		if !seen[want] {
			t.Errorf("%v is missing", want)
		}
	}
}

// Every route under /v1 is closed to those without a token.
func TestNothingUnderV1IsPublic(t *testing.T) {
	s := newServer(Config{Keys: testKeys(t, KeyConfig{})})
	s.handle(s.routes(nil))
	for _, rt := range Routes() {
		if strings.HasPrefix(rt.Pattern, "/v1/") {
			path := strings.NewReplacer("{", "", "}", "").Replace(rt.Pattern)
			wantProblem(t, call(t, s, rt.Method, path), model.Unauthenticated)
		}
	}
}

func TestUnmatched(t *testing.T) {
	srv := testServer(t, Config{}, nil)
	for _, c := range []struct{ method, path, allow string }{
		{"GET", "/", ""},
		{"GET", "/v1", ""},
		{"GET", "/v1/whoami/", ""},
		{"GET", "/V1/whoami", ""},
		{"GET", "//v1/whoami", ""},
		{"GET", "/v1/clients/", ""},
		{"GET", "/v1/clients//kick", ""},
		{"GET", "/v1/clients/a/b", ""},
		{"BREW", "/v1/nowhere", ""},
		{"DELETE", "/v1/whoami", "GET, HEAD, POST"},
		{"BREW", "/v1/whoami", "GET, HEAD, POST"},
		{"GET", "/v1/server", "PUT"},
		{"HEAD", "/v1/server", "PUT"},
		{"POST", "/v1/clients/a%2Fb/kick", "GET, HEAD"},
		{"POST", "/healthz", "GET, HEAD"},
	} {
		res := call(t, srv, c.method, c.path)
		if c.allow == "" {
			wantProblem(t, res, model.NotFound)
		} else {
			wantProblem(t, res, model.MethodNotAllowed)
		}
		if got := res.Header().Get("Allow"); got != c.allow {
			t.Errorf("%s %s: Allow %q, want %q", c.method, c.path, got, c.allow)
		}
	}
}

func TestPathsAreDecodedOnce(t *testing.T) {
	srv := testServer(t, Config{}, nil)
	hs := httptest.NewServer(srv)
	defer hs.Close()
	token := "Bearer " + clientToken(t, "Tom")
	for _, id := range []string{"Tom", "a/b", "50%", "%2F", "a%252Fb", "what?", "Tom Smith", "小明", "a/小 明?%#&+=;:@!$'()*,~", "_tmp:abc", "a\\b", "{id}", "*"} {
		for _, escape := range []func(string) string{url.PathEscape, escapeAll, encodeURIComponent} {
			for _, tail := range []string{"", "/kick"} {
				res := httptest.NewRecorder()
				req, err := http.NewRequest("GET", hs.URL+"/v1/clients/"+escape(id)+tail, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", token)
				answer, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Code = answer.StatusCode
				io.Copy(res.Body, answer.Body)
				answer.Body.Close()
				if got := wantCaller(t, res); got.ID != id {
					t.Errorf("%s: the endpoint sees %q, want %q", req.URL.EscapedPath(), got.ID, id)
				}
			}
		}
	}
	for _, path := range []string{"/v1/clients/%ff", "/v1/clients/a%2F%ff", "/v1/clients/a%00", "/v1/clients/a%2F%00/kick"} {
		p := wantProblem(t, call(t, srv, "GET", path, "Authorization: "+token), model.InvalidRequest)
		if len(p.Errors) != 1 || p.Errors[0].Field != "id" {
			t.Errorf("%s: errors %v", path, p.Errors)
		}
	}
}

// net/http refuses a malformed escape itself, before anything of ours is asked.
func TestMalformedEscapeIs400(t *testing.T) {
	hs := httptest.NewServer(testServer(t, Config{}, nil))
	defer hs.Close()
	conn, err := net.Dial("tcp", hs.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET /v1/clients/50%/kick HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		t.Errorf("answered %q, %v", answer, err)
	}
}

func escapeAll(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte('%')
		b.WriteByte(hex[s[i]>>4])
		b.WriteByte(hex[s[i]&15])
	}
	return b.String()
}

// encodeURIComponent does what browsers do.
func encodeURIComponent(s string) string {
	return strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(url.QueryEscape(s))
}

func TestHead(t *testing.T) {
	hs := httptest.NewServer(testServer(t, Config{}, nil))
	defer hs.Close()
	for path, status := range map[string]int{"/v1/whoami": 200, "/healthz": 200, "/problems/internal": 200, "/nowhere": 404, "/v1/server": 405} {
		req, err := http.NewRequest("HEAD", hs.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+clientToken(t, "Tom"))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != status || len(body) != 0 || err != nil {
			t.Errorf("HEAD %s: %d with %d bytes, %v", path, res.StatusCode, len(body), err)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	srv := testServer(t, Config{}, nil)
	for _, id := range []string{"a", "A.b_c-9", strings.Repeat("x", 64)} {
		if got := call(t, srv, "GET", "/healthz", "X-Request-Id: "+id).Header().Get("X-Request-Id"); got != id {
			t.Errorf("%q became %q", id, got)
		}
	}
	for _, id := range []string{"", "a b", "小", strings.Repeat("x", 65), "a\tb"} {
		got := call(t, srv, "GET", "/v1/nowhere", "X-Request-Id: "+id).Header().Get("X-Request-Id")
		if got == id || !validName(got) {
			t.Errorf("%q became %q", id, got)
		}
	}
}

func TestMetricsAndLog(t *testing.T) {
	log, text := logTo()
	s := newServer(Config{Keys: testKeys(t, KeyConfig{}), Log: log})
	s.handle(s.routes(nil))
	call(t, s, "GET", "/v1/conversations/some-id", "X-Request-Id: here")
	call(t, s, "GET", "/v1/nowhere")
	res := call(t, s, "GET", "/metrics")
	for _, want := range []string{
		`parley_http_requests_total{method="GET",route="/v1/conversations/{id}",status="4xx"} 1`,
		`parley_http_requests_total{method="any",route="none",status="4xx"} 1`,
		`parley_http_request_seconds_count{method="GET",route="/v1/conversations/{id}"} 1`,
	} {
		if !strings.Contains(res.Body.String(), want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if strings.Contains(text.String(), "some-id") || !strings.Contains(text.String(), `"route":"/v1/conversations/{id}","status":401`) || !strings.Contains(text.String(), `"requestId":"here"`) {
		t.Errorf("log:\n%s", text)
	}

	elsewhere := newServer(Config{MetricsElsewhere: true})
	elsewhere.handle(elsewhere.routes(nil))
	wantProblem(t, call(t, elsewhere, "GET", "/metrics"), model.NotFound)
}
