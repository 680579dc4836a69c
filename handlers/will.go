package handlers

import (
	"net/http"

	"parley/model"
)

// ClearWill takes back the message that was to be sent when a session is lost.
//
//	@Summary	Clear a session's will
//	@Tags		stream
//	@Param		id	path	string	true	"session"
//	@Success	204
//	@Failure	default	{object}	Problem
//	@Router		/v1/sessions/{id}/will [delete]
func (h *Handlers) ClearWill(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	if err := h.Chat.ClearWill(r.Context(), caller, r.PathValue("id")); err != nil {
		return err
	}
	return noContent(w)
}
