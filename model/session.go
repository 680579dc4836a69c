package model

import (
	"regexp"
	"time"
)

// How long things about sessions are remembered.
const (
	TaggedSessionKept   = 30 * 24 * time.Hour // since last connected; its tag is held as long
	UntaggedSessionKept = 24 * time.Hour
	SpentSessionKept    = 30 * 24 * time.Hour
	MaxSessions         = 1000      // remembered of one client
	DefaultTag          = "default" // any number of sessions may have it
)

// Session is one device of a client, as GET /v1/sessions shows it.
type Session struct {
	ID         string  `json:"id" db:"id"`
	Tag        *string `json:"tag" db:"tag" extensions:"x-nullable"`
	Connected  bool    `json:"connected" db:"connected"`
	OpenedAt   Time    `json:"openedAt" db:"opened_at"`
	LastSeenAt Time    `json:"lastSeenAt" db:"last_seen_at"`
	RemoteAddr string  `json:"remoteAddr" db:"remote_addr"`
}

var sessionID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ValidSessionID reports whether s has the form of a session id.
func ValidSessionID(s string) bool { return sessionID.MatchString(s) }

// KnownSession is what a server remembers of a session when somebody connects with its id.
type KnownSession struct {
	ID        string
	Tag       string // empty: none
	Connected bool   // as far as is known
	Spent     bool
	EvictedBy string // the session that took its tag while it was away, until it was told
}

// Login is a request to open a stream, as far as sessions are concerned.
type Login struct {
	Session string
	Tag     string // empty: none
	Reopen  bool   // fail rather than evict
}

// LoginOutcome is what becomes of a login.
type LoginOutcome int

// The outcomes.
const (
	LoggedIn    LoginOutcome = iota // an id that was not known
	Reconnected                     // a known one
	Conflicted                      // it was evicted while away, is told so now, and is spent
	Spent                           // may not connect again
	Refused                         // Reopen was set and nothing may be evicted
	Barred                          // its client was kicked since the token was issued
)

// DecideLogin says what becomes of a login, given the session of that id (nil when
// unknown) and the one that holds the tag of the login (nil when nobody does). With
// LoggedIn and a holder, the holder is to be evicted.
func DecideLogin(l Login, known, holder *KnownSession) LoginOutcome {
	switch {
	case known == nil && holder != nil && l.Reopen:
		return Refused
	case known == nil:
		return LoggedIn
	case known.Spent && l.Reopen:
		return Refused
	case known.Spent && known.EvictedBy != "":
		return Conflicted
	case known.Spent:
		return Spent
	}
	return Reconnected // it keeps its first tag, whatever it says, and nobody else holds that
}
