package model

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// Member is a member as others see him.
type Member struct {
	ClientID string `json:"clientId"`
	Role     Role   `json:"role" swaggertype:"string" enums:"owner,manager,member"`
	JoinedAt Time   `json:"joinedAt" swaggertype:"string" format:"date-time"`
	Muted    bool   `json:"muted"`
	Online   *bool  `json:"online,omitempty"` // only when asked for
}

// MembersChange is the outcome of adding or removing members: each client by itself.
type MembersChange struct {
	Succeeded   []string        `json:"succeeded"`
	Failed      []MemberFailure `json:"failed"`
	MemberCount int             `json:"memberCount"` // afterwards
}

// MemberFailure says why one client could not be added or removed.
type MemberFailure struct {
	ClientID   string `json:"clientId"`
	Code       Code   `json:"code"`
	LegacyCode int    `json:"legacyCode,omitempty"`
	Detail     string `json:"detail"`
}

// NewMembersChange is the outcome for clients of which some failed, all for the same reason.
func NewMembersChange(clients, failed []string, why *Error, members int) *MembersChange {
	c := &MembersChange{Succeeded: Without(clients, failed), Failed: make([]MemberFailure, len(failed)), MemberCount: members}
	for i, id := range failed {
		c.Failed[i] = MemberFailure{ClientID: id, Code: why.Code, LegacyCode: why.LegacyCode(), Detail: why.Detail}
	}
	return c
}

// Standing is what a caller is to a conversation: all that the rules about seeing
// it and its members ask for.
type Standing struct {
	Caller     Caller
	Kind       Kind
	Visibility Visibility
	Member     bool // the acting client is a member, or was one when it expired
	Expired    bool // a temporary conversation whose time is over
}

// Inside reports whether the caller may read and do what members may: a server token passes as one.
func (s Standing) Inside() bool { return s.Member || s.Caller.Server }

// CheckSee fails with conversation_not_found for whom the conversation does not exist,
// and with conversation_expired for those who were in it.
func (s Standing) CheckSee() error {
	if s.Visibility == Private && !s.Inside() {
		return ErrConversationNotFound()
	}
	if s.Expired {
		return ErrConversationExpired()
	}
	return nil
}

// CheckListMembers says who may list the members.
func (s Standing) CheckListMembers() error {
	if err := s.CheckSee(); err != nil {
		return err
	}
	if (s.Kind == Chatroom || s.Kind == Service) && !s.Caller.Server {
		return NewError(ServerScopeRequired, "who is in a %s is for server tokens; anybody may read how many", kindNames[s.Kind])
	}
	return s.checkInside(LegacyMembershipRefused)
}

// CheckAdd says who may add these clients: to an ordinary conversation any member
// anybody, and a stranger himself alone; to a service, where it makes them subscribers,
// a server token anybody, and whoever sees it himself alone. Whether each of them fits
// is another matter.
func (s Standing) CheckAdd(clients []string) error {
	if err := s.CheckSee(); err != nil {
		return err
	}
	switch {
	case s.Kind == Service && !s.Caller.Server && !s.alone(clients), s.Kind == Chatroom, s.Kind == Temporary:
		return errNotAllowedIn(s.Kind)
	case s.Kind == Service, s.alone(clients):
		return nil
	}
	return s.checkInside(LegacyMembershipRefused)
}

// CheckRemove says who may remove these clients: who may add them. A stranger may name
// himself alone, and learns that he is none of them.
func (s Standing) CheckRemove(clients []string) error { return s.CheckAdd(clients) }

// CheckSeat says who may take or leave a chatroom's seat: whoever sees the room, for himself
// alone. Nor can a server token that acts for nobody seat others.
func (s Standing) CheckSeat(clients []string) error {
	if err := s.CheckSee(); err != nil {
		return err
	}
	if !s.alone(clients) {
		return errNotAllowedIn(Chatroom)
	}
	return nil
}

// CheckMute says who may mute. Even a server token can do so for a member only: there is nowhere else to note it.
func (s Standing) CheckMute() error {
	if err := s.CheckSee(); err != nil {
		return err
	}
	switch {
	case s.Kind == Chatroom:
		return errNotAllowedIn(Chatroom)
	case s.Kind == Temporary:
		return errNotAllowedIn(Temporary)
	case !s.Member:
		return ErrNotAMember(LegacyMembershipRefused)
	}
	return nil
}

// CheckUpdate says who may change the name and the attributes.
func (s Standing) CheckUpdate(creator *string) error {
	if err := s.CheckSee(); err != nil {
		return err
	}
	switch s.Kind {
	case Temporary:
		return errNotAllowedIn(Temporary)
	case Service:
		if !s.Caller.Server {
			return errNotAllowedIn(Service)
		}
	case Chatroom:
		if !s.Caller.Server && (creator == nil || *creator != s.Caller.Client) {
			return errNotAllowedIn(Chatroom)
		}
	default:
		return s.checkInside(LegacyUpdateRefused)
	}
	return nil
}

func (s Standing) checkInside(legacy int) error {
	if !s.Inside() {
		return ErrNotAMember(legacy)
	}
	return nil
}

func (s Standing) alone(clients []string) bool {
	return s.Caller.Client != "" && len(clients) == 1 && clients[0] == s.Caller.Client
}

func errNotAllowedIn(k Kind) *Error {
	code := map[Kind]Code{Chatroom: NotAllowedInChatroom, Service: NotAllowedInService, Temporary: NotAllowedInTemporary}[k]
	return NewError(code, "this is not possible in a %s conversation, or not for you", kindNames[k])
}

// Fit divides those who are to be added by the places that are left: who comes first is
// served first. A service has room for all.
func (s Standing) Fit(clients []string, members int) (fit, rest []string) {
	free := max(MaxMembers-members, 0)
	if s.Kind == Service || len(clients) <= free {
		return clients, nil
	}
	return clients[:free], clients[free:]
}

// ErrConversationFull answers a conversation that would get too many members.
func ErrConversationFull() *Error {
	return NewError(ConversationFull, "a conversation has at most %d members", MaxMembers)
}

// Distinct returns ids without repetition, in the order of their first appearance.
func Distinct(ids []string) []string {
	seen := make(map[string]bool, len(ids))
	out := make([]string, 0, len(ids))
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}

// Without returns the ids that are not among the others, in their order.
func Without(ids, others []string) []string {
	drop := make(map[string]bool, len(others))
	for _, id := range others {
		drop[id] = true
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return drop[id] })
}

// CheckClients checks a list of client ids of a request and collapses duplicates.
// field names the list; least and most bound what is left.
func CheckClients(field string, ids []string, least, most int) ([]string, error) {
	for i, id := range ids {
		if err := ValidClientID(id); err != nil {
			return nil, Invalid(fmt.Sprintf("%s[%d]", field, i), "%v", err)
		}
	}
	ids = Distinct(ids)
	if len(ids) < least || len(ids) > most {
		return nil, Invalid(field, "must hold %d to %d client ids", least, most)
	}
	return ids, nil
}

// CheckName checks the name of a conversation; nil is none.
func CheckName(name *string) error {
	if name != nil && utf8.RuneCountInString(*name) > MaxNameLength {
		return Invalid("name", "must be at most %d characters", MaxNameLength)
	}
	return nil
}
