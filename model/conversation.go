package model

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
)

// Kind is what sort of conversation it is. The numbers are stored.
type Kind int16

// The kinds.
const (
	Ordinary  Kind = 1
	Chatroom  Kind = 2
	Service   Kind = 3
	Temporary Kind = 4
)

var kindNames = map[Kind]string{Ordinary: "ordinary", Chatroom: "chatroom", Service: "service", Temporary: "temporary"}

// MarshalJSON writes the kind's name.
func (k Kind) MarshalJSON() ([]byte, error) { return json.Marshal(kindNames[k]) }

// ParseKind reads a kind's name.
func ParseKind(s string) (Kind, bool) { return byName(kindNames, s) }

// Visibility is who may know of a conversation without being in it. The numbers are stored.
type Visibility int16

// The visibilities, see API.md section 4.
const (
	Public Visibility = iota + 1
	Unlisted
	Private
)

var visibilityNames = map[Visibility]string{Public: "public", Unlisted: "unlisted", Private: "private"}

// MarshalJSON writes the visibility's name.
func (v Visibility) MarshalJSON() ([]byte, error) { return json.Marshal(visibilityNames[v]) }

// ParseVisibility reads a visibility's name.
func ParseVisibility(s string) (Visibility, bool) { return byName(visibilityNames, s) }

// Role is a member's rank in a conversation. The numbers are stored, and a higher rank is a greater number.
type Role int16

// The roles.
const (
	RoleMember Role = iota
	RoleManager
	RoleOwner
)

var roleNames = map[Role]string{RoleMember: "member", RoleManager: "manager", RoleOwner: "owner"}

// MarshalJSON writes the role's name.
func (r Role) MarshalJSON() ([]byte, error) { return json.Marshal(roleNames[r]) }

func byName[K comparable](names map[K]string, s string) (K, bool) {
	for k, name := range names {
		if name == s {
			return k, true
		}
	}
	var none K
	return none, false
}

// Bounds of a conversation.
const (
	MaxMembers         = 500
	MaxNameLength      = 255 // characters
	MaxAttributesBytes = 16 << 10
)

// Conversation is the resource as it is shown. The embedded viewer's part is nil
// for non-members, in events, and wherever nobody looks.
type Conversation struct {
	ID            string          `json:"id"`
	Kind          Kind            `json:"kind"`
	Name          *string         `json:"name"`
	Creator       *string         `json:"creator"`
	Members       []string        `json:"members"` // never nil
	MemberCount   int             `json:"memberCount"`
	Attributes    json.RawMessage `json:"attributes"`
	Visibility    Visibility      `json:"visibility"`
	Unique        bool            `json:"unique"`
	CreatedAt     Time            `json:"createdAt"`
	UpdatedAt     Time            `json:"updatedAt"`
	LastMessageAt *Time           `json:"lastMessageAt"`
	LastMessage   *Message        `json:"lastMessage"`
	ExpiresAt     *Time           `json:"expiresAt"`
	*Viewer
}

// Viewer is what a conversation is to the member who looks at it.
type Viewer struct {
	Muted                   bool  `json:"muted"`
	Role                    Role  `json:"role"`
	UnreadMessagesCount     int64 `json:"unreadMessagesCount"`
	UnreadMessagesMentioned bool  `json:"unreadMessagesMentioned"`
	LastDeliveredAt         *Time `json:"lastDeliveredAt"`
	LastReadAt              *Time `json:"lastReadAt"`
}

// NewConversationID returns an id that cannot be guessed: 130 random bits.
func NewConversationID() string { return rand.Text() }

// TemporaryKey is the digest of the members of a temporary conversation, which is
// unique as long as it lives.
func TemporaryKey(members []string) []byte {
	return UniqueKey(append([]string{"\x00temporary"}, members...))
}

// UniqueKey is the digest of a set of members; the order of ids does not matter, and they must be distinct.
func UniqueKey(members []string) []byte {
	sorted := slices.Sorted(slices.Values(members))
	// A client id holds no control characters, so NUL separates without ambiguity.
	sum := sha256.Sum256([]byte(strings.Join(sorted, "\x00")))
	return sum[:]
}
