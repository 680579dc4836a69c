package model

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Invited is the data of EventInvited.
type Invited struct {
	ConversationID string        `json:"conversationId"`
	Conversation   *Conversation `json:"conversation"` // without a viewer's part
	InvitedBy      *string       `json:"invitedBy"`
	At             Time          `json:"at" swaggertype:"string" format:"date-time"`
}

// MembersJoined is the data of EventMembersJoined. Who joins by himself is his own inviter.
type MembersJoined struct {
	ConversationID string   `json:"conversationId"`
	Members        []string `json:"members"`
	InvitedBy      *string  `json:"invitedBy"`
	At             Time     `json:"at" swaggertype:"string" format:"date-time"`
}

// Kicked is the data of EventKicked.
type Kicked struct {
	ConversationID string  `json:"conversationId"`
	KickedBy       *string `json:"kickedBy"`
	At             Time    `json:"at" swaggertype:"string" format:"date-time"`
}

// MembersLeft is the data of EventMembersLeft. Who quits is his own kicker.
type MembersLeft struct {
	ConversationID string   `json:"conversationId"`
	Members        []string `json:"members"`
	KickedBy       *string  `json:"kickedBy"`
	At             Time     `json:"at" swaggertype:"string" format:"date-time"`
}

// ConversationInfoUpdated is the data of EventConversationUpdated.
type ConversationInfoUpdated struct {
	ConversationID string            `json:"conversationId"`
	Changes        ConversationPatch `json:"changes"`
	UpdatedBy      *string           `json:"updatedBy"`
	At             Time              `json:"at" swaggertype:"string" format:"date-time"`
}

// ConversationDeleted is the data of EventConversationDeleted.
type ConversationDeleted struct {
	ConversationID string  `json:"conversationId"`
	DeletedBy      *string `json:"deletedBy"`
	At             Time    `json:"at" swaggertype:"string" format:"date-time"`
}

// ConversationPatch is a JSON merge patch of a conversation as it was sent. Nil is what it leaves alone.
type ConversationPatch struct {
	Name       jsontext.Value `json:"name,omitempty" swaggertype:"string" extensions:"x-nullable"`
	Attributes jsontext.Value `json:"attributes,omitempty" swaggertype:"object" extensions:"x-nullable"`
}

// Check validates what the patch alone can tell; the sizes of merged attributes it cannot.
func (p *ConversationPatch) Check() error {
	if p.Name != nil {
		name, err := p.name()
		if err != nil {
			return err
		}
		if err := CheckName(name); err != nil {
			return err
		}
	}
	if p.Attributes != nil && p.Attributes.Kind() != '{' && p.Attributes.Kind() != 'n' {
		return Invalid("attributes", "must be an object, or null to empty it")
	}
	return nil
}

func (p *ConversationPatch) name() (*string, error) {
	var name *string
	if err := json.Unmarshal(p.Name, &name); err != nil {
		return nil, Invalid("name", "must be a string or null")
	}
	return name, nil
}

// Apply returns the name and the attributes of a conversation as the patch makes
// them, and whether that is a change at all.
func (p *ConversationPatch) Apply(name *string, attributes []byte) (newName *string, newAttributes []byte, changed bool, err error) {
	newName, newAttributes = name, attributes
	if p.Name != nil {
		if newName, err = p.name(); err != nil {
			return nil, nil, false, err
		}
		changed = (name == nil) != (newName == nil) || name != nil && *name != *newName
	}
	if p.Attributes != nil {
		var other bool
		if newAttributes, other, err = PatchAttributes(attributes, p.Attributes); err != nil {
			return nil, nil, false, err
		}
		changed = changed || other
	}
	return newName, newAttributes, changed, nil
}

// OneLine is v as JSON on one line, fit for a frame of the stream. Nothing is escaped for HTML.
func OneLine(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}
