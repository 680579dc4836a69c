package model

import (
	"encoding/json"
	"math"
	"strings"
	"time"
)

// Bounds of a temporary conversation.
const (
	MinTemporaryMembers = 2
	MaxTemporaryMembers = 10
	MaxTTLSeconds       = 2592000
	DefaultTTLSeconds   = 86400
)

// temporaryPrefix begins the ids of temporary conversations: clients of the system that
// Parley replaces tell the kind by it.
const temporaryPrefix = "_tmp:"

// IsTemporary reports whether a conversation's id says that it is a temporary one.
func IsTemporary(id string) bool { return strings.HasPrefix(id, temporaryPrefix) }

// ConversationDraft is what a caller asks to create. Nil is what the request did not say.
type ConversationDraft struct {
	Kind       *string
	Members    []string
	Name       *string
	Attributes json.RawMessage
	Unique     *bool
	Visibility *string
	TTLSeconds *int64
}

// NewConversation is a draft found valid: what is to be stored.
type NewConversation struct {
	ID         string
	Kind       Kind
	Name       *string
	Creator    *string
	Members    []string // distinct, the creator among them
	Attributes []byte
	Visibility Visibility
	Unique     bool
	TTL        time.Duration // 0: for ever
}

// OfService reports whether the draft asks for a service.
func (d *ConversationDraft) OfService() bool { return d.Kind != nil && *d.Kind == kindNames[Service] }

// Check validates the draft as a whole and fills in defaults and a new id. It fails
// with invalid_request.
func (d *ConversationDraft) Check(caller Caller) (*NewConversation, error) {
	c := &NewConversation{ID: NewConversationID(), Kind: Ordinary, Name: d.Name, Creator: caller.Actor()}
	if d.Kind != nil {
		var ok bool
		if c.Kind, ok = ParseKind(*d.Kind); !ok {
			return nil, Invalid("kind", "must be ordinary, chatroom, service or temporary")
		}
	}
	if err := d.checkFields(c.Kind); err != nil {
		return nil, err
	}
	var err error
	if c.Attributes, err = NewAttributes(d.Attributes); err != nil {
		return nil, err
	}
	if c.Visibility, err = d.visibility(c.Kind); err != nil {
		return nil, err
	}
	c.Unique = d.Unique != nil && *d.Unique
	if c.Kind == Temporary {
		c.TTL = d.ttl()
		c.ID = temporaryPrefix + c.ID
	}
	if c.Kind == Ordinary || c.Kind == Temporary {
		c.Members, err = d.members(c.Kind, caller)
	}
	return c, err
}

// checkFields refuses what the kind has no use for, and values out of bounds.
func (d *ConversationDraft) checkFields(k Kind) error {
	if d.Unique != nil && k != Ordinary {
		return useless("unique", k)
	}
	if d.TTLSeconds != nil && k != Temporary {
		return useless("ttlSeconds", k)
	}
	if d.Members != nil && k != Ordinary && k != Temporary {
		return useless("members", k)
	}
	if d.TTLSeconds != nil && (*d.TTLSeconds < 1 || *d.TTLSeconds > MaxTTLSeconds) {
		return Invalid("ttlSeconds", "must be 1 to %d", MaxTTLSeconds)
	}
	return CheckName(d.Name)
}

func useless(field string, k Kind) *Error {
	return Invalid(field, "means nothing for a %s conversation", kindNames[k])
}

func (d *ConversationDraft) visibility(k Kind) (Visibility, error) {
	if d.Visibility == nil {
		switch {
		case k == Temporary, d.Unique != nil && *d.Unique:
			return Private, nil
		case k == Ordinary:
			return Unlisted, nil
		}
		return Public, nil
	}
	v, ok := ParseVisibility(*d.Visibility)
	switch {
	case k == Temporary:
		return 0, useless("visibility", k)
	case !ok:
		return 0, Invalid("visibility", "must be public, unlisted or private")
	case k == Chatroom && v == Private:
		return 0, Invalid("visibility", "must be public or unlisted for a chatroom")
	}
	return v, nil
}

func (d *ConversationDraft) ttl() time.Duration {
	if d.TTLSeconds == nil {
		return DefaultTTLSeconds * time.Second
	}
	return time.Duration(*d.TTLSeconds) * time.Second
}

// members are those named and the creator, who comes first.
func (d *ConversationDraft) members(k Kind, caller Caller) ([]string, error) {
	members, err := CheckClients("members", d.Members, 0, math.MaxInt)
	if err != nil {
		return nil, err
	}
	if caller.Client != "" {
		members = Distinct(append([]string{caller.Client}, members...))
	}
	if k == Temporary && (len(members) < MinTemporaryMembers || len(members) > MaxTemporaryMembers) {
		return nil, Invalid("members", "must be %d to %d with the creator", MinTemporaryMembers, MaxTemporaryMembers)
	}
	return members, nil
}

// CheckFits fails with conversation_full when there are too many members. It is no
// part of Check, for whoever may not make the conversation is told so first.
func (c *NewConversation) CheckFits() error {
	if c.Kind == Ordinary && len(c.Members) > MaxMembers {
		return ErrConversationFull()
	}
	return nil
}
