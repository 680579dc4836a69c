package handlers

import (
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json/jsontext"

	"parley/model"
)

// createConversationRequest is the body of POST /v1/conversations.
type createConversationRequest struct {
	Kind       *string        `json:"kind" enums:"ordinary,chatroom,service,temporary" default:"ordinary"`
	Members    []string       `json:"members" example:"Jerry"` // the creator is one always
	Name       *string        `json:"name" maxLength:"255"`
	Attributes jsontext.Value `json:"attributes" swaggertype:"object"`
	Unique     *bool          `json:"unique"`                                     // one conversation per set of members
	Visibility *string        `json:"visibility" enums:"public,unlisted,private"` // default: by kind
	TTLSeconds *int64         `json:"ttlSeconds" minimum:"1" maximum:"2592000"`   // of a temporary one
}

// CreateConversation makes a conversation, or finds the unique one.
//
//	@Summary	Create a conversation
//	@Tags		conversations
//	@Param		body	body		createConversationRequest	false	"conversation"
//	@Param		Parley-Grant	header	string	false	"the application's agreement, where this deployment asks for one"
//	@Success	201		{object}	model.Conversation			"Made; Location says where"
//	@Success	200		{object}	model.Conversation			"The unique conversation with exactly these members, as it was"
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations [post]
func (h *Handlers) CreateConversation(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	var req createConversationRequest
	if err := decodeOptional(r, &req, maxBody, model.RequestTooLarge); err != nil {
		return err
	}
	c, made, err := h.Chat.CreateConversation(r.Context(), caller, &model.ConversationDraft{
		Kind: req.Kind, Members: req.Members, Name: req.Name, Attributes: []byte(req.Attributes),
		Unique: req.Unique, Visibility: req.Visibility, TTLSeconds: req.TTLSeconds,
	})
	if err != nil {
		return err
	}
	if !made {
		return encode(w, http.StatusOK, c)
	}
	w.Header().Set("Location", "/v1/conversations/"+url.PathEscape(c.ID))
	return encode(w, http.StatusCreated, c)
}

// pageOf makes a page of what was found; one more than limit says that there is more.
func pageOf[T any](found []T, limit int, name string, place func(T) any) (*list[T], error) {
	if len(found) <= limit {
		return &list[T]{Items: found}, nil
	}
	found = found[:limit]
	next, err := model.EncodeCursor(name, place(found[limit-1]))
	if err != nil {
		return nil, err
	}
	return &list[T]{Items: found, Next: &next}, nil
}

// Conversation shows one conversation: whole to its members, else its public face.
//
//	@Summary	Show a conversation
//	@Tags		conversations
//	@Param		id		path		string	true	"conversation"
//	@Param		include	query		string	false	"what else to show"	Enums(lastMessage)
//	@Success	200		{object}	model.Conversation
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id} [get]
func (h *Handlers) Conversation(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	p := query(r)
	withLast := p.oneOf("include", "", "lastMessage") != ""
	if err := p.done(); err != nil {
		return err
	}
	h.position(w)
	c, err := h.Store.Conversation(r.Context(), caller, r.PathValue("id"), withLast)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, c)
}

// UpdateConversation changes the name and the attributes.
//
//	@Summary	Change name and attributes (JSON merge patch)
//	@Tags		conversations
//	@Accept		json,application/merge-patch+json
//	@Param		id		path		string					true	"conversation"
//	@Param		body	body		model.ConversationPatch	true	"what changes; null clears"
//	@Success	200		{object}	model.Conversation
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id} [patch]
func (h *Handlers) UpdateConversation(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	var patch model.ConversationPatch
	if err := decodePatch(r, &patch, maxBody, model.RequestTooLarge); err != nil {
		return err
	}
	c, err := h.Chat.UpdateConversation(r.Context(), caller, r.PathValue("id"), &patch)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, c)
}

// DeleteConversation removes a conversation with its messages.
//
//	@Summary	Delete a conversation (server token)
//	@Tags		conversations
//	@Param		id	path	string	true	"conversation"
//	@Success	204
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id} [delete]
func (h *Handlers) DeleteConversation(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	if err := h.Chat.DeleteConversation(r.Context(), caller, r.PathValue("id")); err != nil {
		return err
	}
	return noContent(w)
}
