package model

import "time"

// History is what a history asks for, and what its cursor remembers. Histories
// that ask for the same are equal.
type History struct {
	OldToNew   bool         `json:"oldToNew,omitzero"`
	Start      HistoryBound `json:"start,omitzero"`
	End        HistoryBound `json:"end,omitzero"`
	Type       MessageType  `json:"type,omitzero"` // 0: any
	CustomType int64        `json:"customType,omitzero"`
	Inbox      bool         `json:"inbox,omitzero"` // of a service: what came up to it, and nothing else
	// Behind is the id of the message that a cursor goes on from; it may be gone by
	// then. Empty on the first page; else Start says nothing any more.
	Behind string `json:"behind,omitzero"`
}

// HistoryBound is one end of a history; the zero is no bound at all. The id decides over the time.
type HistoryBound struct {
	ID     string `json:"id,omitzero"`
	Time   string `json:"time,omitzero"`   // RFC 3339, as sent
	Closed bool   `json:"closed,omitzero"` // what lies on the bound is within
}

// Limits of a page of history.
const (
	DefaultHistoryLimit = 20
	MaxHistoryLimit     = 1000
)

// Cursor is how to go on behind the last message of a page.
func (h History) Cursor(last *Message) (string, error) {
	h.Behind = MessageID(last.ConversationID, last.Seq)
	return EncodeCursor(historyList(last.ConversationID), h)
}

// ResumeHistory returns what a cursor of a conversation's history asks for. It fails with invalid_cursor.
func ResumeHistory(conversationID, cursor string) (History, error) {
	var h History
	if err := DecodeCursor(historyList(conversationID), cursor, &h); err != nil {
		return History{}, err
	}
	if _, ok := ParseMessageID(conversationID, h.Behind); !ok {
		return History{}, ErrInvalidCursor()
	}
	return h, nil
}

func historyList(conversationID string) string { return "history:" + conversationID }

// Bounds are those of what is still to be read, the older and the newer one.
func (h History) Bounds() (older, newer HistoryBound) {
	start := h.Start
	if h.Behind != "" {
		start = HistoryBound{ID: h.Behind}
	}
	if h.OldToNew {
		return start, h.End
	}
	return h.End, start
}

// Empty reports whether no message at all can be what is asked for.
func (h History) Empty() bool { return h.CustomType != 0 && h.Type != 0 && h.Type != TypeCustom }

// From is the time of the first messages within, for an older bound by time.
func (b HistoryBound) From() (time.Time, error) { return b.cut(b.Closed) }

// Until is the time of the first messages no longer within, for a newer bound by time.
func (b HistoryBound) Until() (time.Time, error) { return b.cut(!b.Closed) }

// cut is the earliest time that a message can have which was sent at the bound's time or later; without at, later.
func (b HistoryBound) cut(at bool) (time.Time, error) {
	t, err := ParseTime(b.Time)
	if err != nil {
		return time.Time{}, ErrInvalidCursor() // a parameter has been parsed before
	}
	whole := t.Truncate(time.Millisecond) // as all messages' times are
	if at && whole.Equal(t.Time) {
		return whole, nil
	}
	return whole.Add(time.Millisecond), nil
}

// CheckHistory says who may read the messages.
func (s Standing) CheckHistory() error {
	if err := s.CheckSee(); err != nil {
		return err
	}
	if s.Kind == Chatroom || s.Kind == Service {
		return nil
	}
	return s.checkInside(LegacyHistoryRefused)
}

// CheckRead says who may mark messages as read. Even a server token can do so for a
// member only: there is nowhere else to note it.
func (s Standing) CheckRead() error {
	if err := s.CheckSee(); err != nil {
		return err
	}
	switch {
	case s.Kind == Chatroom:
		return errNotAllowedIn(Chatroom)
	case !s.Member:
		return ErrNotAMember(LegacyMembershipRefused)
	}
	return nil
}

// ErrMessageNotFound answers a message that there is not, or no longer.
func ErrMessageNotFound() *Error {
	return NewError(MessageNotFound, "there is no such message in this conversation")
}
