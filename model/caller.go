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
	// IssuedAt is the token's iat; zero when it had none. ExpiresAt is its exp.
	IssuedAt, ExpiresAt time.Time
}

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
