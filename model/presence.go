package model

// MaxPresence is how many clients one may ask after, or subscribe to, at once.
const MaxPresence = 1000

// Presence is the data of the event presence: a client came or went.
type Presence struct {
	ClientID string `json:"clientId"`
	Online   bool   `json:"online"`
	At       Time   `json:"at" swaggertype:"string" format:"date-time"`
}

// Stats is what GET /v1/stats tells of the whole cluster.
type Stats struct {
	OnlineClients int64 `json:"onlineClients" db:"online_clients"` // connected, or broken off a moment ago
	ClientsToday  int64 `json:"clientsToday" db:"clients_today"`   // who were connected at some time since midnight UTC
	Connections   int64 `json:"connections" db:"connections"`      // open streams
	Conversations int64 `json:"conversations" db:"conversations"`  // those that expired apart
	Messages      int64 `json:"messages" db:"messages"`            // that are kept, recalled ones too
}
