package model

import (
	"errors"
	"testing"
	"time"
)

func TestCheckGrant(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	grant := func(op GrantOp, conversation string, members ...string) *Grant {
		return &Grant{Client: "Tom", Op: op, Conversation: conversation, Members: members, IssuedAt: now, ExpiresAt: now.Add(time.Hour)}
	}
	living := func(life time.Duration) *Grant {
		g := grant(GrantHistory, "C")
		g.ExpiresAt = now.Add(life)
		return g
	}
	unissued := grant(GrantHistory, "C")
	unissued.IssuedAt = time.Time{}
	others := grant(GrantHistory, "C")
	others.Client = "Jerry"
	history := GrantNeed{Op: GrantHistory, Conversation: "C"}
	invite := GrantNeed{Op: GrantInvite, Conversation: "C", Members: []string{"Mary", "Bob"}}
	join := GrantNeed{Op: GrantInvite, Conversation: "C", Members: []string{"Tom"}}
	kick := func(clients ...string) GrantNeed {
		need, _ := KickNeed("C", "Tom", clients)
		return need
	}
	tom := "Tom"
	create := func(k Kind, members ...string) GrantNeed {
		return CreateNeed(&NewConversation{Kind: k, Creator: &tom, Members: members})
	}
	for _, tt := range []struct {
		name  string
		need  GrantNeed
		grant *Grant
		want  Code // empty: agreed
	}{
		{"none", history, nil, GrantRequired},
		{"history", history, grant(GrantHistory, "C"), ""},
		{"history elsewhere", history, grant(GrantHistory, "D"), GrantMismatch},
		{"history of nothing", history, grant(GrantHistory, ""), GrantMismatch},
		{"history with members", history, grant(GrantHistory, "C", "Tom"), GrantMismatch},
		{"another operation", history, grant(GrantInvite, "C"), GrantMismatch},
		{"an operation unheard of", history, grant("dance", "C"), GrantMismatch},
		{"another client's", history, others, GrantMismatch},

		{"six hours", history, living(6 * time.Hour), ""},
		{"more", history, living(6*time.Hour + time.Second), GrantInvalid},
		{"ended before it was issued", history, living(-time.Second), ""}, // when it ends is not asked here
		{"never issued", history, unissued, GrantInvalid},

		{"invite", invite, grant(GrantInvite, "C", "Mary", "Bob"), ""},
		{"in another order", invite, grant(GrantInvite, "C", "Bob", "Mary"), ""},
		{"one named twice", invite, grant(GrantInvite, "C", "Bob", "Mary", "Bob"), ""},
		{"one less", invite, grant(GrantInvite, "C", "Mary"), GrantMismatch},
		{"one more", invite, grant(GrantInvite, "C", "Mary", "Bob", "Tom"), GrantMismatch},
		{"another one", invite, grant(GrantInvite, "C", "Mary", "Rob"), GrantMismatch},
		{"nobody", invite, grant(GrantInvite, "C"), GrantMismatch},
		{"join", join, grant(GrantInvite, "C", "Tom"), ""},
		{"join, nobody named", join, grant(GrantInvite, "C"), GrantMismatch},
		{"join by another's", join, others, GrantMismatch},

		{"kick", kick("Mary"), grant(GrantKick, "C", "Mary"), ""},
		{"kick, oneself named too", kick("Mary"), grant(GrantKick, "C", "Mary", "Tom"), GrantMismatch},
		{"kick and quit", kick("Tom", "Mary"), grant(GrantKick, "C", "Mary"), ""},
		{"kick and quit, oneself named too", kick("Tom", "Mary"), grant(GrantKick, "C", "Mary", "Tom"), ""},
		{"kick and quit, oneself alone named", kick("Tom", "Mary"), grant(GrantKick, "C", "Tom"), GrantMismatch},
		{"kick by an invitation", kick("Mary"), grant(GrantInvite, "C", "Mary"), GrantMismatch},

		{"create", create(Ordinary, "Tom", "Mary"), grant(GrantCreate, "", "Mary", "Tom"), ""},
		{"create, the creator not named", create(Ordinary, "Tom", "Mary"), grant(GrantCreate, "", "Mary"), GrantMismatch},
		{"create alone", create(Ordinary, "Tom"), grant(GrantCreate, "", "Tom"), ""},
		{"create alone, nobody named", create(Ordinary, "Tom"), grant(GrantCreate, ""), GrantMismatch},
		{"create what exists", create(Ordinary, "Tom"), grant(GrantCreate, "C", "Tom"), GrantMismatch},
		{"create a chatroom", create(Chatroom), grant(GrantCreate, "", "Tom"), ""},
		{"create a chatroom, nobody named", create(Chatroom), grant(GrantCreate, ""), ""},
		{"create a chatroom with another", create(Chatroom), grant(GrantCreate, "", "Mary"), GrantMismatch},
		{"create a temporary one", create(Temporary, "Tom", "Mary"), grant(GrantCreate, "", "Tom", "Mary"), ""},

		{"block", GrantNeed{Op: GrantBlock, Conversation: "C", Members: []string{"Mary"}}, grant(GrantBlock, "C", "Mary"), ""},
		{"block a client everywhere", GrantNeed{Op: GrantBlock, Members: []string{"Mary"}}, grant(GrantBlock, "", "Mary"), ""},
		{"block everywhere by a grant for one place", GrantNeed{Op: GrantBlock, Members: []string{"Mary"}}, grant(GrantBlock, "C", "Mary"), GrantMismatch},
		{"block a conversation", GrantNeed{Op: GrantBlock, Conversation: "C"}, grant(GrantBlock, "C"), ""},
		{"unblock by a block", GrantNeed{Op: GrantUnblock, Conversation: "C"}, grant(GrantBlock, "C"), GrantMismatch},
	} {
		caller := Caller{Client: "Tom"}
		if tt.grant != nil {
			caller.Grant = &SentGrant{Grant: *tt.grant}
		}
		err := CheckGrant(caller, tt.need)
		if tt.want == "" && err != nil || tt.want != "" && !IsCode(err, tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestKickNeed(t *testing.T) {
	for _, tt := range []struct {
		actor   string
		clients []string
		needed  bool
	}{
		{"Tom", []string{"Tom"}, false},
		{"Tom", []string{"Mary"}, true},
		{"Tom", []string{"Mary", "Tom"}, true},
		{"", []string{"Mary"}, true},
	} {
		if _, needed := KickNeed("C", tt.actor, tt.clients); needed != tt.needed {
			t.Errorf("%s removes %v: %v", tt.actor, tt.clients, needed)
		}
	}
}

func TestGrantErrors(t *testing.T) {
	invalid := NewError(GrantInvalid, "no")
	away := NewError(Unavailable, "away")
	for _, tt := range []struct {
		op     GrantOp
		sent   *SentGrant
		code   Code
		legacy int
	}{
		{GrantCreate, nil, GrantRequired, 4302},
		{GrantInvite, &SentGrant{Err: invalid}, GrantInvalid, 4302},
		{GrantKick, &SentGrant{}, GrantInvalid, 4302},
		{GrantHistory, &SentGrant{Err: away}, Unavailable, 0},
		{GrantBlock, nil, GrantRequired, 4546},
		{GrantUnblock, &SentGrant{Err: invalid}, GrantInvalid, 4546},
		{GrantUnblock, &SentGrant{Grant: Grant{IssuedAt: time.Now()}}, GrantMismatch, 4546},
	} {
		err := CheckGrant(Caller{Client: "Tom", Grant: tt.sent}, GrantNeed{Op: tt.op, Conversation: "C"})
		var e *Error
		if !errors.As(err, &e) || e.Code != tt.code || e.LegacyCode() != tt.legacy {
			t.Errorf("%s: %v (%d), want %s (%d)", tt.op, err, e.LegacyCode(), tt.code, tt.legacy)
		}
	}
}
