package handlers

import (
	"errors"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"parley/chat"
	"parley/model"
	"parley/sse"
)

// Events opens the event stream. Errors of ours never become a 5xx here, which
// would stop an EventSource for good: it is told to come back later instead.
//
//	@Summary	Open the event stream
//	@Tags		stream
//	@Produce	text/event-stream
//	@Param		session		query	string	false	"device id, the same on every reconnect"
//	@Param		tag			query	string	false	"device class: one session of a client at a time"
//	@Param		reopen		query	bool	false	"on a tag conflict fail instead of evicting"
//	@Param		lastEventId	query	string	false	"resume behind this position; the header Last-Event-ID wins"
//	@Param		offline		query	string	false	"what a fresh start delivers"	Enums(counts, messages)
//	@Param		ack			query	string	false	"what counts as delivered"		Enums(auto, client)
//	@Param		heartbeat	query	int		false	"seconds between pings"			minimum(5)	maximum(60)	default(15)
//	@Success	200			{string}	string	"the events"
//	@Success	204			"this session was ended: do not reconnect"
//	@Failure	default		{object}	Problem
//	@Router		/v1/events [get]
func (h *Handlers) Events(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	q, err := streamRequest(r)
	if err != nil {
		return err
	}
	if err := caller.NeedClient(); err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		streamHead(w)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	c, err := h.Chat.Connect(r.Context(), caller, q)
	var refused *model.Error
	switch {
	case errors.As(err, &refused) && refused.Code != model.Unavailable:
		return err
	case err != nil:
		h.Chat.Log.WarnContext(r.Context(), "a stream cannot be opened now", "err", err)
		return goodbye(w, chat.RetryLater())
	case c.Spent:
		w.WriteHeader(http.StatusNoContent)
		return nil
	case c.Stream == nil:
		return goodbye(w, c.Farewell...)
	}
	if err := h.Chat.Hub.Serve(r.Context(), w, r, *c.Stream); err != nil {
		c.Failed()
		return goodbye(w, chat.RetryLater())
	}
	return nil
}

func streamHead(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
}

// goodbye is a stream of nothing but these frames.
func goodbye(w http.ResponseWriter, frames ...*sse.Frame) error {
	streamHead(w)
	w.WriteHeader(http.StatusOK)
	for _, f := range frames {
		if _, err := w.Write(f.Bytes); err != nil {
			return nil // the reader has gone
		}
	}
	return nil
}

// streamRequest reads the query. Unknown parameters are ignored here alone: a page
// may carry its own.
func streamRequest(r *http.Request) (chat.StreamRequest, error) {
	p := query(r)
	p.err = nil // what cannot be read is unknown
	q := chat.StreamRequest{RemoteAddr: remoteIP(r)}
	var given bool
	if q.Session, given = p.text("session"); given && !model.ValidSessionID(q.Session) {
		p.fail("session", "must be 1 to 64 of A-Z a-z 0-9 . _ -")
	}
	if q.Tag, given = p.text("tag"); given && !validTag(q.Tag) {
		p.fail("tag", "must be 1 to 64 characters, none of them a control character")
	}
	q.Reopen = p.boolean("reopen")
	q.Position = p.once("lastEventId") // garbage is answered on the stream, by a reset
	q.OfflineMessages = p.oneOf("offline", "counts", "counts", "messages") == "messages"
	q.AckClient = p.oneOf("ack", "auto", "auto", "client") == "client"
	q.Heartbeat = p.integer("heartbeat", 15, 5, 60)
	if p.err != nil {
		return q, p.err
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		q.Position = id
	}
	if q.Tag != "" && q.Tag != model.DefaultTag && q.Session == "" {
		return q, model.NewError(model.SessionRequired, "a tag needs a session: name one with ?session=")
	}
	return q, nil
}

func validTag(v string) bool {
	n := utf8.RuneCountInString(v)
	return n >= 1 && n <= 64 && !strings.ContainsFunc(v, unicode.IsControl)
}
