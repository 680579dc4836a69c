package chat_test

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parley/model"
	"parley/repo/repotest"
)

func (k *talk) add(caller model.Caller, id string, clients ...string) *model.MembersChange {
	k.t.Helper()
	c, err := k.AddMembers(k.t.Context(), caller, id, clients)
	if err != nil {
		k.t.Fatalf("AddMembers: %v", err)
	}
	return c
}

func (k *talk) remove(caller model.Caller, id string, clients ...string) *model.MembersChange {
	k.t.Helper()
	c, err := k.RemoveMembers(k.t.Context(), caller, id, clients)
	if err != nil {
		k.t.Fatalf("RemoveMembers: %v", err)
	}
	return c
}

func (k *talk) heard(since int64, clients ...string) map[string][]string {
	k.t.Helper()
	out := make(map[string][]string)
	for _, c := range clients {
		events, err := k.Store.ClientEvents(k.t.Context(), c, nil, since, k.head(), 100)
		if err != nil {
			k.t.Fatal(err)
		}
		for _, e := range events {
			out[c] = append(out[c], strings.TrimSpace(e.Kind.Name()+" "+gist(k.t, e.Data)))
		}
	}
	return out
}

func gist(t *testing.T, data []byte) string {
	t.Helper()
	var e struct {
		ConversationID, At             string
		Members                        []string
		InvitedBy, KickedBy, DeletedBy *string
		UpdatedBy                      *string
		Changes                        json.RawMessage
		Conversation                   *struct{ Members []string }
	}
	if err := json.Unmarshal(data, &e); err != nil || e.ConversationID == "" || e.At == "" {
		t.Errorf("an event is %s: %v", data, err)
	}
	if strings.ContainsAny(string(data), "\r\n") {
		t.Errorf("an event is not on one line: %q", data)
	}
	parts := []string{strings.Join(e.Members, ",")}
	if e.Conversation != nil {
		parts = []string{"[" + strings.Join(e.Conversation.Members, ",") + "]"}
	}
	for _, by := range []*string{e.InvitedBy, e.KickedBy, e.DeletedBy, e.UpdatedBy} {
		if by != nil {
			parts = append(parts, "by "+*by)
		}
	}
	if e.Changes != nil {
		parts = append(parts, string(e.Changes))
	}
	return strings.TrimSpace(strings.Join(parts, " "))
}

func TestMemberEvents(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	everyone := []string{"Jerry", "Mary", "Tom", "William"}
	serverAs := func(id string) model.Caller { return model.Caller{Server: true, Client: id} }
	tests := []struct {
		name string
		do   func(id string)
		want map[string][]string
	}{
		{"add", func(id string) { k.add(client("Tom"), id, "Mary", "William") }, map[string][]string{
			"Tom": {"members_joined Mary,William by Tom"}, "Jerry": {"members_joined Mary,William by Tom"},
			"Mary":    {"invited [Tom,Jerry,Mary,William] by Tom"},
			"William": {"invited [Tom,Jerry,Mary,William] by Tom"}}},
		{"add whom is there", func(id string) { k.add(client("Tom"), id, "Jerry") }, map[string][]string{}},
		{"add one who is there and one who is not", func(id string) { k.add(client("Tom"), id, "Jerry", "Mary") }, map[string][]string{
			"Tom": {"members_joined Mary by Tom"}, "Jerry": {"members_joined Mary by Tom"}, "Mary": {"invited [Tom,Jerry,Mary] by Tom"}}},
		{"join", func(id string) { k.add(client("William"), id, "William") }, map[string][]string{
			"Tom": {"members_joined William by William"}, "Jerry": {"members_joined William by William"},
			"William": {"members_joined William by William"}}},
		{"kick", func(id string) { k.remove(client("Tom"), id, "Jerry") }, map[string][]string{
			"Tom": {"members_left Jerry by Tom"}, "Jerry": {"kicked by Tom"}}},
		{"quit", func(id string) { k.remove(client("Jerry"), id, "Jerry") }, map[string][]string{
			"Tom": {"members_left Jerry by Jerry"}, "Jerry": {"members_left Jerry by Jerry"}}},
		{"kick and quit", func(id string) { k.remove(client("Tom"), id, "Jerry", "Tom") }, map[string][]string{
			"Tom": {"members_left Jerry,Tom by Tom"}, "Jerry": {"kicked by Tom"}}},
		{"kick a stranger", func(id string) { k.remove(client("Tom"), id, "Mary") }, map[string][]string{}},
		{"server adds", func(id string) { k.add(system, id, "Mary") }, map[string][]string{
			"Tom": {"members_joined Mary"}, "Jerry": {"members_joined Mary"}, "Mary": {"invited [Tom,Jerry,Mary]"}}},
		{"server adds for a stranger", func(id string) { k.add(serverAs("William"), id, "Mary") }, map[string][]string{
			"Tom": {"members_joined Mary by William"}, "Jerry": {"members_joined Mary by William"}, "Mary": {"invited [Tom,Jerry,Mary] by William"}}},
		{"server joins for one and adds another", func(id string) { k.add(serverAs("William"), id, "Mary", "William") }, map[string][]string{
			"Tom": {"members_joined Mary,William by William"}, "Jerry": {"members_joined Mary,William by William"},
			"Mary": {"invited [Tom,Jerry,Mary,William] by William"}, "William": {"members_joined Mary,William by William"}}},
		{"server kicks", func(id string) { k.remove(system, id, "Tom") }, map[string][]string{
			"Tom": {"kicked"}, "Jerry": {"members_left Tom"}}},
		{"server kicks all", func(id string) { k.remove(system, id, "Tom", "Jerry") }, map[string][]string{
			"Tom": {"kicked"}, "Jerry": {"kicked"}}},
		{"rename", func(id string) { k.update(client("Jerry"), id, `"<b>"`, "") }, map[string][]string{
			"Tom": {`conversation_info_updated by Jerry {"name":"<b>"}`}, "Jerry": {`conversation_info_updated by Jerry {"name":"<b>"}`}}},
		{"patch with nulls", func(id string) { k.update(system, id, "", "{\"a\": 1,\n\"b\": null}") }, map[string][]string{
			"Tom": {`conversation_info_updated {"attributes":{"a":1,"b":null}}`}, "Jerry": {`conversation_info_updated {"attributes":{"a":1,"b":null}}`}}},
		{"patch that changes nothing", func(id string) { k.update(client("Tom"), id, "null", `{"b":null}`) }, map[string][]string{}},
		{"delete", func(id string) { k.delete(id) }, map[string][]string{
			"Tom": {"conversation_deleted"}, "Jerry": {"conversation_deleted"}}},
	}
	for _, tt := range tests {
		id := k.group("Jerry").ID
		since := k.head()
		tt.do(id)
		if diff := cmp.Diff(tt.want, k.heard(since, everyone...)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, diff)
		}
	}
}

func TestUpdateLeavesOutTheActingSession(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	id := k.group("Jerry").ID
	for _, session := range []string{"", "unknown"} {
		since := k.head()
		k.update(model.Caller{Client: "Tom", Session: session}, id, `"by `+session+`x"`, "")
		e, err := k.Store.Events(t.Context(), since, 10)
		if err != nil || len(e) != 1 || e[0].ExceptClient != "" {
			t.Errorf("session %q: events %+v, %v; want one for everybody", session, e, err)
		}
	}
}

func TestWhatIsKeptOfAStay(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	id := k.group("Jerry").ID
	start := k.head()
	k.update(client("Tom"), id, `"one"`, "")
	k.remove(client("Tom"), id, "Jerry")
	k.update(client("Tom"), id, `"two"`, "")
	k.add(client("Tom"), id, "Jerry")
	k.update(client("Tom"), id, `"three"`, "")
	k.remove(client("Jerry"), id, "Jerry")
	k.update(client("Tom"), id, `"four"`, "")
	want := []string{
		`conversation_info_updated by Tom {"name":"one"}`, "kicked by Tom", "invited [Tom,Jerry] by Tom",
		`conversation_info_updated by Tom {"name":"three"}`, "members_left Jerry by Jerry",
	}
	if diff := cmp.Diff(want, k.heard(start, "Jerry")["Jerry"]); diff != "" {
		t.Errorf("what Jerry hears (-want +got)\n%s", diff)
	}
}

func TestPartialSuccess(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	crowd := make([]string, model.MaxMembers-2)
	for i := range crowd {
		crowd[i] = "c" + strconv.Itoa(i)
	}
	id := k.group(crowd...).ID // one place is free

	got := k.add(client("Tom"), id, "c0", "new1", "new2", "new1", "Tom", "new3")
	full := func(id string) model.MemberFailure {
		return model.MemberFailure{ClientID: id, Code: "conversation_full", LegacyCode: 4304, Detail: "a conversation has at most 500 members"}
	}
	want := &model.MembersChange{Succeeded: []string{"c0", "new1", "Tom"}, Failed: []model.MemberFailure{full("new2"), full("new3")}, MemberCount: 500}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("adding to a nearly full one (-want +got)\n%s", diff)
	}
	got = k.add(client("new2"), id, "new2")
	want = &model.MembersChange{Succeeded: []string{}, Failed: []model.MemberFailure{full("new2")}, MemberCount: 500}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("joining a full one (-want +got)\n%s", diff)
	}
	got = k.remove(client("Tom"), id, "c0", "nobody", "c1", "c0")
	want = &model.MembersChange{Succeeded: []string{"c0", "c1"}, MemberCount: 498, Failed: []model.MemberFailure{
		{ClientID: "nobody", Code: "not_a_member", LegacyCode: 4317, Detail: "this client is not a member of the conversation"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("removing (-want +got)\n%s", diff)
	}
	if got := k.remove(client("stranger"), id, "stranger"); len(got.Succeeded) != 0 || len(got.Failed) != 1 || got.Failed[0].Code != model.NotAMember {
		t.Errorf("a stranger's quitting = %+v, want that he alone failed", got)
	}
	if n := len(k.members(id)); n != 498 {
		t.Errorf("there are %d members, want 498", n)
	}
}

func TestAddRace(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	nodes := []*talk{talkOn(t, dsn), talkOn(t, dsn)}
	crowd := make([]string, 490)
	for i := range crowd {
		crowd[i] = "c" + strconv.Itoa(i)
	}
	id := nodes[0].group(crowd...).ID // 491 are in
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			k := nodes[n%2]
			_, err := k.AddMembers(t.Context(), client("Tom"), id, []string{"a" + strconv.Itoa(n), "b" + strconv.Itoa(n), "c0"})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(nodes[0].members(id)); n != 500 {
		t.Errorf("there are %d members, want 500", n)
	}
}

func TestPrivacy(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	mary := client("Mary")
	for _, visibility := range []string{"public", "unlisted", "private"} {
		c := k.create(client("Tom"), model.ConversationDraft{Members: []string{"Jerry"}, Visibility: &visibility})
		hidden := visibility == "private"
		_, addErr := k.AddMembers(t.Context(), mary, c.ID, []string{"William"})
		_, removeErr := k.RemoveMembers(t.Context(), mary, c.ID, []string{"Jerry"})
		_, updateErr := k.UpdateConversation(t.Context(), mary, c.ID, &model.ConversationPatch{Name: []byte(`"x"`)})
		muteErr := k.Mute(t.Context(), mary, c.ID, true)
		for name, tt := range map[string]struct {
			err    error
			legacy int
		}{"add": {addErr, 4317}, "remove": {removeErr, 4317}, "update": {updateErr, 4309}, "mute": {muteErr, 4317}} {
			var e *model.Error
			switch {
			case !errors.As(tt.err, &e):
				t.Errorf("%s: %s by a stranger: %v", visibility, name, tt.err)
			case hidden && (e.Code != model.ConversationNotFound || e.LegacyCode() != 4303):
				t.Errorf("private: %s by a stranger: %v, want conversation_not_found", name, e)
			case !hidden && (e.Code != model.NotAMember || e.LegacyCode() != tt.legacy):
				t.Errorf("%s: %s by a stranger: %v (%d), want not_a_member (%d)", visibility, name, e, e.LegacyCode(), tt.legacy)
			}
		}
		face, err := k.Store.Conversation(t.Context(), mary, c.ID, true)
		if hidden {
			if !model.IsCode(err, model.ConversationNotFound) {
				t.Errorf("private: reading by a stranger: %v", err)
			}
			if _, err := k.AddMembers(t.Context(), mary, c.ID, []string{"Mary"}); !model.IsCode(err, model.ConversationNotFound) {
				t.Errorf("private: joining: %v", err)
			}
			continue
		}
		if err != nil || len(face.Members) != 0 || face.MemberCount != 2 || face.Viewer != nil || face.LastMessage != nil {
			t.Errorf("%s: the public face is %+v, %v", visibility, face, err)
		}
		if got := k.add(mary, c.ID, "Mary"); len(got.Succeeded) != 1 {
			t.Errorf("%s: joining: %+v", visibility, got)
		}
	}
	for _, id := range []string{"", "nope", strings.Repeat("x", 65), "a\x00b", "\xff"} {
		if _, err := k.Store.Conversation(t.Context(), system, id, false); !model.IsCode(err, model.ConversationNotFound) {
			t.Errorf("reading %q: %v", id, err)
		}
		if _, err := k.AddMembers(t.Context(), mary, id, []string{"Mary"}); !model.IsCode(err, model.ConversationNotFound) {
			t.Errorf("joining %q: %v", id, err)
		}
		if err := k.DeleteConversation(t.Context(), system, id); !model.IsCode(err, model.ConversationNotFound) {
			t.Errorf("deleting %q: %v", id, err)
		}
	}
}

func TestMute(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	id := k.group("Jerry").ID
	for _, muted := range []bool{true, true, false} {
		if err := k.Mute(t.Context(), client("Jerry"), id, muted); err != nil {
			t.Fatal(err)
		}
		c, err := k.Store.Conversation(t.Context(), client("Jerry"), id, false)
		if err != nil || c.Muted != muted {
			t.Errorf("muted = %v, %v; want %v", c.Muted, err, muted)
		}
	}
	if err := k.Mute(t.Context(), system, id, true); !model.IsCode(err, model.ActingClientRequired) {
		t.Errorf("the system mutes: %v", err)
	}
}
