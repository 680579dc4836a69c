package model

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Reason is why somebody else than its sender changed a message, as receivers are told.
type Reason struct {
	Code   int32  `json:"code"`
	Detail string `json:"detail"`
}

// Extra is what a message's event has beside the message, nil when there is no reason.
func (r *Reason) Extra() []byte {
	if r == nil {
		return nil
	}
	return append(appendJSON([]byte(`{"reason":`), r), '}')
}

// CheckChange says who may edit or recall a message, of a conversation whose history he
// may read: its sender, and server tokens. disabled is the code of a switch that keeps
// clients from it, empty when none does.
func (s Standing) CheckChange(m *Message, disabled Code) error {
	switch {
	case s.Caller.Server:
		return nil
	case m.From != s.Caller.Client:
		return ErrOwnershipRequired()
	case disabled != "":
		return NewError(disabled, "this server does not let clients do so")
	}
	return nil
}

// CheckReceipts says where messages have receipts, and for whom.
func (s Standing) CheckReceipts() error {
	if err := s.CheckSee(); err != nil {
		return err
	}
	if s.Kind == Chatroom || s.Kind == Service {
		return errNotAllowedIn(s.Kind)
	}
	return s.checkInside(LegacyHistoryRefused)
}

// ErrOwnershipRequired answers who is not the sender.
func ErrOwnershipRequired() *Error {
	return NewError(MessageOwnershipRequired, "only its sender may do this with a message")
}

// Succeed makes d the new content of a message whose content was old: what an edit
// leaves alone goes on as it was. It returns whom old mentioned.
func (d *Draft) Succeed(old []byte) (mentioned []string, err error) {
	var was struct {
		Receipt     bool     `json:"receipt"`
		Priority    string   `json:"priority"`
		MentionList []string `json:"mentionList"`
	}
	if err := json.Unmarshal(old, &was, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
		return nil, err
	}
	d.Receipt = was.Receipt
	d.Priority, _ = ParsePriority(was.Priority)
	return was.MentionList, nil
}
