package model

// Receipt says whether a member has received a message, and read it.
type Receipt struct {
	ClientID  string `json:"clientId" db:"client_id"`
	Delivered bool   `json:"delivered" db:"delivered"`
	Read      bool   `json:"read" db:"read"`
}

// LastDeliveredAt is the data of EventLastDeliveredAt.
type LastDeliveredAt struct {
	ConversationID  string `json:"conversationId"`
	ClientID        string `json:"clientId"`                                                // who has received
	MessageID       string `json:"messageId"`                                               // the newest one newly received that wanted a receipt
	LastDeliveredAt Time   `json:"lastDeliveredAt" swaggertype:"string" format:"date-time"` // when the last one received was sent
	At              Time   `json:"at" swaggertype:"string" format:"date-time"`
}

// LastReadAt is the data of EventLastReadAt.
type LastReadAt struct {
	ConversationID string `json:"conversationId"`
	ClientID       string `json:"clientId"`                                           // who has read
	MessageID      string `json:"messageId"`                                          // the newest one newly read that wanted a receipt
	LastReadAt     Time   `json:"lastReadAt" swaggertype:"string" format:"date-time"` // when the last one read was sent
	At             Time   `json:"at" swaggertype:"string" format:"date-time"`
}
