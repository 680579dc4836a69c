package model

import "time"

// Scope is whose a message is. The numbers are stored.
type Scope int16

// The scopes. All but the first are of messages in services.
const (
	ScopeConversation Scope = iota // all who are in the conversation
	ScopeUp                        // the service itself: a client's message to it
	ScopeSome                      // some clients, subscribed or not
	ScopeSubscribers               // whoever subscribes
	ScopeEveryone                  // all clients
)

// Bounds of what a service sends down.
const (
	MaxReceivers      = 20 // of a message for some clients
	BroadcastValid    = 30 * 24 * time.Hour
	BroadcastsAtStart = 20 // that a fresh start of a stream brings
)

// Broadcast is a message to all clients, and until when those who were away are told of it.
type Broadcast struct {
	Message
	ValidUntil Time
}

// AppendJSON appends the message as clients see it, with its end.
func (b *Broadcast) AppendJSON(to []byte) []byte {
	to = b.Message.AppendJSON(to)
	to = append(to[:len(to)-1], `,"validUntil":`...)
	return append(b.ValidUntil.AppendJSON(to), '}')
}

// MarshalJSON writes what AppendJSON appends.
func (b *Broadcast) MarshalJSON() ([]byte, error) { return b.AppendJSON(nil), nil }

// CheckValidUntil returns until when a broadcast is valid, nil being the longest time there is.
func CheckValidUntil(given *string, now Time) (Time, error) {
	longest := At(now.Add(BroadcastValid))
	if given == nil {
		return longest, nil
	}
	t, err := ParseTime(*given)
	switch {
	case err != nil:
		return Time{}, Invalid("validUntil", "%v", err)
	case !t.After(now.Time) || t.After(longest.Time):
		return Time{}, Invalid("validUntil", "must be a time to come, at most %d days ahead", int(BroadcastValid.Hours()/24))
	}
	return At(t.Time), nil
}

// CheckService fails unless the conversation is a service. field is what named it in the request.
func (s Standing) CheckService(field string) error {
	switch {
	case s.Kind == Service:
		return s.CheckSee()
	case field == "id" && s.Kind != Ordinary:
		return errNotAllowedIn(s.Kind)
	}
	return Invalid(field, "must be a service")
}
