package model

import (
	"bytes"
	"strconv"
	"strings"
)

// MessageType is what a message carries. The numbers are stored; the negative
// ones are those of the system that Parley replaces.
type MessageType int16

// The types.
const (
	TypeText     MessageType = -1
	TypeImage    MessageType = -2
	TypeAudio    MessageType = -3
	TypeVideo    MessageType = -4
	TypeLocation MessageType = -5
	TypeFile     MessageType = -6
	TypeRecalled MessageType = -127 // made by the server only
	TypeRemoved  MessageType = 0    // deleted by a server token: keeps its seq, is never shown
	TypeRaw      MessageType = 1
	TypeBinary   MessageType = 2
	TypeCustom   MessageType = 3
)

var typeNames = map[MessageType]string{
	TypeText: "text", TypeImage: "image", TypeAudio: "audio", TypeVideo: "video", TypeLocation: "location",
	TypeFile: "file", TypeRecalled: "recalled", TypeRaw: "raw", TypeBinary: "binary", TypeCustom: "custom",
}

// ParseMessageType reads a type's name.
func ParseMessageType(s string) (MessageType, bool) { return byName(typeNames, s) }

// Message is one message. It is written, not reflected: MarshalJSON joins the
// server's members with Content, which holds the members that the sender chose.
type Message struct {
	ConversationID string
	Seq            int64  // 0 for transient ones
	ID             string // of transient ones; a stored one's follows from its place, see MessageID
	From           string
	SentAt         Time
	Type           MessageType
	CustomType     int64 // 0: none
	// Content is a JSON object on one line: type, text, file, mentionList, ... as in API.md section 5, null and false left out.
	Content    []byte
	Key        string // the idempotency key; empty: none
	UpdatedAt  *Time
	RecalledAt *Time
	Moderated  bool
}

// MessageID is the id of the stored message at a place: with it no index by id is
// needed, and a cursor outlives its message.
func MessageID(conversationID string, seq int64) string {
	return conversationID + "." + strconv.FormatInt(seq, 10)
}

// ParseMessageID returns the seq of a message of that conversation; false when the id is none of its stored ones.
func ParseMessageID(conversationID, id string) (int64, bool) {
	digits, ok := strings.CutPrefix(id, conversationID+".")
	if !ok {
		return 0, false
	}
	seq, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || strconv.FormatInt(seq, 10) != digits {
		return 0, false // "+1" and "01" are not ids of ours
	}
	return seq, true
}

// MarshalJSON writes the message as clients see it, without the viewer's part.
func (m *Message) MarshalJSON() ([]byte, error) {
	return m.AppendJSON(make([]byte, 0, 256+len(m.Content))), nil
}

// AppendJSON appends the message as clients see it.
func (m *Message) AppendJSON(b []byte) []byte {
	id := m.ID
	if id == "" {
		id = MessageID(m.ConversationID, m.Seq)
	}
	b = append(b, `{"id":`...)
	b = AppendJSONString(b, id)
	b = append(b, `,"conversationId":`...)
	b = AppendJSONString(b, m.ConversationID)
	if m.ID == "" { // transient ones have no seq
		b = append(b, `,"seq":`...)
		b = strconv.AppendInt(b, m.Seq, 10)
	}
	b = append(b, `,"from":`...)
	b = AppendJSONString(b, m.From)
	b = append(b, `,"sentAt":`...)
	b = m.SentAt.AppendJSON(b)
	if inner := bytes.TrimSuffix(bytes.TrimPrefix(m.Content, []byte{'{'}), []byte{'}'}); len(inner) > 0 {
		b = append(b, ',')
		b = append(b, inner...)
	}
	if m.Key != "" {
		b = append(b, `,"idempotencyKey":`...)
		b = AppendJSONString(b, m.Key)
	}
	if m.UpdatedAt != nil {
		b = append(b, `,"updatedAt":`...)
		b = m.UpdatedAt.AppendJSON(b)
	}
	if m.RecalledAt != nil {
		b = append(b, `,"recalledAt":`...)
		b = m.RecalledAt.AppendJSON(b)
	}
	if m.Moderated {
		b = append(b, `,"moderated":true`...)
	}
	return append(b, '}')
}
