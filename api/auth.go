package api

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"parley/model"
)

const (
	headerAs      = "Parley-As"
	headerSession = "Parley-Session"
)

// ownHeaders are those of ours that mean one thing and so come once, in canonical spelling.
var ownHeaders = []string{headerAs, headerSession, headerGrant, "Idempotency-Key"}

// authenticate says whose token or ticket the request carries; 401 when that
// cannot be said, and 403 when a client's asks to act for somebody else. More
// than one credential is 401: which was meant is not for us to guess. stream
// allows those of the query, which EventSource needs.
func (s *server) authenticate(r *http.Request, stream bool) (model.Caller, error) {
	caller, err := s.credential(r, stream)
	if err != nil {
		return model.Caller{}, err
	}
	// A server's ticket was made for one client already.
	if mayName := caller.Server && caller.Client == ""; !mayName && len(r.Header[headerAs]) > 0 {
		return model.Caller{}, model.NewError(model.ServerScopeRequired, "only a server token may act for another client with Parley-As")
	}
	return caller, nil
}

func (s *server) credential(r *http.Request, stream bool) (model.Caller, error) {
	bearer, given, err := bearerToken(r.Header["Authorization"])
	if err != nil {
		return model.Caller{}, err
	}
	if stream && r.URL.RawQuery != "" {
		q := r.URL.Query()
		tokens, tickets := q["access_token"], q["ticket"]
		switch n := len(tokens) + len(tickets); {
		case n > 1, n == 1 && given:
			return model.Caller{}, unauthenticated("more than one credential: send one token or one ticket")
		case len(tokens) == 1:
			return s.byQueryToken(tokens[0])
		case len(tickets) == 1:
			return s.byTicket(r, tickets[0], q["session"])
		}
	}
	if !given {
		return model.Caller{}, unauthenticated("a token is required: send \"Authorization: Bearer <token>\"")
	}
	return s.byToken(bearer)
}

// bearerToken takes the token out of the Authorization header's values.
func bearerToken(values []string) (token string, given bool, err error) {
	if len(values) == 0 {
		return "", false, nil
	}
	if len(values) > 1 {
		return "", true, unauthenticated("more than one Authorization header")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	token = strings.TrimLeft(token, " ")
	if !ok || token == "" || !strings.EqualFold(scheme, "Bearer") {
		return "", true, unauthenticated("the Authorization header must read \"Bearer <token>\"")
	}
	return token, true, nil
}

func (s *server) byToken(raw string) (model.Caller, error) {
	t, err := s.cfg.Keys.verify(raw)
	if err != nil {
		return model.Caller{}, err
	}
	if s.revoked(t) {
		return model.Caller{}, model.ErrRevoked()
	}
	caller := model.Caller{Server: t.server, IssuedAt: t.issuedAt, ExpiresAt: t.expiresAt}
	if !t.server {
		caller.Client, caller.Own = t.subject, true // a server token acts for the system unless Parley-As names somebody
	}
	return caller, nil
}

// byQueryToken keeps server tokens out of URLs, which end up in histories and in others' logs.
func (s *server) byQueryToken(raw string) (model.Caller, error) {
	caller, err := s.byToken(raw)
	if err == nil && caller.Server {
		return model.Caller{}, unauthenticated("a server token is not accepted in access_token")
	}
	return caller, err
}

// byTicket needs the session that a ticket's first use ties it to.
func (s *server) byTicket(r *http.Request, ticket string, sessions []string) (model.Caller, error) {
	if len(sessions) != 1 || !validName(sessions[0]) {
		return model.Caller{}, unauthenticated("a ticket opens the stream of one session: name it in the parameter session")
	}
	return s.cfg.RedeemTicket(r.Context(), ticket, sessions[0])
}

// revoked reports whether the client that a token names was kicked in the second of its issue or later.
func (s *server) revoked(t token) bool {
	if t.subject == "" || s.cfg.Revoked == nil {
		return false
	}
	at, kicked := s.cfg.Revoked(t.subject)
	return kicked && model.Revoked(t.issuedAt, at)
}

// acting adds to caller what the headers say: whom a server token acts for, and the calling session.
func acting(caller model.Caller, h http.Header) (model.Caller, error) {
	for _, name := range ownHeaders {
		if len(h[name]) > 1 {
			return caller, model.Invalid(name, "is given more than once")
		}
	}
	if as := h[headerAs]; len(as) == 1 {
		client, err := decodeAs(as[0])
		if err != nil {
			return caller, err
		}
		caller.Client = client
	}
	if session := h[headerSession]; len(session) == 1 {
		if !validName(session[0]) {
			return caller, model.Invalid(headerSession, "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -")
		}
		caller.Session = session[0]
	}
	return caller, nil
}

// decodeAs decodes the percent-encoded client id of a Parley-As header.
func decodeAs(value string) (string, error) {
	for i := range len(value) {
		if value[i] >= utf8.RuneSelf {
			return "", model.Invalid(headerAs, "must be percent-encoded: characters outside ASCII are written as %%XX of their UTF-8")
		}
	}
	client, err := url.PathUnescape(value)
	if err != nil {
		return "", model.Invalid(headerAs, "must be percent-encoded UTF-8: a percent sign itself is %%25")
	}
	if err := model.ValidClientID(client); err != nil {
		return "", model.Invalid(headerAs, "%v", err)
	}
	return client, nil
}

// validName reports whether s may be a session id or a request id: 1 to 64 of A-Z a-z 0-9 . _ -
func validName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
