package model

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestStanding is who may do what to an ordinary conversation (API.md section 4).
func TestStanding(t *testing.T) {
	t.Parallel()
	tom := Caller{Client: "Tom"}
	server := Caller{Server: true}
	serverAsTom := Caller{Server: true, Client: "Tom"}
	rules := map[string]func(Standing) error{
		"see":        func(s Standing) error { return s.CheckSee() },
		"list":       func(s Standing) error { return s.CheckListMembers() },
		"join":       func(s Standing) error { return s.CheckAdd([]string{"Tom"}) },
		"add":        func(s Standing) error { return s.CheckAdd([]string{"Mary"}) },
		"join, add":  func(s Standing) error { return s.CheckAdd([]string{"Tom", "Mary"}) },
		"quit":       func(s Standing) error { return s.CheckRemove([]string{"Tom"}) },
		"kick":       func(s Standing) error { return s.CheckRemove([]string{"Mary"}) },
		"quit, kick": func(s Standing) error { return s.CheckRemove([]string{"Tom", "Mary"}) },
		"mute":       func(s Standing) error { return s.CheckMute() },
		"update":     func(s Standing) error { return s.CheckUpdate(nil) },
	}
	const ok = 0
	const hidden = 4303
	tests := []struct {
		name       string
		caller     Caller
		visibility Visibility
		member     bool
		want       map[string]int // legacy codes; a rule not named answers the entry ""
	}{
		{"member", tom, Private, true, nil},
		{"server", server, Private, false, map[string]int{"mute": 4317}},
		{"server for a stranger", serverAsTom, Private, false, map[string]int{"mute": 4317}},
		{"server for a member", serverAsTom, Private, true, nil},
		{"stranger, private", tom, Private, false, map[string]int{"": hidden}},
		{"stranger, unlisted", tom, Unlisted, false, map[string]int{"": 4317, "see": ok, "join": ok, "quit": ok, "update": 4309}},
		{"stranger, public", tom, Public, false, map[string]int{"": 4317, "see": ok, "join": ok, "quit": ok, "update": 4309}},
	}
	for _, tt := range tests {
		for name, rule := range rules {
			want, named := tt.want[name]
			if !named {
				want = tt.want[""]
			}
			err := rule(Standing{Caller: tt.caller, Kind: Ordinary, Visibility: tt.visibility, Member: tt.member})
			got := 0
			if e := (*Error)(nil); errors.As(err, &e) {
				got = e.LegacyCode()
			}
			if got != want {
				t.Errorf("%s: %s: %v (%d), want %d", tt.name, name, err, got, want)
			}
		}
	}
}

func TestStandingByKind(t *testing.T) {
	t.Parallel()
	tom, creator := Caller{Client: "Tom"}, "Tom"
	other := "Jerry"
	for _, tt := range []struct {
		name string
		err  error
		want Code
	}{
		{"chatroom's creator updates", Standing{Caller: tom, Kind: Chatroom, Visibility: Public}.CheckUpdate(&creator), ""},
		{"another updates a chatroom", Standing{Caller: tom, Kind: Chatroom, Visibility: Public}.CheckUpdate(&other), NotAllowedInChatroom},
		{"a client updates a service", Standing{Caller: tom, Kind: Service, Visibility: Public, Member: true}.CheckUpdate(&creator), NotAllowedInService},
		{"a server updates a service", Standing{Caller: Caller{Server: true}, Kind: Service, Visibility: Public}.CheckUpdate(nil), ""},
		{"update of a temporary one", Standing{Caller: tom, Kind: Temporary, Visibility: Private, Member: true}.CheckUpdate(&creator), NotAllowedInTemporary},
		{"mute of a chatroom", Standing{Caller: tom, Kind: Chatroom, Visibility: Public}.CheckMute(), NotAllowedInChatroom},
		{"mute of a temporary one", Standing{Caller: tom, Kind: Temporary, Visibility: Private, Member: true}.CheckMute(), NotAllowedInTemporary},
		{"stranger and temporary", Standing{Caller: tom, Kind: Temporary, Visibility: Private}.CheckMute(), ConversationNotFound},
	} {
		if tt.want == "" && tt.err != nil || tt.want != "" && !IsCode(tt.err, tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, tt.err, tt.want)
		}
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	ids := []string{"a", "b", "c"}
	for members, want := range map[int]int{0: 3, 497: 3, 498: 2, 499: 1, 500: 0, 600: 0} {
		fit, rest := Standing{Kind: Ordinary}.Fit(ids, members)
		if len(fit) != want || !slices.Equal(slices.Concat(fit, rest), ids) {
			t.Errorf("Fit(3 ids, %d) = %v, %v; want the first %d", members, fit, rest, want)
		}
	}
}

func TestUniqueKey(t *testing.T) {
	t.Parallel()
	a, b := UniqueKey([]string{"Tom", "Jerry"}), UniqueKey([]string{"Jerry", "Tom"})
	if !slices.Equal(a, b) {
		t.Error("the order of members matters")
	}
	if slices.Equal(UniqueKey([]string{"a b", "c"}), UniqueKey([]string{"a", "b c"})) {
		t.Error("ids run into one another")
	}
}

func TestConversationDraft(t *testing.T) {
	t.Parallel()
	yes, ttl, zero := true, int64(60), int64(0)
	text := func(s string) *string { return &s }
	many := make([]string, MaxMembers)
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	tests := []struct {
		name  string
		draft ConversationDraft
		field string // refused for it; "full": conversation_full
		want  Visibility
	}{
		{"empty", ConversationDraft{}, "", Unlisted},
		{"unique", ConversationDraft{Unique: &yes}, "", Private},
		{"unique and public", ConversationDraft{Unique: &yes, Visibility: text("public")}, "", Public},
		{"private", ConversationDraft{Visibility: text("private")}, "", Private},
		{"kind", ConversationDraft{Kind: text("Ordinary")}, "kind", 0},
		{"empty kind", ConversationDraft{Kind: text("")}, "kind", 0},
		{"visibility", ConversationDraft{Visibility: text("secret")}, "visibility", 0},
		{"ttl of an ordinary one", ConversationDraft{TTLSeconds: &ttl}, "ttlSeconds", 0},
		{"name of 255 characters", ConversationDraft{Name: text(strings.Repeat("é", 255))}, "", Unlisted},
		{"name of 256 characters", ConversationDraft{Name: text(strings.Repeat("é", 256))}, "name", 0},
		{"attributes", ConversationDraft{Attributes: []byte(`[]`)}, "attributes", 0},
		{"a bad member", ConversationDraft{Members: []string{"a", " b"}}, "members[1]", 0},
		{"500 with the creator", ConversationDraft{Members: many[1:]}, "", Unlisted},
		{"500 and the creator again", ConversationDraft{Members: append(slices.Clone(many[1:]), "Tom", "1")}, "", Unlisted},
		{"501 with the creator", ConversationDraft{Members: many}, "full", 0},

		{"chatroom", ConversationDraft{Kind: text("chatroom")}, "", Public},
		{"unique chatroom", ConversationDraft{Kind: text("chatroom"), Unique: &yes}, "unique", 0},
		{"chatroom with members", ConversationDraft{Kind: text("chatroom"), Members: []string{"a"}}, "members", 0},
		{"private chatroom", ConversationDraft{Kind: text("chatroom"), Visibility: text("private")}, "visibility", 0},
		{"unlisted chatroom", ConversationDraft{Kind: text("chatroom"), Visibility: text("unlisted")}, "", Unlisted},
		{"service with members", ConversationDraft{Kind: text("service"), Members: []string{}}, "members", 0},
		{"private service", ConversationDraft{Kind: text("service"), Visibility: text("private")}, "", Private},
		{"temporary", ConversationDraft{Kind: text("temporary"), Members: []string{"a"}, TTLSeconds: &ttl}, "", Private},
		{"temporary, alone", ConversationDraft{Kind: text("temporary"), Members: []string{"Tom"}}, "members", 0},
		{"temporary, eleven", ConversationDraft{Kind: text("temporary"), Members: many[:10]}, "members", 0},
		{"temporary, ten", ConversationDraft{Kind: text("temporary"), Members: many[:9]}, "", Private},
		{"temporary with visibility", ConversationDraft{Kind: text("temporary"), Visibility: text("private"), Members: many[:1]}, "visibility", 0},
		{"temporary for no time", ConversationDraft{Kind: text("temporary"), TTLSeconds: &zero, Members: many[:1]}, "ttlSeconds", 0},
		{"unique temporary", ConversationDraft{Kind: text("temporary"), Unique: &yes, Members: many[:1]}, "unique", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := tt.draft.Check(Caller{Client: "Tom"})
			var e *Error
			switch {
			case tt.field == "":
				if err != nil || c.Visibility != tt.want {
					t.Fatalf("Check() = %v, %v; want visibility %d", c, err, tt.want)
				}
				if tt.draft.Kind == nil && c.Members[0] != "Tom" {
					t.Errorf("members = %v, want the creator first", c.Members)
				}
			case tt.field == "full":
				if err != nil || !IsCode(c.CheckFits(), ConversationFull) {
					t.Errorf("Check() = %v, and it fits; want conversation_full", err)
				}
			case !errors.As(err, &e) || len(e.Fields) != 1 || e.Fields[0].Field != tt.field:
				t.Errorf("Check() = %v, want invalid_request for %s", err, tt.field)
			}
		})
	}
	c, err := (&ConversationDraft{Members: []string{"a", "b", "a"}}).Check(Caller{Server: true})
	if err != nil || c.Creator != nil || !slices.Equal(c.Members, []string{"a", "b"}) {
		t.Errorf("a server token's draft = %+v, %v; want no creator and no implicit member", c, err)
	}
}

func TestConversationPatch(t *testing.T) {
	t.Parallel()
	old := "old"
	for _, tt := range []struct {
		name, attributes string // of the patch
		want             string
		changed          bool
	}{
		{``, ``, `old {"a":1}`, false},
		{`"old"`, `{"a":1}`, `old {"a":1}`, false},
		{`"new"`, ``, `new {"a":1}`, true},
		{`null`, ``, `- {"a":1}`, true},
		{``, `{"b":2}`, `old {"a":1,"b":2}`, true},
		{`"old"`, `null`, `old {}`, true},
	} {
		p := ConversationPatch{Name: []byte(tt.name), Attributes: []byte(tt.attributes)}
		if tt.name == "" {
			p.Name = nil
		}
		if tt.attributes == "" {
			p.Attributes = nil
		}
		if err := p.Check(); err != nil {
			t.Errorf("Check(%s, %s) = %v", tt.name, tt.attributes, err)
		}
		name, attributes, changed, err := p.Apply(&old, []byte(`{"a":1}`))
		got := "-"
		if name != nil {
			got = *name
		}
		if got += " " + string(attributes); got != tt.want || changed != tt.changed || err != nil {
			t.Errorf("Apply(%s, %s) = %s, %v, %v; want %s, %v", tt.name, tt.attributes, got, changed, err, tt.want, tt.changed)
		}
	}
	for field, p := range map[string]ConversationPatch{
		"name":       {Name: []byte(`5`)},
		"attributes": {Attributes: []byte(`[1]`)},
	} {
		var e *Error
		if err := p.Check(); !errors.As(err, &e) || len(e.Fields) != 1 || e.Fields[0].Field != field {
			t.Errorf("Check() = %v, want invalid_request for %s", err, field)
		}
	}
}
