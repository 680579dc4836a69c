package handlers

import (
	"net/http"

	"parley/model"
	"parley/repo"
)

// Unread lists the caller's conversations with something unread.
//
//	@Summary	List what is unread
//	@Tags		messages
//	@Param		limit	query		int		false	"page size"	minimum(1)	maximum(1000)	default(100)
//	@Param		cursor	query		string	false	"next of the page before"
//	@Success	200		{object}	list[model.Unread]
//	@Failure	default	{object}	Problem
//	@Router		/v1/unread [get]
func (h *Handlers) Unread(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	p := query(r)
	limit := p.limit(defaultLimit, 1000)
	name := listID("unread", caller.Client)
	var after repo.UnreadPlace
	p.cursor(name, &after)
	if err := p.done(); err != nil {
		return err
	}
	if err := caller.NeedClient(); err != nil {
		return err
	}
	h.position(w)
	items, next, err := h.Store.UnreadPage(r.Context(), caller.Client, after, limit)
	if err != nil {
		return err
	}
	answer := &list[model.Unread]{Items: items}
	if next != nil {
		cursor, err := model.EncodeCursor(name, next)
		if err != nil {
			return err
		}
		answer.Next = &cursor
	}
	return encode(w, http.StatusOK, answer)
}

type markReadRequest struct {
	MessageID *string `json:"messageId"` // default: the last one
}

// MarkRead notes how far the caller has read a conversation.
//
//	@Summary	Mark as read
//	@Tags		messages
//	@Param		id		path		string			true	"conversation"
//	@Param		body	body		markReadRequest	false	"up to where"
//	@Success	200		{object}	model.ReadState
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id}/read [post]
func (h *Handlers) MarkRead(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	var req markReadRequest
	if err := decodeOptional(r, &req, maxBody, model.RequestTooLarge); err != nil {
		return err
	}
	var message string
	if req.MessageID != nil {
		if message = *req.MessageID; message == "" {
			return model.Invalid("messageId", "must be the id of a message")
		}
	}
	state, err := h.Chat.MarkRead(r.Context(), caller, r.PathValue("id"), message)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, state)
}
