package api

import (
	"io"
	"net/http"
	"path"
	"strings"

	"parley/model"
	"parley/web"
)

// Demo is the page to chat on, at /.
type Demo struct {
	// Token makes a client's token for whoever asks. It may be set only with the generated key, which
	// serves this machine alone. Nil: the page asks for a token.
	Token func(client string) (string, error)
}

// The page runs no script and shows no style but its own files, and talks to nobody but this server. Pictures
// and sounds may lie anywhere: a message may link to them.
const demoPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: http: blob:; " +
	"media-src 'self' https: http: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// demo are the routes of the page, none when there is no page. They are not part of the API, and not described in its document.
func (s *server) demo() []*route {
	if s.cfg.Demo == nil {
		return nil
	}
	index := string(web.Page["index.html"])
	list := []*route{get(`/page/{file:[a-z]+\.[a-z]+}`, demoFiles())}
	if s.cfg.Demo.Token != nil {
		index = strings.Replace(index, `data-sign-in="token"`, `data-sign-in="name"`, 1)
		list = append(list, post("/page/token", unlimited, public(s.demoToken)))
	}
	return append(list, get("/", demoAsset("index.html", []byte(index))))
}

func demoFiles() entrance {
	files := make(map[string]entrance)
	for name, content := range web.Page {
		if name != "index.html" {
			files[name] = demoAsset(name, content)
		}
	}
	return func(w *response, r *http.Request) error {
		serve, ok := files[r.PathValue("file")]
		if !ok {
			return model.NewError(model.NotFound, "there is nothing at this path")
		}
		return serve(w, r)
	}
}

var demoTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

func demoAsset(name string, content []byte) entrance {
	serve := asset(content, demoTypes[path.Ext(name)])
	return func(w *response, r *http.Request) error {
		h := w.Header()
		h.Set("Content-Security-Policy", demoPolicy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		return serve(w, r)
	}
}

var sameOrigin = http.NewCrossOriginProtection()

// demoToken answers a token for the client that the body names. An allowed origin will not do: pages
// of others are to bring tokens that their own server gave them.
func (s *server) demoToken(w http.ResponseWriter, r *http.Request) error {
	if err := sameOrigin.Check(r); err != nil {
		return model.NewError(model.InvalidOrigin, "only this server's own page may ask for a token")
	}
	name, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1024))
	if err != nil {
		return model.NewError(model.RequestTooLarge, "the body is the name alone")
	}
	if err := model.ValidClientID(string(name)); err != nil {
		return model.Invalid("body", "%s", err)
	}
	token, err := s.cfg.Demo.Token(string(name))
	if err != nil {
		return err
	}
	return writeText(w, token)
}
