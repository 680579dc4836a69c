package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"parley/model"
)

// described is a code of the catalogue as /problems/{code} shows it.
type described struct {
	Type        string     `json:"type"`
	Code        model.Code `json:"code"`
	Status      int        `json:"status"`
	LegacyCode  int        `json:"legacyCode,omitempty"`
	Title       string     `json:"title"`
	Explanation string     `json:"explanation"`
}

var problemHTML = template.Must(template.New("problem").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Title}} - Parley</title>
<style>
body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 38rem; margin: 4rem auto; padding: 0 1rem; color: #222; background: #fff }
h1 { margin-bottom: .2em } code { background: #f0f0f0; padding: .1em .3em; border-radius: .2em } .facts { color: #555 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } code { background: #333 } .facts { color: #aaa } }
</style>
</head>
<body>
<h1>{{.Title}}</h1>
<p class="facts"><code>{{.Code}}</code> &middot; HTTP status {{.Status}}{{if .LegacyCode}} &middot; legacy code {{.LegacyCode}}{{end}}</p>
<p>{{.Explanation}}</p>
<p><a href="/docs">API documentation</a></p>
</body>
</html>
`))

// problemPage explains an error code: to a browser as a page, to curl as text, to a program as JSON.
//
//	@Summary	Explain an error code
//	@Tags		operations
//	@Produce	plain,html,json
//	@Param		code	path		string	true	"error code"
//	@Success	200		{string}	string	"what it means and what to do"
//	@Failure	default	{object}	handlers.Problem
//	@Router		/problems/{code} [get]
func problemPage(w http.ResponseWriter, r *http.Request) error {
	code := model.Code(r.PathValue("code"))
	p, ok := model.ProblemOf(code)
	if !ok {
		return model.NewError(model.NotFound, "there is no error code of this name")
	}
	d := described{"/problems/" + string(code), code, p.Status, p.Legacy, p.Title, p.Explanation}
	var body bytes.Buffer
	var contentType string
	switch accept := r.Header.Get("Accept"); {
	case strings.Contains(accept, "text/html"):
		contentType = "text/html; charset=utf-8"
		if err := problemHTML.Execute(&body, d); err != nil {
			return err
		}
	case strings.Contains(accept, "json"):
		contentType = "application/json"
		if err := json.NewEncoder(&body).Encode(d); err != nil {
			return err
		}
	default:
		contentType = "text/plain; charset=utf-8"
		fmt.Fprintf(&body, "%s (%s, HTTP status %d)\n\n%s\n", d.Title, d.Code, d.Status, d.Explanation)
	}
	h := w.Header()
	h.Add("Vary", "Accept")
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	_, err := w.Write(body.Bytes())
	return err
}
