package handlers

import (
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json/jsontext"

	"parley/chat"
	"parley/model"
)

// messageRequest is a message that is to be sent, wherever to.
type messageRequest struct {
	Type        string          `json:"type" validate:"required" enums:"text,image,audio,video,location,file,custom,raw,binary" example:"text"`
	Text        *string         `json:"text" example:"hello"`
	Attributes  jsontext.Value  `json:"attributes" swaggertype:"object"`
	File        *model.File     `json:"file"`
	Location    *model.Location `json:"location"`
	CustomType  *int64          `json:"customType" minimum:"1"`
	Data        jsontext.Value  `json:"data" swaggertype:"object"` // custom: any JSON; binary: a string of base64
	MentionAll  bool            `json:"mentionAll"`
	MentionList []string        `json:"mentionList" maxItems:"20"` // members; others are dropped
	Transient   bool            `json:"transient"`                 // for whoever is online, and not kept
	Receipt     bool            `json:"receipt"`
	Priority    *string         `json:"priority" enums:"high,normal,low" default:"normal"` // in chatrooms
	PushData    jsontext.Value  `json:"pushData" swaggertype:"object"`                     // never shown to receivers
	NoSync      bool            `json:"noSync"`                                            // do not echo to the sender's other sessions
}

// sendMessageRequest is the body of POST /v1/conversations/{id}/messages.
type sendMessageRequest struct {
	messageRequest
	Will bool     `json:"will"`
	To   []string `json:"to"` // in services, by server tokens
}

// SendMessage posts a message to a conversation.
//
//	@Summary	Send a message
//	@Tags		messages
//	@Param		id				path		string				true	"conversation"
//	@Param		body			body		sendMessageRequest	true	"message"
//	@Param		Idempotency-Key	header		string				false	"makes a retry harmless"	maxlength(128)
//	@Success	201,200,202		{object}	model.Message		"Stored; for a key used before, the first message; transient, not stored"
//	@Failure	default			{object}	Problem
//	@Router		/v1/conversations/{id}/messages [post]
func (h *Handlers) SendMessage(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	draft, err := readDraft(r, h.Config.MessageMaxBytes, caller, new(sendMessageRequest))
	if err != nil {
		return err
	}
	m, outcome, err := h.Chat.Send(r.Context(), caller, r.PathValue("id"), draft)
	if err != nil {
		return err
	}
	return sentMessage(w, &m, outcome)
}

// sentMessage answers a send.
func sentMessage(w http.ResponseWriter, m *model.Message, outcome chat.Outcome) error {
	switch outcome {
	case chat.Passed:
		return encode(w, http.StatusAccepted, m)
	case chat.Replayed:
		w.Header().Set("Idempotent-Replayed", "true")
		return encode(w, http.StatusOK, m)
	}
	w.Header().Set("Location", "/v1/conversations/"+url.PathEscape(m.ConversationID)+"/messages/"+
		url.PathEscape(model.MessageID(m.ConversationID, m.Seq)))
	return encode(w, http.StatusCreated, m)
}

// Message shows one message.
//
//	@Summary	Get a message
//	@Tags		messages
//	@Param		id	path		string	true	"conversation"
//	@Param		mid	path		string	true	"message"
//	@Param		Parley-Grant	header	string	false	"the application's agreement, where this deployment asks for one"
//	@Success	200	{object}	model.Message
//	@Failure	default	{object}	Problem
//	@Router		/v1/conversations/{id}/messages/{mid} [get]
func (h *Handlers) Message(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	if err := noParams(r); err != nil {
		return err
	}
	h.position(w)
	grant, err := h.Chat.CheckHistoryGrant(r.Context(), caller, r.PathValue("id"))
	if err != nil {
		return err
	}
	m, err := h.Store.Message(r.Context(), caller, r.PathValue("id"), r.PathValue("mid"))
	if err != nil {
		return err
	}
	if err := grant.Use(r.Context()); err != nil {
		return err
	}
	return encode(w, http.StatusOK, m)
}

// drafter is a body with a message to send.
type drafter interface {
	// draft is the message as the body has it, with what its sender may not say refused; else it is not checked yet.
	draft(caller model.Caller) (*model.Draft, error)
}

// readDraft reads the message that a request wants sent into dst, and checks all of it that can be checked by itself.
func readDraft(r *http.Request, most int64, caller model.Caller, dst drafter) (*model.Draft, error) {
	key, err := idempotencyKey(r)
	if err != nil {
		return nil, err
	}
	body, err := readBody(r, most, model.MessageTooLarge, mediaJSON)
	if err != nil {
		return nil, err
	}
	if err := unmarshal(body, dst); err != nil {
		return nil, err
	}
	d, err := dst.draft(caller)
	if err != nil {
		return nil, err
	}
	if d.Key = key; key != "" {
		if d.Digest, err = model.Digest(body); err != nil {
			return nil, err
		}
	}
	return d, d.Validate()
}

// idempotencyKey is the header's value; empty when there is none.
func idempotencyKey(r *http.Request) (string, error) {
	const name = "Idempotency-Key"
	values := r.Header[name]
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1:
		return "", model.Invalid(name, "must not be repeated")
	case !model.ValidIdempotencyKey(values[0]):
		return "", model.Invalid(name, "must be 1 to %d visible ASCII characters", model.MaxIdempotencyKey)
	}
	return values[0], nil
}

func (req *sendMessageRequest) draft(caller model.Caller) (*model.Draft, error) {
	if err := caller.NeedServer("to", req.To != nil); err != nil {
		return nil, err
	}
	d, err := req.messageRequest.draft(caller)
	if err != nil {
		return nil, err
	}
	d.Will, d.To = req.Will, req.To
	return d, nil
}

func (req *messageRequest) draft(model.Caller) (*model.Draft, error) {
	d := &model.Draft{
		Text: req.Text, File: req.File, Location: req.Location,
		MentionAll: req.MentionAll, MentionList: req.MentionList,
		Transient: req.Transient, Receipt: req.Receipt, NoSync: req.NoSync,
	}
	d.Type, _ = model.ParseMessageType(req.Type) // 0, which is none, when it is unknown
	if req.CustomType != nil {
		if d.CustomType = *req.CustomType; d.CustomType == 0 {
			d.CustomType = -1 // as wrong, but 0 stands for none
		}
	}
	if req.Priority != nil {
		var ok bool
		if d.Priority, ok = model.ParsePriority(*req.Priority); !ok {
			return nil, model.Invalid("priority", "must be high, normal or low")
		}
	}
	for _, v := range [...]struct {
		field *[]byte
		sent  jsontext.Value
	}{{&d.Attributes, req.Attributes}, {&d.Data, req.Data}, {&d.PushData, req.PushData}} {
		if len(v.sent) == 0 || v.sent.Kind() == 'n' {
			continue // null is the same as nothing
		}
		if err := v.sent.Compact(); err != nil {
			return nil, err
		}
		*v.field = v.sent
	}
	return d, nil
}
