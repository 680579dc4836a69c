package api

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"parley/web"
)

func TestClientLibrary(t *testing.T) {
	s := newServer(Config{Keys: testKeys(t, KeyConfig{})})
	s.handle(s.routes(nil))
	for path, want := range map[string]struct {
		mediaType string
		content   []byte
	}{
		"/parley.js":   {"text/javascript; charset=utf-8", web.Client},
		"/parley.d.ts": {"text/plain; charset=utf-8", web.ClientTypes},
	} {
		got := httptest.NewRecorder()
		s.ServeHTTP(got, httptest.NewRequest(http.MethodGet, path, nil))
		h := got.Header()
		if got.Code != http.StatusOK || h.Get("Content-Type") != want.mediaType || got.Body.String() != string(want.content) {
			t.Errorf("%s: %d, %q, %d bytes", path, got.Code, h.Get("Content-Type"), got.Body.Len())
		}
		again := httptest.NewRequest(http.MethodGet, path, nil)
		again.Header.Set("If-None-Match", h.Get("ETag"))
		got = httptest.NewRecorder()
		if s.ServeHTTP(got, again); got.Code != http.StatusNotModified {
			t.Errorf("%s with its ETag %q: %d", path, h.Get("ETag"), got.Code)
		}
	}
}
