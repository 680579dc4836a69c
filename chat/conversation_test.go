package chat_test

import (
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

// heard says which events behind a position each of the clients is to hear, by the log.
// gist is what tells one event of members from another.
// TestMemberEvents is the matrix of API.md section 3: who hears what of a change.
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
			"Jerry": {"invited [Tom,Jerry,Mary] by Tom"}, "Mary": {"invited [Tom,Jerry,Mary] by Tom"}}},
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
// Two that add at once share the free places.
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
	k.remove(client("Tom"), three, "Mary") // that set has another as well
	for id, want := range map[string]bool{pair: false, three: false, second: true} {
		c, err := k.Store.Conversation(t.Context(), client("Tom"), id, false)
		if err != nil || c.Unique != want {
			t.Errorf("conversation %s is unique: %v, %v, want %v", id, c.Unique, err, want)
		}
	}
	k.remove(client("Tom"), pair, "Jerry") // a key once lost does not come back
	if id, made := find("Tom"); id == pair || !made {
		t.Errorf("Tom alone is held by %s", id)
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
