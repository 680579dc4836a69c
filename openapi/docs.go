package openapi

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
)

//go:embed docs
var files embed.FS

// pages says how each file of the page is stored and served. What is not listed is not served.
var pages = map[string]struct{ file, contentType string }{
	"/docs":                                  {"docs/index.html", "text/html; charset=utf-8"},
	"/docs/docs.js":                          {"docs/docs.js", "text/javascript; charset=utf-8"},
	"/docs/docs.css":                         {"docs/docs.css", "text/css; charset=utf-8"},
	"/docs/swagger-ui-bundle.js":             {"docs/swagger-ui-bundle.js.gz", "text/javascript; charset=utf-8"},
	"/docs/swagger-ui.css":                   {"docs/swagger-ui.css.gz", "text/css; charset=utf-8"},
	"/docs/LICENSE":                          {"docs/LICENSE", "text/plain; charset=utf-8"},
	"/docs/NOTICE":                           {"docs/NOTICE", "text/plain; charset=utf-8"},
	"/docs/swagger-ui-bundle.js.LICENSE.txt": {"docs/swagger-ui-bundle.js.LICENSE.txt", "text/plain; charset=utf-8"},
}

// The page loads nothing from elsewhere and holds no script of its own. Styles that its script
// sets are allowed: swagger-ui draws with them.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Docs serves the page at /docs and its files under /docs/. It needs no other host.
func Docs() http.Handler { return http.HandlerFunc(serveDocs) }

func serveDocs(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/docs/" { // the page's links are relative to /docs
		w.Header().Set("Location", "../docs")
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	page, ok := pages[r.URL.Path]
	if !ok {
		notFound(w)
		return
	}
	body, err := files.ReadFile(page.file)
	if err != nil {
		panic(err) // it is embedded
	}
	h := w.Header()
	h.Set("Content-Type", page.contentType)
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	if strings.HasSuffix(page.file, ".gz") {
		h.Add("Vary", "Accept-Encoding")
		h.Set("Cache-Control", "public, max-age=86400")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
		} else if body, err = gunzip(body); err != nil {
			panic(err) // it is embedded
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // fails only if the client has gone; at HEAD net/http leaves the body out
}

func gunzip(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// notFound answers as package api does, which this package cannot ask to.
func notFound(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNotFound)
	_ = json.NewEncoder(w).Encode(map[string]any{ // fails only if the client has gone
		"type": "/problems/not_found", "title": "No such path", "status": http.StatusNotFound,
		"detail": "there is nothing at this path", "code": "not_found", "requestId": h.Get("X-Request-Id"),
	})
}
