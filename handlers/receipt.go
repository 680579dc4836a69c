package handlers

import (
	"net/http"

	"parley/model"
)

// receiptPlace is how far a list of receipts has come.
type receiptPlace struct {
	ClientID string `json:"id"`
}

// Receipts tells who has received and read a message, for its sender.
//
//	@Summary	List a message's receipts
//	@Tags		messages
//	@Param		id		path	string	true	"conversation"
//	@Param		mid		path	string	true	"message"
//	@Param		limit	query	int		false	"how many"	minimum(1)	maximum(500)	default(100)
//	@Param		cursor	query	string	false	"where to go on"
//	@Success	200		{object}	list[model.Receipt]
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id}/messages/{mid}/receipts [get]
func (h *Handlers) Receipts(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	p := query(r)
	conversation, message := r.PathValue("id"), r.PathValue("mid")
	id := listID("receipts", conversation, message)
	var after receiptPlace
	p.cursor(id, &after)
	limit := p.limit(defaultLimit, model.MaxMembers)
	if err := p.done(); err != nil {
		return err
	}
	h.position(w)
	items, more, err := h.Store.Receipts(r.Context(), caller, conversation, message, after.ClientID, limit)
	if err != nil {
		return err
	}
	out := &list[model.Receipt]{Items: items}
	if more {
		next, err := model.EncodeCursor(id, receiptPlace{items[len(items)-1].ClientID})
		if err != nil {
			return err
		}
		out.Next = &next
	}
	return encode(w, http.StatusOK, out)
}
