package api

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"parley/model"
)

// response is the ResponseWriter that endpoints get: it remembers what the access log and the metrics
// want to know. http.ResponseController reaches the real one through Unwrap.
type response struct {
	http.ResponseWriter
	requestID string
	start     time.Time
	route     *route       // nil until the path has been found
	caller    model.Caller // zero until authenticated
	foreign   bool         // from an origin, or for a host, that is not let in
	status    int          // 0 until the header is written
	hijacked  bool
	gone      bool // the client left before the answer
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	if err != nil && err != http.ErrBodyNotAllowed {
		w.gone = true
	}
	return n, err
}

func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// FlushError sends the header as well, and so the answer has begun.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack hands the connection over; from then on nothing is known of what it is answered.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.hijacked = true
	}
	return conn, rw, err
}

// pattern is the route as registered: the path itself may hold client ids.
func (w *response) pattern() string {
	if w.route == nil {
		return ""
	}
	return w.route.pattern
}

// ServeHTTP does what is true of every request, then routes it.
func (s *server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &response{ResponseWriter: rw, start: time.Now(), requestID: requestID(r)}
	h := rw.Header()
	h["X-Request-Id"] = []string{w.requestID}
	h["X-Content-Type-Options"] = noSniff
	h["Cache-Control"] = noStore // until an endpoint knows better: what we answer is somebody's own
	h["Vary"] = varyOrigin
	if len(s.cfg.TrustedProxies) > 0 {
		r.RemoteAddr = remoteAddr(r, s.cfg.TrustedProxies)
	}
	defer s.finish(w, r)
	s.admit(w, r)
	if preflight(w, r) {
		return
	}
	s.mux.ServeHTTP(w, r)
}

// requestID is the caller's when it has the right form, else a new one.
func requestID(r *http.Request) string {
	if ids := r.Header["X-Request-Id"]; len(ids) == 1 && validName(ids[0]) {
		return ids[0]
	}
	return rand.Text()
}

// finish accounts for a request, and answers one whose endpoint panicked.
func (s *server) finish(w *response, r *http.Request) {
	p := recover()
	if p == nil {
		s.account(w, r)
		return
	}
	if p != http.ErrAbortHandler {
		s.log.LogAttrs(r.Context(), slog.LevelError, "panic", slog.String("requestId", w.requestID),
			slog.String("route", w.pattern()), slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
		if w.status == 0 && !w.hijacked {
			s.fail(w, r, model.NewError(model.Internal, "something went wrong; it has been logged under this request id"))
			s.account(w, r)
			return
		}
	}
	s.account(w, r)
	if !w.hijacked {
		panic(http.ErrAbortHandler) // net/http cuts the connection and says nothing more
	}
}

// account counts a request and writes its line to the access log: never the path as sent, which holds
// client ids, nor the query, which may hold a token.
func (s *server) account(w *response, r *http.Request) {
	took := time.Since(w.start)
	status := w.status
	switch {
	case w.hijacked:
		status = 0
	case w.gone:
		status = statusClientGone
	case status == 0:
		status = http.StatusOK // what net/http sends when nothing was written
	}
	s.metrics.observe(w.route, status, took)

	level := slog.LevelInfo
	if w.route != nil && w.route.quiet {
		level = slog.LevelDebug
	}
	if !s.log.Enabled(r.Context(), level) {
		return
	}
	outcome := slog.Int("status", status)
	if w.hijacked {
		outcome = slog.Bool("stream", true)
	}
	caller := slog.String("client", w.caller.Client)
	if w.caller.Server {
		caller = slog.String("server", w.caller.Client)
	}
	line := slog.NewRecord(time.Now(), level, "request", 0) // a Logger would look up who called it, each time
	line.AddAttrs(slog.String("method", loggedMethod(r.Method)), slog.String("route", w.pattern()), outcome,
		slog.Duration("took", took), caller, slog.String("remote", r.RemoteAddr), slog.String("requestId", w.requestID))
	_ = s.log.Handler().Handle(r.Context(), line) // as a Logger does: there is nobody to tell
}

// loggedMethod keeps what a stranger invents as a method out of the log.
func loggedMethod(method string) string {
	for _, m := range methods {
		if m == method {
			return method
		}
	}
	return "other"
}
