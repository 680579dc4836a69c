package handlers

import (
	"net/http"

	"parley/model"
)

// presenceRequest is the body of POST /v1/presence/query.
type presenceRequest struct {
	ClientIDs []string `json:"clientIds" validate:"required" minItems:"1" maxItems:"1000" example:"Jerry"`
}

// presenceSubscription is the body of PUT /v1/presence/subscriptions.
type presenceSubscription struct {
	ClientIDs []string `json:"clientIds" validate:"required" maxItems:"1000" example:"Jerry"`
}

// presenceAnswer says who of those asked after is online.
type presenceAnswer struct {
	Online []string `json:"online"`
}

// QueryPresence tells who is online.
//
//	@Summary	Ask who is online
//	@Tags		presence
//	@Param		body	body		presenceRequest	true	"whom"
//	@Success	200		{object}	presenceAnswer
//	@Failure	default	{object}	Problem
//	@Router		/v1/presence/query [post]
func (h *Handlers) QueryPresence(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	var req presenceRequest
	clients, err := clientList(r, &req, &req.ClientIDs, 1)
	if err != nil {
		return err
	}
	h.position(w)
	online, err := h.Chat.Online(r.Context(), caller, clients)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, presenceAnswer{online})
}

// SubscribePresence has the calling session hear of others' presence.
//
//	@Summary	Hear of others' presence
//	@Tags		presence
//	@Param		Parley-Session	header		string					true	"the session that is to hear of it"
//	@Param		body			body		presenceSubscription	true	"of whom; replaces the list"
//	@Success	200				{object}	presenceAnswer
//	@Failure	default			{object}	Problem
//	@Router		/v1/presence/subscriptions [put]
func (h *Handlers) SubscribePresence(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	var req presenceSubscription
	clients, err := clientList(r, &req, &req.ClientIDs, 0)
	if err != nil {
		return err
	}
	online, err := h.Chat.Subscribe(r.Context(), caller, clients)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, presenceAnswer{online})
}

// clientList reads a body whose only field is a list of client ids.
func clientList(r *http.Request, body any, list *[]string, least int) ([]string, error) {
	if err := noParams(r); err != nil {
		return nil, err
	}
	if err := decode(r, body, maxBody, model.RequestTooLarge); err != nil {
		return nil, err
	}
	if *list == nil {
		return nil, model.Invalid("clientIds", "is missing")
	}
	return model.CheckClients("clientIds", *list, least, model.MaxPresence)
}

// Stats counts what there is in the whole cluster.
//
//	@Summary	Count clients, conversations and messages
//	@Tags		presence
//	@Success	200		{object}	model.Stats
//	@Failure	default	{object}	Problem
//	@Router		/v1/stats [get]
func (h *Handlers) Stats(w http.ResponseWriter, r *http.Request, _ model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	h.position(w)
	stats, err := h.Chat.Stats(r.Context())
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, stats)
}
