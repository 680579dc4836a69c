package model

// EventKind is what happened. The numbers are stored: never reorder them.
type EventKind int16

// The durable events. Each comment says who hears of it.
const (
	_                        EventKind = iota
	EventMessage                       // the other members; the sender but the acting session
	EventMessageUpdate                 // members but the acting session
	EventMessageRecall                 // members but the acting session
	EventInvited                       // each added client
	EventMembersJoined                 // who was a member before, and a self-joiner
	EventKicked                        // each removed client
	EventMembersLeft                   // who remains, and a self-quitter
	EventConversationUpdated           // members but the acting session
	EventConversationDeleted           // members
	EventLastDeliveredAt               // the sender of the messages received
	EventLastReadAt                    // the sender of the messages read
	EventUnreadCount                   // the client who read, but the acting session
	EventSessionsClosed                // no client: nodes that hold the sessions end their streams (see SessionsClosed)
	EventSessionMoved                  // no client: a session's stream was opened on another node
	EventClientRevoked                 // no client: its tokens are refused from now on
	EventMessageRemoved                // no client: frames of a message must be forgotten
	EventConversationExpired           // no client: frames of a whole conversation must be forgotten
	EventSeat                          // no client: a session took or left a seat in a chatroom
	EventMessagesOutlived              // no client: frames of a conversation's messages up to a seq must be forgotten
)

var eventNames = map[EventKind]string{
	EventMessage:             "message",
	EventMessageUpdate:       "message_update",
	EventMessageRecall:       "message_recall",
	EventInvited:             "invited",
	EventMembersJoined:       "members_joined",
	EventKicked:              "kicked",
	EventMembersLeft:         "members_left",
	EventConversationUpdated: "conversation_info_updated",
	EventConversationDeleted: "conversation_deleted",
	EventLastDeliveredAt:     "last_delivered_at_update",
	EventLastReadAt:          "last_read_at_update",
	EventUnreadCount:         "unread_messages_count_update",
}

// Name is the SSE event name; empty for what only nodes hear.
func (k EventKind) Name() string { return eventNames[k] }

// OfMessage reports whether the frame is made from the message as it now is.
func (k EventKind) OfMessage() bool {
	return k == EventMessage || k == EventMessageUpdate || k == EventMessageRecall
}

// Audience is whose an event is. The numbers are stored (indexes name them).
type Audience int16

// The audiences.
const (
	ToNobody   Audience = iota // for the nodes alone
	ToMembers                  // of Event.ConversationID at the event's position; a chatroom's are its seats
	ToClients                  // Event.Clients
	ToEveryone                 // every client
)

// Shed is what a reader that cannot keep up may miss: messages of a chatroom by
// their priority. The numbers are stored.
type Shed int8

// From never to first.
const (
	ShedNever Shed = iota
	ShedSecond
	ShedFirst
)

// ShedReplayed is how many of a room's messages that may be shed a stream still gets when it has missed them.
const ShedReplayed = 100

// Event is one entry of the log.
type Event struct {
	Position       int64
	Kind           EventKind
	Audience       Audience
	ConversationID string
	Seq            int64    // of the message, for events of messages
	Clients        []string // the audience ToClients; else of EventMessage the one who owes it a receipt
	// Joined begin a stay in the conversation that covers this event; Departed end one that still covers it.
	Joined, Departed []string
	// The acting session, which does not get the event: ExceptSession of ExceptClient. Without a
	// client nobody is left out; with an empty session none of the client's sessions gets it.
	ExceptClient, ExceptSession string
	Shed                        Shed
	// Seat is what an EventSeat says; nil for all else.
	Seat *SeatTaken
	// Data is the event's JSON on one line, complete; nil when there is nothing to show
	// (a node's event, or one of a message that was deleted since).
	Data []byte
	At   Time
}

// Excludes reports whether the event is not for this session of this client because it acted itself.
func (e *Event) Excludes(client, session string) bool {
	return e.ExceptClient != "" && e.ExceptClient == client && (e.ExceptSession == "" || e.ExceptSession == session)
}

// Stay is a client's time in a conversation: it covers events with From < position <= To.
type Stay struct {
	ConversationID string
	From           int64
	To             int64 // Forever while it lasts
}

// Belongings is what a node must know of a client to choose its events.
type Belongings struct {
	Stays []Stay
	Seats []Seat
}

// Forever ends a stay that has not ended.
const Forever = int64(1<<63 - 1)

// SessionsClosed is the data of EventSessionsClosed: which sessions end, and the last frame they get.
type SessionsClosed struct {
	ClientID string   `json:"clientId"`
	Sessions []string `json:"sessions"` // nil: all
	Event    string   `json:"event"`    // conflict or session_closed
	Frame    any      `json:"frame"`    // its data
	Spent    bool     `json:"spent"`    // the ids may not be used again
}

// SeatTaken is the data of EventSeat: a session sits in that chatroom now, and nowhere else.
type SeatTaken struct {
	ClientID       string `json:"clientId"`
	Session        string `json:"session"`
	ConversationID string `json:"conversationId,omitempty"` // empty: nowhere at all
}

// Seat is a session's place in a chatroom: it covers events with From < position.
type Seat struct {
	Session        string
	ConversationID string
	From           int64
}

// SessionMoved is the data of EventSessionMoved: who holds a session's stream now.
type SessionMoved struct {
	ClientID string `json:"clientId"`
	Session  string `json:"session"`
	Node     string `json:"node"`
}

// ClientRevoked is the data of EventClientRevoked.
type ClientRevoked struct {
	ClientID string `json:"clientId"`
	Through  Time   `json:"through"` // tokens issued up to this second are refused
}

// MessageEventData is the JSON of an event of a message. extra holds what the
// event adds to it, a JSON object such as {"reason": ...}, or is empty.
func MessageEventData(m *Message, extra []byte, at Time) []byte {
	b := make([]byte, 0, 320+len(m.Content)+len(extra))
	b = append(b, `{"message":`...)
	b = m.AppendJSON(b)
	if len(extra) > 2 {
		b = append(b, ',')
		b = append(b, extra[1:len(extra)-1]...)
	}
	b = append(b, `,"conversationId":`...)
	b = AppendJSONString(b, m.ConversationID)
	b = append(b, `,"at":`...)
	b = at.AppendJSON(b)
	return append(b, '}')
}
