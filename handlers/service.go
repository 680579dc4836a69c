package handlers

import (
	"net/http"

	"parley/model"
	"parley/repo"
)

// broadcastRequest is the body of POST /v1/broadcasts: a message's, and these.
type broadcastRequest struct {
	messageRequest
	ConversationID string  `json:"conversationId" validate:"required"` // a service
	ValidUntil     *string `json:"validUntil" format:"date-time"`      // at most 30 days ahead, and the default
}

// Broadcast sends a message to all who subscribe to a service.
//
//	@Summary	Broadcast to the subscribers of a service
//	@Tags		services
//	@Param		id				path		string				true	"service"
//	@Param		body			body		messageRequest		true	"message"
//	@Param		Idempotency-Key	header		string				false	"makes a retry harmless"	maxlength(128)
//	@Success	201,200,202		{object}	model.Message		"Stored; for a key used before, the first message; transient, not stored"
//	@Failure	default			{object}	Problem
//	@Router		/v1/conversations/{id}/broadcasts [post]
func (h *Handlers) Broadcast(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	draft, err := readDraft(r, h.Config.MessageMaxBytes, caller, new(messageRequest))
	if err != nil {
		return err
	}
	m, outcome, err := h.Chat.Broadcast(r.Context(), caller, r.PathValue("id"), draft)
	if err != nil {
		return err
	}
	return sentMessage(w, &m, outcome)
}

// BroadcastToAll sends a message to all clients, through a service.
//
//	@Summary	Broadcast to all clients
//	@Tags		services
//	@Param		body			body		broadcastRequest	true	"message, service and end"
//	@Param		Idempotency-Key	header		string				false	"makes a retry harmless"	maxlength(128)
//	@Success	201,200,202		{object}	model.Message		"Stored; for a key used before, the first message; transient, not stored"
//	@Failure	default			{object}	Problem
//	@Router		/v1/broadcasts [post]
func (h *Handlers) BroadcastToAll(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	var req broadcastRequest
	draft, err := readDraft(r, h.Config.MessageMaxBytes, caller, &req)
	if err != nil {
		return err
	}
	if req.ConversationID == "" {
		return model.Invalid("conversationId", "is needed: the service to broadcast through")
	}
	m, outcome, err := h.Chat.BroadcastToAll(r.Context(), caller, req.ConversationID, draft, req.ValidUntil)
	if err != nil {
		return err
	}
	return sentMessage(w, &m, outcome)
}

// Broadcasts lists a service's broadcasts to all clients that are valid, newest first.
//
//	@Summary	List the valid broadcasts to all clients
//	@Tags		services
//	@Param		conversationId	query		string	true	"service"
//	@Param		limit			query		int		false	"page size"	minimum(1)	maximum(1000)	default(100)
//	@Param		cursor			query		string	false	"next of the page before"
//	@Success	200				{object}	list[model.Broadcast]
//	@Failure	default			{object}	Problem
//	@Router		/v1/broadcasts [get]
func (h *Handlers) Broadcasts(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	p := query(r)
	id, given := p.text("conversationId")
	if !given {
		p.fail("conversationId", "is needed: the service whose broadcasts to list")
	}
	limit, name := p.limit(defaultLimit, 1000), listID("broadcasts", id)
	var after repo.BroadcastPlace
	p.cursor(name, &after)
	if err := p.done(); err != nil {
		return err
	}
	h.position(w)
	standing, err := h.Store.Standing(r.Context(), caller, id)
	if err != nil {
		return err
	}
	if err := standing.CheckService("conversationId"); err != nil {
		return err
	}
	found, err := h.Store.Broadcasts(r.Context(), id, after, limit+1)
	if err != nil {
		return err
	}
	page, err := pageOf(found, limit, name, func(b *model.Broadcast) any { return repo.BroadcastPlace{Seq: b.Seq} })
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, page)
}

// Inbox lists what came up to a service.
//
//	@Summary	Read a service's inbox
//	@Tags		services
//	@Param		id		path		string			true	"service"
//	@Param		query	query		historyQuery	false	"what to read"
//	@Success	200		{object}	list[model.Message]
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id}/inbox [get]
func (h *Handlers) Inbox(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	conversation := r.PathValue("id")
	asked, limit, err := readHistory(r, conversation, true)
	if err != nil {
		return err
	}
	h.position(w)
	page, more, err := h.Store.History(r.Context(), caller, conversation, asked, limit)
	if err != nil {
		return err
	}
	answer, err := historyPage(asked, page, more)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, answer)
}
