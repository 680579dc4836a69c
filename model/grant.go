package model

import (
	"slices"
	"time"
)

// GrantSwitch names a group of operations that a deployment may want a grant for.
type GrantSwitch string

// The switches of API.md section 2.
const (
	GrantsForConversation GrantSwitch = "conversation"
	GrantsForHistory      GrantSwitch = "history"
	GrantsForBlock        GrantSwitch = "block"
)

// GrantSwitches lists them all.
var GrantSwitches = []GrantSwitch{GrantsForConversation, GrantsForHistory, GrantsForBlock}

// GrantOp is what a grant agrees to.
type GrantOp string

// The operations that grants are for.
const (
	GrantCreate  GrantOp = "create"
	GrantInvite  GrantOp = "invite" // joining, a seat and a subscription are invitations of oneself
	GrantKick    GrantOp = "kick"
	GrantHistory GrantOp = "history"
	GrantBlock   GrantOp = "block"
	GrantUnblock GrantOp = "unblock"
)

// GrantOps lists them all.
var GrantOps = []GrantOp{GrantCreate, GrantInvite, GrantKick, GrantHistory, GrantBlock, GrantUnblock}

// Switch is the one that demands a grant for op.
func (op GrantOp) Switch() GrantSwitch {
	switch op {
	case GrantHistory:
		return GrantsForHistory
	case GrantBlock, GrantUnblock:
		return GrantsForBlock
	}
	return GrantsForConversation
}

// legacyBlockRefused is the legacy code of refused blocks; the catalogue has that of all else.
const legacyBlockRefused = 4546

// MaxGrantLife is how long after its issue a grant may end.
const MaxGrantLife = 6 * time.Hour

// Grant is what a grant says. That its signature, issuer, audience and times are
// right has been seen to.
type Grant struct {
	ID                  string // its jti; empty: it may be used again
	Client              string // who may do it
	Op                  GrantOp
	Conversation        string   // empty: none
	Members             []string // as named, in any order
	IssuedAt, ExpiresAt time.Time
}

// CheckLife fails with grant_invalid for a grant that does not say when it was issued, or that lives too long.
func (g *Grant) CheckLife() error {
	if g.IssuedAt.IsZero() {
		return NewError(GrantInvalid, "the grant does not say when it was issued: it needs iat")
	}
	if g.ExpiresAt.Sub(g.IssuedAt) > MaxGrantLife {
		return NewError(GrantInvalid, "the grant lives too long: its exp may be at most 6 hours after its iat")
	}
	return nil
}

// SentGrant is what came in the header Parley-Grant: a grant, or what keeps it from being one.
type SentGrant struct {
	Grant Grant
	Err   error // grant_invalid, or unavailable while its key cannot be had; nil: the grant is good
}

// GrantNeed is what a caller wants to do, and so what its grant must agree to.
type GrantNeed struct {
	Op           GrantOp
	Conversation string   // empty: it concerns none that is there already
	Members      []string // the set that it concerns, distinct; none for history
	// Also is a client that the grant may name as well or leave out, because what
	// happens to that one needs no grant. Empty: nobody.
	Also string
}

// KickNeed is the need of an actor who removes clients. Quitting needs no grant: so
// ok is false when nobody else is among them, and a grant may leave the actor out.
func KickNeed(conversation, actor string, clients []string) (need GrantNeed, ok bool) {
	others := Without(clients, []string{actor})
	need = GrantNeed{Op: GrantKick, Conversation: conversation, Members: others}
	if len(others) < len(clients) {
		need.Also = actor
	}
	return need, len(others) > 0
}

// CreateNeed is the need of a caller who makes a conversation. One that begins
// without members concerns its creator alone, if anybody.
func CreateNeed(c *NewConversation) GrantNeed {
	need := GrantNeed{Op: GrantCreate, Members: c.Members}
	if c.Creator != nil && len(c.Members) == 0 {
		need.Also = *c.Creator
	}
	return need
}

// CheckGrant says whether the grant that a caller has sent agrees to what it wants
// to do: exactly to that. It fails with grant_required, grant_invalid and
// grant_mismatch. Whether the grant was used up or revoked is not asked here.
func CheckGrant(caller Caller, need GrantNeed) error {
	sent := caller.Grant
	if sent == nil {
		return ErrGrant(need.Op, GrantRequired, "this needs a grant of your application's server, in the header Parley-Grant")
	}
	if sent.Err != nil {
		return asGrantError(need.Op, sent.Err)
	}
	if err := sent.Grant.CheckLife(); err != nil {
		return asGrantError(need.Op, err)
	}
	if wrong := sent.Grant.mismatch(caller.Client, need); wrong != "" {
		return ErrGrant(need.Op, GrantMismatch, "the grant is for "+wrong)
	}
	return nil
}

// mismatch says what a grant is for instead; empty when it is for what is needed.
func (g *Grant) mismatch(client string, need GrantNeed) string {
	switch {
	case g.Client != client:
		return "another client"
	case g.Op != need.Op:
		return "another operation"
	case g.Conversation != need.Conversation:
		return "another conversation"
	case !sameSet(g.Members, need.Members) && (need.Also == "" || !sameSet(g.Members, append(slices.Clone(need.Members), need.Also))):
		return "another set of members"
	}
	return ""
}

// sameSet reports whether two lists hold the same ids, however often and in whatever order.
func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// ErrGrant is a refusal for want of a grant, with the legacy code of the operation.
func ErrGrant(op GrantOp, code Code, detail string) *Error {
	e := NewError(code, "%s", detail)
	if op.Switch() == GrantsForBlock {
		return e.WithLegacy(legacyBlockRefused)
	}
	return e
}

func asGrantError(op GrantOp, err error) error {
	if e, ok := err.(*Error); ok && e.Code == GrantInvalid {
		return ErrGrant(op, e.Code, e.Detail)
	}
	return err
}
