package handlers

import (
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"parley/model"
)

// editMessageRequest is the body of PATCH /v1/conversations/{id}/messages/{mid}.
type editMessageRequest struct {
	Type        string          `json:"type" validate:"required" enums:"text,image,audio,video,location,file,custom,raw,binary" example:"text"`
	Text        *string         `json:"text" example:"hello again"`
	Attributes  jsontext.Value  `json:"attributes" swaggertype:"object"`
	File        *model.File     `json:"file"`
	Location    *model.Location `json:"location"`
	CustomType  *int64          `json:"customType" minimum:"1"`
	Data        jsontext.Value  `json:"data" swaggertype:"object"` // custom: any JSON; binary: a string of base64
	MentionAll  bool            `json:"mentionAll"`
	MentionList []string        `json:"mentionList" maxItems:"20"` // members; others are dropped
	Reason      *reasonRequest  `json:"reason"`                    // by server tokens
}

// recallMessageRequest is the body of POST /v1/conversations/{id}/messages/{mid}/recall.
type recallMessageRequest struct {
	Reason *reasonRequest `json:"reason"` // by server tokens
}

// reasonRequest is why somebody else changes a message.
type reasonRequest struct {
	Code   *int32 `json:"code" validate:"required"`
	Detail string `json:"detail"`
}

func (r *reasonRequest) reason(caller model.Caller) (*model.Reason, error) {
	if err := caller.NeedServer("reason", r != nil); err != nil || r == nil {
		return nil, err
	}
	if r.Code == nil {
		return nil, model.Invalid("reason.code", "is needed: an integer")
	}
	return &model.Reason{Code: *r.Code, Detail: r.Detail}, nil
}

// EditMessage replaces the content of a message.
//
//	@Summary	Edit a message
//	@Tags		messages
//	@Param		id		path		string				true	"conversation"
//	@Param		mid		path		string				true	"message"
//	@Param		body	body		editMessageRequest	true	"its whole new content"
//	@Success	200		{object}	model.Message
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id}/messages/{mid} [patch]
func (h *Handlers) EditMessage(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	var req editMessageRequest
	if err := decodePatch(r, &req, h.Config.MessageMaxBytes, model.MessageTooLarge); err != nil {
		return err
	}
	reason, err := req.Reason.reason(caller)
	if err != nil {
		return err
	}
	content := messageRequest{
		Type: req.Type, Text: req.Text, Attributes: req.Attributes, File: req.File, Location: req.Location,
		CustomType: req.CustomType, Data: req.Data, MentionAll: req.MentionAll, MentionList: req.MentionList,
	}
	draft, err := content.draft(caller)
	if err != nil {
		return err
	}
	if err := draft.Validate(); err != nil {
		return err
	}
	m, err := h.Chat.EditMessage(r.Context(), caller, r.PathValue("id"), r.PathValue("mid"), draft, reason)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, m)
}

// RecallMessage takes a message's content back.
//
//	@Summary	Recall a message
//	@Tags		messages
//	@Param		id		path		string					true	"conversation"
//	@Param		mid		path		string					true	"message"
//	@Param		body	body		recallMessageRequest	false	"why"
//	@Success	200		{object}	model.Message
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id}/messages/{mid}/recall [post]
func (h *Handlers) RecallMessage(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	var req recallMessageRequest
	if err := decodeOptional(r, &req, maxBody, model.RequestTooLarge); err != nil {
		return err
	}
	reason, err := req.Reason.reason(caller)
	if err != nil {
		return err
	}
	m, err := h.Chat.RecallMessage(r.Context(), caller, r.PathValue("id"), r.PathValue("mid"), reason)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, m)
}

// DeleteMessage removes a message from history and every count. No client is told.
//
//	@Summary	Delete a message
//	@Tags		messages
//	@Param		id	path	string	true	"conversation"
//	@Param		mid	path	string	true	"message"
//	@Success	204
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id}/messages/{mid} [delete]
func (h *Handlers) DeleteMessage(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	if err := h.Chat.RemoveMessage(r.Context(), caller, r.PathValue("id"), r.PathValue("mid")); err != nil {
		return err
	}
	return noContent(w)
}
