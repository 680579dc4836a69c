package handlers

import (
	"net"
	"net/http"
	"unicode/utf8"

	"parley/model"
	"parley/repo"
)

// Sessions lists the caller's sessions.
//
//	@Summary	List one's sessions, newest first
//	@Tags		stream
//	@Param		limit	query	int		false	"how many"	minimum(1)	maximum(1000)	default(100)
//	@Param		cursor	query	string	false	"where to go on"
//	@Success	200		{object}	list[model.Session]
//	@Failure	default	{object}	Problem
//	@Router		/v1/sessions [get]
func (h *Handlers) Sessions(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	p := query(r)
	id := listID("sessions", caller.Client)
	var after repo.SessionPlace
	p.cursor(id, &after)
	limit := p.limit(defaultLimit, model.MaxSessions)
	if err := p.done(); err != nil {
		return err
	}
	if err := caller.NeedClient(); err != nil {
		return err
	}
	h.position(w)
	items, next, err := h.Store.Sessions(r.Context(), caller.Client, after, limit)
	if err != nil {
		return err
	}
	for i := range items {
		items[i].Connected = h.Chat.Connected(caller.Client, items[i].ID, items[i].Connected)
	}
	out := &list[model.Session]{Items: items}
	if next != nil {
		cursor, err := model.EncodeCursor(id, next)
		if err != nil {
			return err
		}
		out.Next = &cursor
	}
	return encode(w, http.StatusOK, out)
}

// Logout ends one of the caller's sessions as planned.
//
//	@Summary	Log a session out
//	@Tags		stream
//	@Param		id	path	string	true	"session"
//	@Success	204
//	@Failure	default	{object}	Problem
//	@Router		/v1/sessions/{id} [delete]
func (h *Handlers) Logout(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	if err := h.Chat.Logout(r.Context(), caller, r.PathValue("id")); err != nil {
		return err
	}
	return noContent(w)
}

type ackRequest struct {
	Position string `json:"position" validate:"required"` // an event's id
}

// Ack acknowledges everything up to a position for the calling session.
//
//	@Summary	Acknowledge events
//	@Tags		stream
//	@Param		Parley-Session	header	string		true	"the session that has received"
//	@Param		body			body	ackRequest	true	"how far"
//	@Success	204
//	@Failure	default	{object}	Problem
//	@Router		/v1/acks [post]
func (h *Handlers) Ack(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	var req ackRequest
	if err := decode(r, &req, maxBody, model.RequestTooLarge); err != nil {
		return err
	}
	if err := h.Chat.Ack(r.Context(), caller, req.Position); err != nil {
		return err
	}
	return noContent(w)
}

// CreateTicket makes a ticket for opening the stream where no header can be set.
//
//	@Summary	Make a stream ticket
//	@Tags		stream
//	@Success	201		{object}	chat.Ticket
//	@Failure	default	{object}	Problem
//	@Router		/v1/tickets [post]
func (h *Handlers) CreateTicket(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	if err := decodeOptional(r, &struct{}{}, maxBody, model.RequestTooLarge); err != nil {
		return err
	}
	t, err := h.Chat.NewTicket(r.Context(), caller)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/events?ticket="+t.Ticket)
	return encode(w, http.StatusCreated, t)
}

type kickRequest struct {
	Reason string `json:"reason,omitempty" maxLength:"20"` // shown to the client
}

// KickClient ends all streams of a client and refuses its earlier tokens.
//
//	@Summary	Kick a client out
//	@Tags		stream
//	@Param		id		path	string		true	"client"
//	@Param		body	body	kickRequest	false	"why"
//	@Success	204
//	@Failure	default	{object}	Problem
//	@Router		/v1/clients/{id}/kick [post]
func (h *Handlers) KickClient(w http.ResponseWriter, r *http.Request, _ model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	var req kickRequest
	if err := decodeOptional(r, &req, maxBody, model.RequestTooLarge); err != nil {
		return err
	}
	client := r.PathValue("id")
	if err := model.ValidClientID(client); err != nil {
		return model.Invalid("id", "%s", err)
	}
	if utf8.RuneCountInString(req.Reason) > 20 {
		return model.Invalid("reason", "must have at most 20 characters")
	}
	if err := h.Chat.Kick(r.Context(), client, req.Reason); err != nil {
		return err
	}
	return noContent(w)
}

// remoteIP is the address that a request came from, as the proxies that are believed tell it.
func remoteIP(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}
