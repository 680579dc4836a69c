package openapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"parley/api"
	"parley/openapi"
)

// Every route is described, and everything described is routed.
func TestRoutesAndPaths(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(openapi.JSON, &doc); err != nil {
		t.Fatal(err)
	}
	described := map[api.Route]bool{}
	for path, item := range doc.Paths {
		for method := range item {
			described[api.Route{Method: strings.ToUpper(method), Pattern: path}] = true
		}
	}
	for _, rt := range api.Routes() {
		if rt.Pattern == "/docs/*" {
			continue // the files of the page
		}
		if !described[rt] {
			t.Errorf("%v is routed but not described: annotate its handler, name it in openapi/generate/parts/paths.yaml, and run make openapi", rt)
		}
		delete(described, rt)
	}
	for rt := range described {
		t.Errorf("%v is described but not routed", rt)
	}
}

func get(t *testing.T, path, accept string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Encoding", accept)
	w := httptest.NewRecorder()
	openapi.Docs().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The page works without any other host: all that it names is here.
func TestDocsIsWhole(t *testing.T) {
	res := get(t, "/docs", "gzip")
	page := body(t, res)
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("%d %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
	if policy := res.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "script-src 'self';") || strings.Contains(policy, "http") {
		t.Errorf("the policy is %q", policy)
	}
	if strings.Contains(page, "://") || regexp.MustCompile(`<script>|\son\w+=`).MatchString(page) {
		t.Error("the page has inline script, or names another host")
	}
	links := regexp.MustCompile(`(?:src|href)="(docs/[^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(links) != 4 {
		t.Errorf("the page loads %v", links)
	}
	for _, l := range links {
		for _, accept := range []string{"", "gzip, br"} {
			res := get(t, "/"+l[1], accept)
			if res.StatusCode != http.StatusOK || len(body(t, res)) == 0 {
				t.Errorf("%s: %d", l[1], res.StatusCode)
			}
		}
	}
}

func TestDocsCompression(t *testing.T) {
	const bundle = "/docs/swagger-ui-bundle.js"
	plain, packed := get(t, bundle, ""), get(t, bundle, "gzip")
	if plain.Header.Get("Content-Encoding") != "" || packed.Header.Get("Content-Encoding") != "gzip" {
		t.Error("compressed for those who do not ask, or not for those who do")
	}
	if n := len(body(t, plain)); n < 1<<20 || n < 3*len(body(t, packed)) {
		t.Errorf("%d bytes", n)
	}
}

func TestDocsOtherPaths(t *testing.T) {
	res := get(t, "/docs/", "")
	if res.StatusCode != http.StatusPermanentRedirect || res.Header.Get("Location") != "../docs" {
		t.Errorf("%d to %q", res.StatusCode, res.Header.Get("Location"))
	}
	for _, path := range []string{"/docs/index.html", "/docs/README.md", "/docs/../openapi.json", "/docs/swagger-ui.css.gz"} {
		res := get(t, path, "")
		if res.StatusCode != http.StatusNotFound || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", path, res.StatusCode, res.Header.Get("Content-Type"))
		}
	}
}
