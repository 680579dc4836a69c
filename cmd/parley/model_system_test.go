package main_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"parley/cmd/parley/systest"
)

// world is what the server ought to be: who is in which conversation, what was said,
// and what each device ought to have been told, in this order. Chatrooms, services and
// so on have files of their own, which say what is special about them.
type world struct {
	t         *testing.T
	rng       *rand.Rand
	nodes     []*systest.Server
	people    []*person
	rooms     []*room
	chatrooms []*chatroom
	services  []*service
	posts     int // of all services
	sent      []sentKey
	ops       []string
}

type person struct {
	*systest.Client
	devices  []*device
	sessions int     // how many it ever had
	diary    string  // a conversation of nobody else, in which the operator marks where a fresh start ends
	marks    int     // how many there are
	seen     bool    // has opened a stream once
	missed   []*post // the broadcasts to everyone since no stream of this one was open
}

// device is a session and what it ought to get of the log.
type device struct {
	*systest.Device
	owner     *person
	known     bool // it has logged in once: from then on everything is for it
	connected bool
	offline   bool // offline=messages
	seat      *chatroom
	want      []string
}

// room is an ordinary conversation, or a temporary one.
type room struct {
	id        string
	private   bool
	unique    bool
	temporary bool
	pair      bool   // of two who stay, and want receipts
	key       string // the member set that it is the unique, or the temporary, conversation of; empty: none
	name      string
	said      []said
	members   map[string]*member
	deleted   bool
}

type member struct {
	joined int // the last seq before
	read   int // seq
	muted  bool
}

type said struct {
	from, text, id string
	receipt        bool
	void           bool // recalled or removed: it does not count
	removed        bool
}

// sentKey is a send that can be sent again.
type sentKey struct {
	room *room
	from *person
	key  string
	body systest.Object
	id   string
	seq  int
}

func (w *world) logf(format string, args ...any) { w.ops = append(w.ops, fmt.Sprintf(format, args...)) }

func pick[T any](w *world, of []T) T { return of[w.rng.IntN(len(of))] }

// some returns a random selection, at least one.
func some(w *world, of []*person) []*person {
	of = slices.Clone(of)
	w.rng.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
	return of[:1+w.rng.IntN(len(of))]
}

func idsOf(people []*person) []string {
	list := make([]string, len(people))
	for i, p := range people {
		list[i] = p.ID
	}
	return list
}

func sorted(ids []string) []string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return ids
}

func (w *world) person(id string) *person {
	i := slices.IndexFunc(w.people, func(p *person) bool { return p.ID == id })
	return w.people[i]
}

// heard is what a device got of the log, but for what comes at a time of the server's choosing.
func (d *device) heard() []systest.Frame {
	return slices.DeleteFunc(d.Durable(), func(f systest.Frame) bool { return f.Event == deliveredEvent })
}

// devices are everybody's.
func (w *world) devices() []*device {
	var all []*device
	for _, p := range w.people {
		all = append(all, p.devices...)
	}
	return all
}

// forget has a device that is away not expect any more what it has not got yet, as far as ok says so.
func (d *device) forget(ok func(event string) bool) {
	if got := len(d.heard()); d.known && !d.connected {
		d.want = slices.Concat(d.want[:got], slices.DeleteFunc(slices.Clone(d.want[got:]), ok))
	}
}

// about says whether an event belongs to a conversation.
func about(id string) func(event string) bool {
	return func(event string) bool { return strings.Contains(event, " "+id+" ") }
}

// tell has all sessions of clients expect an event, but for one device.
func (w *world) tell(clients []string, but *device, event string) {
	for _, id := range clients {
		for _, d := range w.person(id).devices {
			if d.known && d != but {
				d.want = append(d.want, event)
			}
		}
	}
}

func (r *room) ids() []string {
	list := make([]string, 0, len(r.members))
	for id := range r.members {
		list = append(list, id)
	}
	return sorted(list)
}

func (r *room) enter(ids []string) {
	for _, id := range ids {
		r.members[id] = &member{joined: len(r.said), read: len(r.said)}
	}
}

func (r *room) leave(ids []string) {
	for _, id := range ids {
		delete(r.members, id)
	}
}

// unread is how many messages of others a member has not read, from a seq on.
func (r *room) unread(id string, read int) int {
	n := 0
	for _, m := range r.said[read:] {
		if m.from != id && !m.void {
			n++
		}
	}
	return n
}

func setOf(ids []string) string { return strings.Join(sorted(ids), " ") }

// rekey lets the unique key follow the members. A key once lost does not come back.
func (w *world) rekey(r *room) {
	if !r.unique {
		return
	}
	r.key = ""
	set := setOf(r.ids())
	if r.unique = w.uniqueRoom(set) == nil; r.unique {
		r.key = set
	}
}

func (w *world) uniqueRoom(set string) *room {
	for _, r := range w.rooms {
		if !r.deleted && r.unique && !r.temporary && r.key == set && len(r.members) > 0 {
			return r
		}
	}
	return nil
}

// The events as texts, with everything that a receiver may rely on.

func invitedText(r *room, by string) string {
	return fmt.Sprintf("invited %s by %s: %v", r.id, by, r.ids())
}

func joinedText(r *room, ids []string, by string) string {
	return fmt.Sprintf("members_joined %s %v by %s", r.id, sorted(ids), by)
}

func kickedText(r *room, by string) string { return fmt.Sprintf("kicked %s by %s", r.id, by) }

func leftText(r *room, ids []string, by string) string {
	return fmt.Sprintf("members_left %s %v by %s", r.id, sorted(ids), by)
}

func messageText(r *room, seq int) string {
	return changeText("message", r, seq)
}

func renamedText(r *room, by string) string {
	return fmt.Sprintf("conversation_info_updated %s name=%s by %s", r.id, r.name, by)
}

func deletedText(r *room) string { return fmt.Sprintf("conversation_deleted %s by <nil>", r.id) }

func readText(r *room, n int) string {
	return fmt.Sprintf("unread_messages_count_update %s %d", r.id, n)
}

const system = "<nil>" // who acts when a server token does so for nobody

// describe is a frame of the log in the words above.
func describe(t testing.TB, f systest.Frame) string {
	t.Helper()
	var v struct {
		At, ConversationID, MessageID, ClientID   string
		Message                                   *systest.Message
		Conversation                              *struct{ Members []string }
		Members                                   []string
		InvitedBy, KickedBy, UpdatedBy, DeletedBy any
		Changes                                   struct{ Name string }
		Conversations                             []struct {
			ConversationID      string
			UnreadMessagesCount int
			LastMessage         json.RawMessage
		}
		More bool
	}
	if err := json.Unmarshal(f.Data, &v); err != nil {
		t.Errorf("%v: %s", err, f)
	}
	if v.At == "" {
		t.Errorf("without at: %s", f)
	}
	switch f.Event {
	case "invited":
		return fmt.Sprintf("invited %s by %v: %v", v.ConversationID, v.InvitedBy, sorted(v.Conversation.Members))
	case "members_joined":
		return fmt.Sprintf("members_joined %s %v by %v", v.ConversationID, sorted(v.Members), v.InvitedBy)
	case "kicked":
		return fmt.Sprintf("kicked %s by %v", v.ConversationID, v.KickedBy)
	case "members_left":
		return fmt.Sprintf("members_left %s %v by %v", v.ConversationID, sorted(v.Members), v.KickedBy)
	case "message", "message_update", "message_recall":
		if v.Message.ConversationID != v.ConversationID {
			t.Errorf("two conversations: %s", f)
		}
		return fmt.Sprintf("%s %s #%d %s: %s", f.Event, v.ConversationID, v.Message.Seq, v.Message.From, v.Message.Text)
	case "conversation_info_updated":
		return fmt.Sprintf("conversation_info_updated %s name=%s by %v", v.ConversationID, v.Changes.Name, v.UpdatedBy)
	case "conversation_deleted":
		return fmt.Sprintf("conversation_deleted %s by %v", v.ConversationID, v.DeletedBy)
	case readEvent:
		return fmt.Sprintf("%s %s %s by %s", f.Event, v.ConversationID, v.MessageID, v.ClientID)
	case "unread_messages_count_update":
		if len(v.Conversations) != 1 || string(v.Conversations[0].LastMessage) != "null" || v.More {
			t.Errorf("of a read, one conversation without its last message is told: %s", f)
		}
		c := v.Conversations[0]
		return fmt.Sprintf("unread_messages_count_update %s %d", c.ConversationID, c.UnreadMessagesCount)
	}
	return f.String()
}

// check compares what a device got of the log with what it ought to have; with complete, nothing may be missing.
func (w *world) check(d *device, complete bool) {
	w.t.Helper()
	durable := d.heard()
	for i, f := range durable {
		switch got := describe(w.t, f); {
		case i >= len(d.want):
			w.t.Fatalf("%s of %s got what is not for it, or twice: %s", d.Session, d.owner.ID, got)
		case got != d.want[i]:
			w.t.Fatalf("%s of %s got as its event %d:\n  %s, want\n  %s\nbefore it:\n  %s\nbehind it:\n  %s", d.Session, d.owner.ID, i, got, d.want[i],
				strings.Join(d.want[max(0, i-5):i], "\n  "), describeAll(w.t, durable[i+1:min(len(durable), i+4)]))
		}
	}
	if complete && len(durable) < len(d.want) {
		w.t.Fatalf("%s of %s misses: %s", d.Session, d.owner.ID, d.want[len(durable)])
	}
}

func describeAll(t testing.TB, frames []systest.Frame) string {
	var list []string
	for _, f := range frames {
		list = append(list, describe(t, f))
	}
	return strings.Join(list, "\n  ")
}

// checkIDs: an id stands for one event, and a message's event has one id.
func (w *world) checkIDs() {
	w.t.Helper()
	of := make(map[string]string)
	ids := make(map[string]string)
	for _, p := range w.people {
		for _, d := range p.devices {
			for _, f := range d.heard() {
				text := upToText(describe(w.t, f))
				if was := of[f.ID]; was != "" && was != text {
					w.t.Fatalf("the id %s stands for %s and for %s", f.ID, was, text)
				}
				of[f.ID] = text
				if f.Event != "message" {
					continue
				}
				if was := ids[text]; was != "" && was != f.ID {
					w.t.Fatalf("%s has the ids %s and %s", text, was, f.ID)
				}
				ids[text] = f.ID
			}
		}
	}
}

// settle waits until all connected devices have everything, and checks them.
func (w *world) settle() {
	w.t.Helper()
	for _, p := range w.people {
		for _, d := range p.devices {
			if !d.connected {
				continue
			}
			w.await(d)
			w.check(d, true)
		}
	}
}

func (w *world) await(d *device) {
	w.t.Helper()
	systest.Eventually(w.t, "a device has everything", func() error {
		got := d.heard()
		if len(got) >= len(d.want) {
			return nil
		}
		if d.Ended() {
			w.t.Fatalf("the stream of %s of %s ended: %v", d.Session, d.owner.ID, d.Frames()[max(0, len(d.Frames())-3):])
		}
		w.check(d, false)
		return fmt.Errorf("%s of %s has %d of %d events, the next is %s", d.Session, d.owner.ID, len(got), len(d.want), d.want[len(got)])
	})
}
