package api

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"

	"parley/model"
)

// endpoint is a method of handlers.Handlers: it answers, or returns why not.
type endpoint func(w http.ResponseWriter, r *http.Request, caller model.Caller) error

// entrance is what stands before an endpoint.
type entrance func(w *response, r *http.Request) error

// route is one line of the table in routes.go.
type route struct {
	method, pattern string
	class           class
	serve           entrance
	stream          bool // takes credentials from the query, and never answers 5xx
	quiet           bool // logged at debug level: asked for every few seconds by machines
	metrics         routeMetrics
}

func get(pattern string, e entrance) *route {
	return &route{method: http.MethodGet, pattern: pattern, class: reads, serve: e}
}

func post(pattern string, c class, e entrance) *route {
	return &route{method: http.MethodPost, pattern: pattern, class: c, serve: e}
}

func put(pattern string, e entrance) *route {
	return &route{method: http.MethodPut, pattern: pattern, class: others, serve: e}
}

func patch(pattern string, e entrance) *route {
	return &route{method: http.MethodPatch, pattern: pattern, class: others, serve: e}
}

func del(pattern string, e entrance) *route {
	return &route{method: http.MethodDelete, pattern: pattern, class: others, serve: e}
}

func (rt *route) quietly() *route {
	rt.quiet = true
	return rt
}

// streams marks the event stream. It has no limit: at a 429 EventSource would stop for good.
func (rt *route) streams() *route {
	rt.stream, rt.class = true, unlimited
	return rt
}

// downloads marks what has no limit: a page may show any number of pictures.
func (rt *route) downloads() *route {
	rt.class = unlimited
	return rt
}

// enter is where the router hands over: the path has been found, the origin is next.
func (s *server) enter(rt *route) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		w := rw.(*response)
		if emptyParam(chi.RouteContext(r.Context())) {
			s.unmatched(w, r)
			return
		}
		w.route = rt
		var err error
		if w.foreign {
			err = errForeignOrigin(s.origins.localOnly)
		} else {
			err = rt.serve(w, r)
		}
		if err != nil {
			s.fail(w, r, err)
		}
	}
}

// public lets everybody in.
func public(f func(w http.ResponseWriter, r *http.Request) error) entrance {
	return func(w *response, r *http.Request) error { return f(w, r) }
}

// page serves a handler that answers its own errors.
func page(h http.Handler) entrance {
	return func(w *response, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

// client lets in whoever holds a valid token. An endpoint that needs a caller
// cannot be routed any other way: its signature does not fit.
func (s *server) client(f endpoint) entrance { return s.authenticated(f, false) }

// serverOnly lets in server tokens.
func (s *server) serverOnly(f endpoint) entrance { return s.authenticated(f, true) }

func (s *server) authenticated(f endpoint, serverOnly bool) entrance {
	return func(w *response, r *http.Request) error {
		caller, err := s.authenticate(r, w.route.stream)
		if err != nil {
			return err
		}
		w.caller = caller
		if serverOnly && !caller.Server {
			return model.NewError(model.ServerScopeRequired, "only a server token may do this")
		}
		if err := s.limit(w, w.route, caller); err != nil {
			return err
		}
		if caller, err = acting(caller, r.Header); err != nil {
			return err
		}
		caller.Grant = s.sentGrant(caller, r.Header)
		w.caller = caller
		if err := decodePath(r); err != nil {
			return err
		}
		return f(w, r, caller)
	}
}

// keyed also lets in whoever has a key in the query, which is for the endpoint to
// check: such a caller is nobody, and a token is not looked at.
func (s *server) keyed(f endpoint) entrance {
	withToken := s.client(f)
	return func(w *response, r *http.Request) error {
		if !r.URL.Query().Has("key") {
			return withToken(w, r)
		}
		if err := decodePath(r); err != nil {
			return err
		}
		return f(w, r, model.Caller{})
	}
}

// decodePath sees to it that r.PathValue answers decoded text. net/http keeps the path as sent
// only when that differs from what it would write itself, an encoded slash for one; then the
// router matched, and cut its values from, the encoded form.
func decodePath(r *http.Request) error {
	if r.URL.RawPath == "" && utf8.ValidString(r.URL.Path) && strings.IndexByte(r.URL.Path, 0) < 0 {
		return nil
	}
	params := chi.RouteContext(r.Context()).URLParams
	for i, name := range params.Keys {
		value := params.Values[i]
		if r.URL.RawPath != "" {
			decoded, err := url.PathUnescape(value)
			if err != nil {
				return model.Invalid(name, "is not percent-encoded UTF-8")
			}
			value = decoded
			r.SetPathValue(name, value)
		}
		if !utf8.ValidString(value) || strings.IndexByte(value, 0) >= 0 {
			return model.Invalid(name, "must be percent-encoded UTF-8 without U+0000")
		}
	}
	return nil
}

// methods are those that a route may have.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// emptyParam reports whether the router took nothing for a path parameter, as in /v1/conversations//mute: no such path.
func emptyParam(rctx *chi.Context) bool {
	for i, name := range rctx.URLParams.Keys {
		if name != "*" && rctx.URLParams.Values[i] == "" {
			return true
		}
	}
	return false
}

// unmatched answers where no route is: 405 when the path has others, else 404.
func (s *server) unmatched(rw http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if r.URL.RawPath != "" {
		path = r.URL.RawPath
	}
	var allow []string
	for _, m := range methods {
		if rctx := chi.NewRouteContext(); s.mux.Match(rctx, m, path) && !emptyParam(rctx) {
			allow = append(allow, m)
		}
	}
	w := rw.(*response)
	if len(allow) == 0 {
		s.fail(w, r, model.NewError(model.NotFound, "there is nothing at this path"))
		return
	}
	if w.foreign && asksFirst(r) {
		s.fail(w, r, errForeignOrigin(s.origins.localOnly)) // what it asks about is another method
		return
	}
	list := strings.Join(allow, ", ")
	w.Header().Set("Allow", list)
	s.fail(w, r, model.NewError(model.MethodNotAllowed, "this path takes %s", list))
}
