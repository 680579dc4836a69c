package chat_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parley/chat"
	"parley/model"
	"parley/repo"
	"parley/repo/repotest"
)

// talk is a running service on a database of its own, as the tests of conversations use it.
type talk struct {
	*chat.Service
	t *testing.T
}

func newTalk(t *testing.T) *talk {
	t.Helper()
	return talkOn(t, repotest.DSN(t))
}

func talkOn(t *testing.T, dsn string) *talk {
	t.Helper()
	s := chat.New(chat.Config{DSN: dsn, ReconnectGrace: 10 * time.Second}, repotest.Open(t, dsn), slog.New(slog.DiscardHandler))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(t.Context()) })
	return &talk{s, t}
}

func client(id string) model.Caller { return model.Caller{Client: id} }

var system = model.Caller{Server: true}

func (k *talk) create(caller model.Caller, d model.ConversationDraft) *model.Conversation {
	k.t.Helper()
	c, made, err := k.CreateConversation(k.t.Context(), caller, &d)
	if err != nil || !made {
		k.t.Fatalf("CreateConversation = made %v, %v", made, err)
	}
	return c
}

// group makes Tom's conversation with others.
func (k *talk) group(others ...string) *model.Conversation {
	k.t.Helper()
	return k.create(client("Tom"), model.ConversationDraft{Members: others})
}

func (k *talk) head() int64 {
	k.t.Helper()
	l, err := k.Store.Log(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	return l.Head
}

// members are read with a server's eyes.
func (k *talk) members(id string) []string {
	k.t.Helper()
	c, err := k.Store.Conversation(k.t.Context(), system, id, false)
	if err != nil {
		k.t.Fatal(err)
	}
	if c.MemberCount != len(c.Members) {
		k.t.Errorf("memberCount = %d, but the members are %v", c.MemberCount, c.Members)
	}
	return c.Members
}

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

// heard says which events behind a position each of the clients is to hear, by the log.
func (k *talk) heard(since int64, clients ...string) map[string][]string {
	k.t.Helper()
	out := make(map[string][]string)
	for _, c := range clients {
		events, err := k.Store.ClientEvents(k.t.Context(), c, since, k.head(), 100)
		if err != nil {
			k.t.Fatal(err)
		}
		for _, e := range events {
			out[c] = append(out[c], strings.TrimSpace(e.Kind.Name()+" "+gist(k.t, e.Data)))
		}
	}
	return out
}

// gist is what tells one event of members from another.
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

// TestMemberEvents is the matrix of API.md section 3: who hears what of a change.
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
			"Mary":    {"invited [Jerry,Mary,Tom,William] by Tom"},
			"William": {"invited [Jerry,Mary,Tom,William] by Tom"}}},
		{"add whom is there", func(id string) { k.add(client("Tom"), id, "Jerry") }, map[string][]string{}},
		{"add one who is there and one who is not", func(id string) { k.add(client("Tom"), id, "Jerry", "Mary") }, map[string][]string{
			"Tom": {"members_joined Mary by Tom"}, "Jerry": {"members_joined Mary by Tom"}, "Mary": {"invited [Jerry,Mary,Tom] by Tom"}}},
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
			"Tom": {"members_joined Mary"}, "Jerry": {"members_joined Mary"}, "Mary": {"invited [Jerry,Mary,Tom]"}}},
		{"server adds for a stranger", func(id string) { k.add(serverAs("William"), id, "Mary") }, map[string][]string{
			"Tom": {"members_joined Mary by William"}, "Jerry": {"members_joined Mary by William"}, "Mary": {"invited [Jerry,Mary,Tom] by William"}}},
		{"server joins for one and adds another", func(id string) { k.add(serverAs("William"), id, "Mary", "William") }, map[string][]string{
			"Tom": {"members_joined Mary,William by William"}, "Jerry": {"members_joined Mary,William by William"},
			"Mary": {"invited [Jerry,Mary,Tom,William] by William"}, "William": {"members_joined Mary,William by William"}}},
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

func (k *talk) update(caller model.Caller, id, name, attributes string) *model.Conversation {
	k.t.Helper()
	p := model.ConversationPatch{}
	if name != "" {
		p.Name = []byte(name)
	}
	if attributes != "" {
		p.Attributes = []byte(attributes)
	}
	c, err := k.UpdateConversation(k.t.Context(), caller, id, &p)
	if err != nil {
		k.t.Fatalf("UpdateConversation: %v", err)
	}
	return c
}

func (k *talk) delete(id string) {
	k.t.Helper()
	if err := k.DeleteConversation(k.t.Context(), system, id); err != nil {
		k.t.Fatalf("DeleteConversation: %v", err)
	}
}

func TestCreateEvents(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	for _, tt := range []struct {
		name    string
		caller  model.Caller
		members []string
		want    map[string][]string
	}{
		{"with others", client("Tom"), []string{"Jerry", "Tom", "Mary", "Jerry"}, map[string][]string{
			"Jerry": {"invited [Jerry,Mary,Tom] by Tom"}, "Mary": {"invited [Jerry,Mary,Tom] by Tom"}}},
		{"alone", client("Tom"), nil, map[string][]string{}},
		{"by the system", system, []string{"Tom"}, map[string][]string{"Tom": {"invited [Tom]"}}},
		{"by the system, empty", system, nil, map[string][]string{}},
		{"for a client", model.Caller{Server: true, Client: "Mary"}, []string{"Tom"}, map[string][]string{"Tom": {"invited [Mary,Tom] by Mary"}}},
	} {
		since := k.head()
		c := k.create(tt.caller, model.ConversationDraft{Members: tt.members})
		if diff := cmp.Diff(tt.want, k.heard(since, "Tom", "Jerry", "Mary")); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.name, diff)
		}
		for _, m := range k.members(c.ID) { // all, the creator too, hear of what comes next
			since := k.head()
			k.update(system, c.ID, strconv.Quote(m), "")
			if got := k.heard(since, m)[m]; len(got) != 1 {
				t.Errorf("%s: then %s hears %v", tt.name, m, got)
			}
		}
	}
}

// The acting session is left out of an update, and only it.
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
		`conversation_info_updated by Tom {"name":"one"}`, "kicked by Tom", "invited [Jerry,Tom] by Tom",
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

// Two that add at once share the free places.
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

func TestUniqueRace(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	nodes := []*talk{talkOn(t, dsn), talkOn(t, dsn)}
	yes := true
	var mu sync.Mutex
	var ids []string
	made := 0
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			me, other := "Tom", "Jerry"
			if n%4 >= 2 {
				me, other = other, me
			}
			c, isNew, err := nodes[n%2].CreateConversation(t.Context(), client(me), &model.ConversationDraft{Members: []string{other}, Unique: &yes})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids = append(ids, c.ID)
			if isNew {
				made++
			}
		})
	}
	wg.Wait()
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 1 || made != 1 {
		t.Errorf("racing creates made %d conversations: %v", made, ids)
	}
}

func TestUniqueKeyFollowsTheMembers(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	yes := true
	find := func(members ...string) (string, bool) {
		t.Helper()
		c, made, err := k.CreateConversation(t.Context(), client(members[0]), &model.ConversationDraft{Members: members, Unique: &yes})
		if err != nil {
			t.Fatal(err)
		}
		return c.ID, made
	}
	pair, _ := find("Tom", "Jerry")
	three, _ := find("Tom", "Jerry", "Mary")
	if pair == three {
		t.Fatal("another set of members found the same conversation")
	}
	k.add(client("Tom"), pair, "William")
	if id, made := find("William", "Jerry", "Tom"); id != pair || made {
		t.Errorf("the new set is held by %s (made %v), want %s", id, made, pair)
	}
	second, made := find("Tom", "Jerry")
	if !made {
		t.Errorf("the old set still finds %s", second)
	}
	k.remove(client("Tom"), pair, "William") // that set has another by now
	if id, _ := find("Tom", "Jerry"); id != second {
		t.Errorf("the set is held by %s, want %s, which had it first", id, second)
	}
	k.remove(client("Tom"), pair, "Jerry") // Tom alone: free
	if id, _ := find("Tom"); id != pair {
		t.Errorf("Tom alone is held by %s, want %s", id, pair)
	}
	k.delete(second)
	if _, made := find("Tom", "Jerry"); !made {
		t.Error("a deleted conversation still holds its set")
	}
}

// Keys change hands while others look for them: at any moment one set has at most one conversation.
func TestUniqueKeyRace(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	nodes := []*talk{talkOn(t, dsn), talkOn(t, dsn)}
	yes := true
	draft := func(members ...string) *model.ConversationDraft {
		return &model.ConversationDraft{Members: members, Unique: &yes}
	}
	a, _, err := nodes[0].CreateConversation(t.Context(), client("Tom"), draft("Jerry"))
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := nodes[0].CreateConversation(t.Context(), client("Tom"), draft("Jerry", "Mary"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	do := func(f func(k *talk) error) {
		for n := range 2 {
			wg.Go(func() {
				for range 15 {
					if err := f(nodes[n]); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	do(func(k *talk) error {
		_, err := k.AddMembers(t.Context(), client("Tom"), a.ID, []string{"Mary"})
		return err
	})
	do(func(k *talk) error {
		_, err := k.RemoveMembers(t.Context(), client("Tom"), a.ID, []string{"Mary"})
		return err
	})
	do(func(k *talk) error {
		_, err := k.AddMembers(t.Context(), client("Tom"), b.ID, []string{"Mary"})
		return err
	})
	do(func(k *talk) error {
		_, err := k.RemoveMembers(t.Context(), client("Tom"), b.ID, []string{"Mary"})
		return err
	})
	do(func(k *talk) error {
		_, _, err := k.CreateConversation(t.Context(), client("Tom"), draft("Jerry", "Mary"))
		return err
	})
	wg.Wait()
	for _, id := range []string{a.ID, b.ID} {
		nodes[0].members(id) // the count is right
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

func TestUpdate(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	name := "old"
	c := k.create(client("Tom"), model.ConversationDraft{Members: []string{"Jerry"}, Name: &name, Attributes: []byte(`{"a": 1, "old": {"x": 1}}`)})
	if string(c.Attributes) != `{"a":1,"old":{"x":1}}` {
		t.Errorf("attributes = %s", c.Attributes)
	}
	same := k.update(client("Tom"), c.ID, `"old"`, `{"old":{"x":1.0},"none":null}`)
	if same.UpdatedAt != c.UpdatedAt {
		t.Error("what changes nothing moves updatedAt")
	}
	got := k.update(client("Jerry"), c.ID, `null`, `{"pinned":true,"old":null}`)
	if got.Name != nil || string(got.Attributes) != `{"a":1,"pinned":true}` || got.UpdatedAt.Before(c.UpdatedAt.Time) {
		t.Errorf("updated: %v %s", got.Name, got.Attributes)
	}
	k.add(client("Tom"), c.ID, "Mary")
	if after := k.update(client("Tom"), c.ID, "", `{}`); after.UpdatedAt != got.UpdatedAt {
		t.Error("a new member moves updatedAt")
	}
	big := `{"big":"` + strings.Repeat("x", model.MaxAttributesBytes-30) + `"}`
	k.update(client("Tom"), c.ID, "", big)
	_, err := k.UpdateConversation(t.Context(), client("Tom"), c.ID, &model.ConversationPatch{Attributes: []byte(`{"more":"` + strings.Repeat("x", 30) + `"}`)})
	if !model.IsCode(err, model.InvalidRequest) {
		t.Errorf("attributes grown too large: %v", err)
	}
}

func TestDeleteRemovesEverything(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	id := k.group("Jerry").ID
	for range 3 {
		d := &model.Draft{Type: model.TypeText, Text: ptr("hi"), MentionList: []string{"Jerry"}}
		if _, _, err := k.Send(t.Context(), client("Tom"), id, d); err != nil {
			t.Fatal(err)
		}
	}
	k.delete(id)
	for _, table := range []string{"messages", "mentions", "members"} {
		var n int
		if err := k.Store.DB().QueryRow("SELECT count(*) FROM "+table+" WHERE conversation_id = $1", id).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d rows of %s are left, %v", n, table, err)
		}
	}
	if err := k.DeleteConversation(t.Context(), system, id); !model.IsCode(err, model.ConversationNotFound) {
		t.Errorf("deleting again: %v", err)
	}
}

func ptr[T any](v T) *T { return &v }

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

func TestOwnConversations(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	ctx := t.Context()
	var ids []string
	for range 7 {
		ids = append(ids, k.group("Jerry").ID)
	}
	k.create(client("Mary"), model.ConversationDraft{}) // not Tom's
	send := func(from, id string, d model.Draft) {
		t.Helper()
		d.Type, d.Text = model.TypeText, ptr("hi")
		if _, _, err := k.Send(ctx, client(from), id, &d); err != nil {
			t.Fatal(err)
		}
	}
	send("Jerry", ids[1], model.Draft{})
	send("Tom", ids[3], model.Draft{})
	send("Jerry", ids[3], model.Draft{MentionList: []string{"Tom"}})
	send("Jerry", ids[5], model.Draft{MentionAll: true})
	send("Tom", ids[5], model.Draft{})

	all, err := k.Store.Conversations(ctx, repo.OwnConversations{Client: "Tom", Members: true, LastMessage: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 7 || !slices.IsSortedFunc(all, func(a, b *model.Conversation) int {
		x, y := repo.ActivityOf(a), repo.ActivityOf(b)
		if c := y.At.Compare(x.At.Time); c != 0 {
			return c
		}
		return strings.Compare(x.ID, y.ID)
	}) {
		t.Errorf("the list has %d, or is not by activity", len(all))
	}
	of := func(id string) *model.Conversation {
		i := slices.IndexFunc(all, func(c *model.Conversation) bool { return c.ID == id })
		return all[i]
	}
	for _, tt := range []struct {
		id        string
		unread    int64
		mentioned bool
		last      int64
	}{{ids[0], 0, false, 0}, {ids[1], 1, false, 1}, {ids[3], 1, true, 2}, {ids[5], 1, true, 2}} {
		c := of(tt.id)
		last := int64(0)
		if c.LastMessage != nil {
			last = c.LastMessage.Seq
		}
		if c.UnreadMessagesCount != tt.unread || c.UnreadMessagesMentioned != tt.mentioned || last != tt.last || c.Role != model.RoleOwner {
			t.Errorf("%+v of %+v: last %d; want %+v", c.Viewer, c, last, tt)
		}
	}
	var paged []*model.Conversation
	var after *repo.Activity
	for {
		page, err := k.Store.Conversations(ctx, repo.OwnConversations{Client: "Tom", Members: true, LastMessage: true, After: after, Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
		place := repo.ActivityOf(page[len(page)-1])
		after = &place
	}
	if diff := cmp.Diff(all, paged); diff != "" {
		t.Errorf("by pages (-all +paged)\n%s", diff)
	}
	skipped, err := k.Store.Conversations(ctx, repo.OwnConversations{Client: "Tom", Skip: 5, Limit: 10})
	if err != nil || len(skipped) != 2 || skipped[0].ID != all[5].ID || len(skipped[0].Members) != 0 {
		t.Errorf("skipping five leaves %v, %v", skipped, err)
	}
	unread, err := k.Store.Conversations(ctx, repo.OwnConversations{Client: "Tom", Unread: true})
	if err != nil || len(unread) != 3 {
		t.Errorf("unread in %d, %v; want 3", len(unread), err)
	}
}

// How far the other of two has read.
func TestLastReadAt(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	id := k.group("Jerry").ID
	m, _, err := k.Send(t.Context(), client("Tom"), id, &model.Draft{Type: model.TypeText, Text: ptr("hi")})
	if err != nil {
		t.Fatal(err)
	}
	look := func() *model.Viewer {
		t.Helper()
		c, err := k.Store.Conversation(t.Context(), client("Tom"), id, false)
		if err != nil {
			t.Fatal(err)
		}
		return c.Viewer
	}
	if v := look(); v.LastReadAt != nil || v.LastDeliveredAt != nil {
		t.Errorf("before: %+v", v)
	}
	if _, err := k.Store.DB().Exec("UPDATE members SET read_seq = 1 WHERE client_id = 'Jerry'"); err != nil {
		t.Fatal(err)
	}
	if v := look(); v.LastReadAt == nil || !v.LastReadAt.Equal(m.SentAt.Time) || !v.LastDeliveredAt.Equal(m.SentAt.Time) {
		t.Errorf("after: %+v, want %v", v, m.SentAt)
	}
	k.add(client("Tom"), id, "Mary")
	if v := look(); v.LastReadAt != nil {
		t.Errorf("with three members: %+v", v)
	}
}
