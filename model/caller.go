package model

import "time"

// Caller is who sent a request, as its token says.
type Caller struct {
	// Client is the acting client; empty when a server token acts for nobody: then the actor is the system.
	Client string
	// Server marks a server token: it skips membership, permission and grant checks.
	Server bool
	// Session is the Parley-Session header as sent; whether it counts is for chat to say. Empty: none.
	Session string
	// Grant is what the header Parley-Grant held; nil: there was none, or it is never asked for.
	Grant *SentGrant
	// Own says that what authorised the request was issued for Client, be it a token or a ticket: a kick of the client revokes it.
	Own bool
	// IssuedAt is when that was, zero when it does not say; ExpiresAt is the token's exp.
	IssuedAt, ExpiresAt time.Time
}

// Revoked reports whether what was issued then is refused since a kick of its client. One that does not say when is.
func Revoked(issuedAt, kickedAt time.Time) bool {
	return issuedAt.IsZero() || issuedAt.Unix() <= kickedAt.Unix()
}

// ErrRevoked answers who was kicked since his token was issued.
func ErrRevoked() *Error { return NewError(Unauthenticated, "the token has been revoked") }

// System reports whether nobody in particular acts: a server token without Parley-As.
func (c Caller) System() bool { return c.Server && c.Client == "" }

// Actor is the acting client, nil for the system, as it is shown in creator, invitedBy and the like.
func (c Caller) Actor() *string {
	if c.Client == "" {
		return nil
	}
	return &c.Client
}

// NeedServer fails with server_scope_required when a field that is for server tokens alone
// was given by a client's.
func (c Caller) NeedServer(field string, given bool) error {
	if given && !c.Server {
		return NewError(ServerScopeRequired, "%s is for server tokens", field)
	}
	return nil
}

// NeedClient fails with acting_client_required when nobody in particular acts.
func (c Caller) NeedClient() error {
	if c.Client == "" {
		return ErrActingClientRequired()
	}
	return nil
}
