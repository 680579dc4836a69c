package model

import (
	"encoding/json"
	"testing"
	"time"
)

// TestConversationJSON compares what is written out by hand with what reflection makes of the same fields.
func TestConversationJSON(t *testing.T) {
	t.Parallel()
	at := At(time.Date(2026, 11, 20, 10, 52, 31, 492e6, time.UTC))
	name, tom := `a "name" <b>`, "Tom"
	full := Conversation{
		ID: "x", Kind: Ordinary, Name: &name, Creator: &tom, Members: []string{"Tom", "Jérry"}, MemberCount: 2,
		Attributes: json.RawMessage(`{"a":[1,2]}`), Visibility: Private, Unique: true, CreatedAt: at, UpdatedAt: at,
		LastMessageAt: &at, ExpiresAt: &at, LastMessage: &Message{ConversationID: "x", Seq: 1, From: "Tom", SentAt: at, Content: []byte(`{}`)},
		Viewer: &Viewer{Muted: true, Role: RoleOwner, UnreadMessagesCount: 3, UnreadMessagesMentioned: true, LastDeliveredAt: &at, LastReadAt: &at},
	}
	bare := Conversation{ID: "y", Kind: Chatroom, Members: []string{}, Attributes: json.RawMessage(`{}`), Visibility: Public, CreatedAt: at, UpdatedAt: at}
	for _, c := range []Conversation{full, bare} {
		type reflected Conversation // without the methods
		want, err := json.Marshal((*reflected)(&c))
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(&c)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("MarshalJSON =\n%s\nwant\n%s", got, want)
		}
	}
	if got := string((&Conversation{Attributes: json.RawMessage("{\n\"a\":\r1}")}).AppendJSON(nil)); json.Valid([]byte(got)) == false || containsNewline(got) {
		t.Errorf("attributes over several lines: %q", got)
	}
}

func containsNewline(s string) bool {
	for _, c := range s {
		if c == '\n' || c == '\r' {
			return true
		}
	}
	return false
}
