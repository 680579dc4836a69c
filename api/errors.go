package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"

	"parley/handlers"
	"parley/model"
)

const retryAfterUnavailable = 2 // seconds, when the error does not say

// statusClientGone marks in logs and metrics what nobody was left to hear; it is never sent.
const statusClientGone = 499

// fail answers a request that ended in err. It is the only place that writes errors.
func (s *server) fail(w *response, r *http.Request, err error) {
	if (w.gone || r.Context().Err() != nil) && !isOurs(err) {
		// The client has gone, and with it the statement that it was waiting for: nobody's fault. An
		// answer is written all the same, lest a client that is still there take silence for 200.
		w.gone = true
		err = model.NewError(model.Unavailable, "the request was given up")
	}
	e := s.describe(r, w, err)
	switch {
	case w.hijacked:
		return
	case w.status != 0:
		panic(http.ErrAbortHandler) // the answer has begun: cut it, lest it be taken for whole
	}
	p, known := model.ProblemOf(e.Code)
	if !known {
		p, _ = model.ProblemOf(model.Internal)
	}
	if p.Status >= http.StatusInternalServerError && w.route != nil && w.route.stream {
		askToRetry(w)
		return
	}
	writeProblem(w, e, p)
}

func isOurs(err error) bool {
	var e *model.Error
	return errors.As(err, &e)
}

// describe turns any error into one that may be shown, and logs once what a client must not see.
func (s *server) describe(r *http.Request, w *response, err error) *model.Error {
	var e *model.Error
	switch {
	case errors.As(err, &e):
		return e
	case s.cfg.Unavailable != nil && s.cfg.Unavailable(err):
		s.logFailure(r.Context(), w, slog.LevelWarn, "unavailable", err)
		return model.NewError(model.Unavailable, "the database is away, try again in a moment")
	default:
		s.logFailure(r.Context(), w, slog.LevelError, "internal error", err)
		return model.NewError(model.Internal, "something went wrong; it has been logged under this request id")
	}
}

func (s *server) logFailure(ctx context.Context, w *response, level slog.Level, what string, err error) {
	s.log.LogAttrs(ctx, level, what, slog.String("requestId", w.requestID), slog.String("route", w.pattern()), slog.Any("error", err))
}

// askToRetry is the stream's answer instead of any 5xx, at which EventSource would stop for good.
func askToRetry(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	fmt.Fprintf(w, "retry: %d\n\n", 2000+rand.IntN(8001))
}

func writeProblem(w *response, e *model.Error, p model.Problem) {
	h := w.Header()
	// What an endpoint said of the answer it meant to give does not hold for this one.
	for _, name := range []string{"Content-Length", "Content-Encoding", "Etag", "Last-Modified", "Location"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	switch e.Code {
	case model.Unauthenticated:
		h.Set("WWW-Authenticate", "Bearer")
	case model.Unavailable:
		h.Set("Retry-After", strconv.Itoa(retryAfterUnavailable))
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	body := handlers.Problem{
		Type: "/problems/" + string(e.Code), Title: p.Title, Status: p.Status, Detail: e.Detail,
		Code: e.Code, LegacyCode: e.LegacyCode(), RequestID: w.requestID,
	}
	if e.Code == model.InvalidRequest {
		body.Errors = e.Fields
	}
	if body.Detail == "" {
		body.Detail = p.Title
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		panic(err) // strings and numbers always encode
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(buf.Bytes()) // w notices when the client has gone
}
