package model

// Unread is what a member has not read of a conversation.
type Unread struct {
	ConversationID string   `json:"conversationId"`
	Count          int64    `json:"unreadMessagesCount"`
	Mentioned      bool     `json:"unreadMessagesMentioned"`
	LastMessage    *Message `json:"lastMessage" extensions:"x-nullable"`
}

// UnreadCounts is the data of EventUnreadCount, and of the counts at a fresh start of a stream.
type UnreadCounts struct {
	Conversations []Unread `json:"conversations"`
	More          bool     `json:"more"`
	At            Time     `json:"at" swaggertype:"string" format:"date-time"`
}

// ReadState is how far a member has read a conversation, and what is left.
type ReadState struct {
	ConversationID string `json:"conversationId"`
	Count          int64  `json:"unreadMessagesCount"`
	// LastReadAt is when the message was sent that the read position stands on; null when there is none, or not any more.
	LastReadAt *Time `json:"lastReadAt" swaggertype:"string" format:"date-time" extensions:"x-nullable"`
}
