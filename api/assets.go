package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"

	"parley/web"
)

// clientLibrary serves the client for browsers.
//
//	@Summary	The client library, an ES module
//	@Tags		operations
//	@Produce	text/javascript
//	@Success	200	{string}	string
//	@Success	304
//	@Router		/parley.js [get]
func clientLibrary() entrance { return asset(web.Client, "text/javascript; charset=utf-8") }

// clientTypes serves the types of the client.
//
//	@Summary	The client library's types, for TypeScript
//	@Tags		operations
//	@Produce	text/plain
//	@Success	200	{string}	string
//	@Success	304
//	@Router		/parley.d.ts [get]
func clientTypes() entrance { return asset(web.ClientTypes, "text/plain; charset=utf-8") }

// asset serves what belongs to the program. Browsers keep it, and ask whether it has changed.
func asset(content []byte, mediaType string) entrance {
	sum := sha256.Sum256(content)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return page(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", mediaType)
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("ETag", etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
}
