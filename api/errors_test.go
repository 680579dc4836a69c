package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parley/handlers"
	"parley/model"
)

var errAway = errors.New("dial unix /secret/path: connection refused")

func failing(s *server) []*route {
	fail := func(err error) endpoint {
		return func(w http.ResponseWriter, _ *http.Request, _ model.Caller) error {
			w.Header().Set("Content-Length", "7")
			w.Header().Set("Content-Type", "application/json")
			return err
		}
	}
	late := func(w http.ResponseWriter, _ *http.Request, _ model.Caller) error {
		fmt.Fprint(w, "half an ans")
		return errors.New("late failure")
	}
	panics := func(http.ResponseWriter, *http.Request, model.Caller) error { panic("oh no, a password") }
	many := &model.Error{Code: model.InvalidRequest, Detail: "two things", Fields: []model.FieldError{{Field: "members[3]", Detail: "no"}, {Field: "name", Detail: "<long>"}}}
	return []*route{
		get("/fail/fields", s.client(fail(fmt.Errorf("wrapped: %w", many)))),
		get("/fail/member", s.client(fail(model.ErrNotAMember(model.LegacySendRefused)))),
		get("/fail/plain", s.client(fail(model.NewError(model.ConversationFull, "")))),
		get("/fail/unknown", s.client(fail(errors.New("pq: relation secret_table")))),
		get("/fail/away", s.client(fail(fmt.Errorf("x: %w", errAway)))),
		get("/fail/code", s.client(fail(model.NewError("made_up", "whatever")))),
		get("/fail/late", s.client(late)),
		get("/fail/panic", s.client(panics)),
		get("/fail/abort", s.client(func(http.ResponseWriter, *http.Request, model.Caller) error { panic(http.ErrAbortHandler) })),
		get("/stream/unknown", s.client(fail(errors.New("pq: secret")))).streams(),
		get("/stream/away", s.client(fail(errAway))).streams(),
		get("/stream/panic", s.client(panics)).streams(),
		get("/stream/conflict", s.client(fail(model.NewError(model.SessionConflict, "taken")))).streams(),
	}
}

func failingServer(t *testing.T) (*server, string, *lockedBuffer) {
	log, text := logTo()
	srv := testServer(t, Config{Log: log, Unavailable: func(err error) bool { return errors.Is(err, errAway) }}, failing)
	return srv, "Authorization: Bearer " + clientToken(t, "Tom"), text
}

func wantRetry(t *testing.T, res *httptest.ResponseRecorder) {
	t.Helper()
	if res.Code != 200 || res.Header().Get("Content-Type") != "text/event-stream" || !regexp.MustCompile(`^retry: \d{4,5}\n\n$`).MatchString(res.Body.String()) {
		t.Errorf("answered %d %v %q", res.Code, res.Header(), res.Body)
	}
}

func TestProblems(t *testing.T) {
	srv, tom, _ := failingServer(t)
	p := wantProblem(t, call(t, srv, "GET", "/fail/fields", tom, "X-Request-Id: my.id"), model.InvalidRequest)
	want := handlers.Problem{
		Type: "/problems/invalid_request", Title: "Invalid request", Status: 400, Detail: "two things", Code: "invalid_request", RequestID: "my.id",
		Errors: []model.FieldError{{Field: "members[3]", Detail: "no"}, {Field: "name", Detail: "<long>"}},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	if p := wantProblem(t, call(t, srv, "GET", "/fail/member", tom), model.NotAMember); p.LegacyCode != 4401 {
		t.Errorf("legacy code %d", p.LegacyCode)
	}
	res := call(t, srv, "GET", "/fail/plain", tom)
	if p := wantProblem(t, res, model.ConversationFull); p.LegacyCode != 4304 {
		t.Errorf("legacy code %d", p.LegacyCode)
	}
	if res.Header().Get("Content-Length") == "7" {
		t.Error("the endpoint's Content-Length is kept")
	}
	if res := call(t, srv, "GET", "/fail/fields", tom); strings.Contains(res.Body.String(), "legacyCode") {
		t.Errorf("a legacy code where none exists: %s", res.Body)
	}
	res = call(t, srv, "GET", "/fail/code", tom)
	if res.Code != 500 {
		t.Errorf("a code that is not in the catalogue: %d", res.Code)
	}
}

func TestUnknownErrorsAreLoggedAndHidden(t *testing.T) {
	srv, tom, log := failingServer(t)
	res := call(t, srv, "GET", "/fail/unknown", tom, "X-Request-Id: find-me")
	wantProblem(t, res, model.Internal)
	if strings.Contains(res.Body.String(), "secret") {
		t.Errorf("the client sees %s", res.Body)
	}
	if n := strings.Count(log.String(), "secret_table"); n != 1 || !strings.Contains(log.String(), "find-me") {
		t.Errorf("logged %d times:\n%s", n, log)
	}
	res = call(t, srv, "GET", "/fail/away", tom)
	wantProblem(t, res, model.Unavailable)
	if strings.Contains(res.Body.String(), "secret") || res.Header().Get("Retry-After") == "" {
		t.Errorf("%v %s", res.Header(), res.Body)
	}
}

func TestPanics(t *testing.T) {
	srv, tom, log := failingServer(t)
	res := call(t, srv, "GET", "/fail/panic", tom)
	wantProblem(t, res, model.Internal)
	if strings.Contains(res.Body.String(), "password") {
		t.Errorf("the client sees %s", res.Body)
	}
	if !strings.Contains(log.String(), "errors_test.go") {
		t.Errorf("no stack of the panic in the log:\n%s", log)
	}
}

func TestStreamNeverAnswers5xx(t *testing.T) {
	srv, tom, _ := failingServer(t)
	for _, path := range []string{"/stream/unknown", "/stream/away", "/stream/panic"} {
		wantRetry(t, call(t, srv, "GET", path, tom))
	}
	wantProblem(t, call(t, srv, "GET", "/stream/conflict", tom), model.SessionConflict)
	wantProblem(t, call(t, srv, "GET", "/stream/conflict"), model.Unauthenticated)
}

// An answer that has begun must not look whole when the endpoint fails.
func TestLateFailureCutsTheConnection(t *testing.T) {
	srv, tom, log := failingServer(t)
	hs := httptest.NewServer(srv)
	defer hs.Close()
	for _, path := range []string{"/fail/late", "/fail/abort"} {
		req, err := http.NewRequest("GET", hs.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", strings.TrimPrefix(tom, "Authorization: "))
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			continue // cut before its first byte
		}
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("%s: got an answer that looks whole", path)
		}
		res.Body.Close()
	}
	waitFor(t, func() bool { return strings.Count(log.String(), `"msg":"request"`) == 2 })
	if !strings.Contains(log.String(), "late failure") {
		t.Errorf("not logged:\n%s", log)
	}
}

func TestGoneClientIsNobodysFault(t *testing.T) {
	srv, tom, log := failingServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "GET", "/fail/unknown", nil)
	r.Header.Set("Authorization", strings.TrimPrefix(tom, "Authorization: "))
	w := httptest.NewRecorder()
	srv.ServeHTTP(w, r)
	if strings.Contains(log.String(), "ERROR") || strings.Contains(log.String(), "secret") || !strings.Contains(log.String(), `"status":499`) {
		t.Errorf("logged:\n%s", log)
	}
	if w.Code != 503 {
		t.Errorf("somebody who is still there would see %d", w.Code)
	}
}

func TestProblemPages(t *testing.T) {
	srv := testServer(t, Config{}, nil)
	for _, code := range model.Codes() {
		p, _ := model.ProblemOf(code)
		for accept, contentType := range map[string]string{
			"": "text/plain; charset=utf-8", "*/*": "text/plain; charset=utf-8", "application/json": "application/json",
			"text/html,application/xhtml+xml,*/*;q=0.8": "text/html; charset=utf-8",
		} {
			res := call(t, srv, "GET", "/problems/"+string(code), "Accept: "+accept)
			if res.Code != 200 || res.Header().Get("Content-Type") != contentType {
				t.Errorf("%s for %q: %d %s", code, accept, res.Code, res.Header().Get("Content-Type"))
			}
			if !strings.Contains(res.Body.String(), p.Title) || !strings.Contains(res.Body.String(), string(code)) {
				t.Errorf("%s for %q: %s", code, accept, res.Body)
			}
		}
	}
	var d described
	if err := json.Unmarshal(call(t, srv, "GET", "/problems/not_a_member", "Accept: application/json").Body.Bytes(), &d); err != nil || d.LegacyCode != 4317 || d.Status != 403 {
		t.Errorf("%+v, %v", d, err)
	}
	wantProblem(t, call(t, srv, "GET", "/problems/nonsense"), model.NotFound)
	wantProblem(t, call(t, srv, "POST", "/problems/internal"), model.MethodNotAllowed)
}

func TestReadiness(t *testing.T) {
	down := true
	srv := testServer(t, Config{Ready: func(context.Context) error {
		if down {
			return errors.New("postgres://user:password@host")
		}
		return nil
	}}, nil)
	res := call(t, srv, "GET", "/readyz")
	wantProblem(t, res, model.Unavailable)
	if strings.Contains(res.Body.String(), "password") {
		t.Errorf("%s", res.Body)
	}
	down = false
	if res := call(t, srv, "GET", "/readyz"); res.Code != 200 {
		t.Errorf("answered %d", res.Code)
	}
	if res := call(t, srv, "GET", "/healthz"); res.Code != 200 {
		t.Errorf("answered %d", res.Code)
	}
}

func TestHijackAndFlushReachTheConnection(t *testing.T) {
	log, text := logTo()
	released := make(chan struct{})
	srv := testServer(t, Config{Log: log}, func(*server) []*route {
		return []*route{
			get("/hijack", public(func(w http.ResponseWriter, _ *http.Request) error {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return err
				}
				defer conn.Close()
				_, err = fmt.Fprint(conn, "HTTP/1.1 418 teapot\r\nContent-Length: 0\r\n\r\n")
				return err
			})),
			get("/flush", public(func(w http.ResponseWriter, _ *http.Request) error {
				c := http.NewResponseController(w)
				if err := errors.Join(c.SetWriteDeadline(time.Now().Add(time.Minute)), c.Flush()); err != nil {
					return err
				}
				<-released
				return nil
			})),
		}
	})
	hs := httptest.NewServer(srv)
	defer hs.Close()
	res, err := http.Get(hs.URL + "/hijack")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusTeapot {
		t.Errorf("status %d", res.StatusCode)
	}
	res, err = http.Get(hs.URL + "/flush") // returns before the endpoint does
	close(released)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	waitFor(t, func() bool { return strings.Count(text.String(), `"msg":"request"`) == 2 })
	for line := range strings.Lines(text.String()) {
		if hijacked := strings.Contains(line, "/hijack"); hijacked != strings.Contains(line, `"stream":true`) || hijacked == strings.Contains(line, `"status"`) {
			t.Errorf("log line %s", line)
		}
	}
}
