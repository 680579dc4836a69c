package main_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// Random operations, one at a time, against a small model; streams are open all the
// while on two nodes, break and resume. Every session must get exactly what the table
// of events in API.md promises it: once, in order, and nothing else.
//
// PARLEY_TEST_SEED repeats a run, PARLEY_TEST_SECONDS lengthens it.
func TestRandomOperations(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	nodes := []*systest.Server{
		systest.Start(t, dsn, "PARLEY_RECONNECT_GRACE=1h"), systest.Start(t, dsn, "PARLEY_RECONNECT_GRACE=1h"),
	}
	seed := uint64(number("PARLEY_TEST_SEED", int(time.Now().UnixNano()%1e9)))
	end := time.Now().Add(time.Duration(number("PARLEY_TEST_SECONDS", 15)) * time.Second)
	rounds := 0
	for ; rounds < 2 || time.Now().Before(end); rounds++ {
		round(t, nodes, seed+uint64(rounds))
	}
	t.Logf("%d rounds from seed %d", rounds, seed)
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func round(t *testing.T, nodes []*systest.Server, seed uint64) {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), nodes: nodes}
	defer func() {
		if t.Failed() {
			t.Logf("PARLEY_TEST_SEED=%d does these operations:\n%s", seed, strings.Join(w.ops, "\n"))
		}
	}()
	for i := range 4 {
		p := &person{Client: nodes[0].As(systest.Unique(fmt.Sprintf("p%d", i)))}
		for n := range 1 + w.rng.IntN(3) {
			d := &device{owner: p, Device: p.Client.Device(fmt.Sprintf("d%d", n))}
			if w.rng.IntN(2) == 0 {
				d.offline = true
				d.Query.Set("offline", "messages")
			}
			p.devices = append(p.devices, d)
			defer d.Cut()
		}
		w.people = append(w.people, p)
	}
	operations := []struct {
		weight int
		do     func()
	}{{4, w.create}, {5, w.add}, {4, w.remove}, {16, w.send}, {3, w.resend}, {3, w.rename}, {1, w.mute}, {4, w.read}, {5, w.change}, {1, w.destroy}, {5, w.connect}, {4, w.cut}}
	var bag []func()
	for _, op := range operations {
		for range op.weight {
			bag = append(bag, op.do)
		}
	}
	for range 120 {
		pick(w, bag)()
	}
	w.finish()
}

// connect brings a device that is away back, now and then without its position.
func (w *world) connect() {
	var away []*device
	for _, p := range w.people {
		for _, d := range p.devices {
			if !d.connected {
				away = append(away, d)
			}
		}
	}
	if len(away) == 0 {
		return
	}
	d := pick(w, away)
	if d.known && w.rng.IntN(6) == 0 {
		d.Forget()
	}
	w.reconnect(d)
}

func (w *world) reconnect(d *device) {
	w.t.Helper()
	fresh := d.Last() == ""
	if fresh {
		w.converge() // "from now on" is meant literally below
		// What was missed before a start without a position is not told any more.
		d.want = d.want[:len(d.Durable())]
	}
	d.Client = d.owner.At(w.node())
	last, n := d.Last(), len(d.Frames())
	w.logf("%s: %s connects to %s, behind %q", d.owner.ID, d.Session, d.Client.Server.Addr, last)
	if status, err := d.Connect(); err != nil || status != 200 {
		w.t.Fatalf("%s of %s connects: %d, %v", d.Session, d.owner.ID, status, err)
	}
	d.known, d.connected = true, true
	ready := d.AwaitBehind(w.t, n, "ready", func(systest.Frame) bool { return true })
	var v struct {
		Resumed  bool
		Position string
	}
	ready.Into(w.t, &v)
	if ready.Event != "ready" || v.Resumed == fresh || ready.ID != v.Position || !fresh && v.Position != last {
		w.t.Fatalf("%s of %s continues behind %q: %s", d.Session, d.owner.ID, last, ready)
	}
	if fresh {
		w.checkFresh(d, n+1)
	}
}

// converge waits until the nodes know of the same position.
func (w *world) converge() {
	w.t.Helper()
	agree(w.t, w.nodes[0], w.nodes[1])
}

// checkFresh compares what a fresh start tells: the unread counts, and the messages if they were asked for.
func (w *world) checkFresh(d *device, n int) {
	w.t.Helper()
	want := make(map[string]int)
	messages := 0
	for _, r := range w.rooms {
		if m := r.members[d.owner.ID]; m != nil && !r.deleted {
			if count := r.unread(d.owner.ID, m.read); count > 0 {
				want[r.id] = count
				messages += min(count, 20)
			}
		}
	}
	var counts struct {
		Conversations []struct {
			ConversationID      string
			UnreadMessagesCount int
			LastMessage         *systest.Message
		}
		More bool
	}
	f := d.AwaitBehind(w.t, n, "the unread counts", func(systest.Frame) bool { return true })
	f.Into(w.t, &counts)
	if f.Event != "unread_messages_count_update" || f.ID != "" || counts.More || len(counts.Conversations) != len(want) {
		w.t.Fatalf("a fresh start of %s: %s, want %v", d.owner.ID, f, want)
	}
	for _, c := range counts.Conversations {
		if c.UnreadMessagesCount != want[c.ConversationID] || c.LastMessage == nil {
			w.t.Fatalf("a fresh start of %s: %s, want %v", d.owner.ID, f, want)
		}
	}
	if !d.offline || messages == 0 {
		return
	}
	var frames []systest.Frame
	systest.Eventually(w.t, "the unread messages", func() error {
		if frames = d.Frames()[n+1:]; len(frames) < messages {
			return fmt.Errorf("%d of %d", len(frames), messages)
		}
		return nil
	})
	w.checkOffline(d, frames[:messages])
}

// checkOffline: the newest twenty unread messages of each conversation, oldest first, none of them one's own.
func (w *world) checkOffline(d *device, frames []systest.Frame) {
	w.t.Helper()
	got := make(map[string][]string)
	for _, f := range frames {
		var v struct{ ConversationID string }
		f.Into(w.t, &v)
		if f.Event != "message" || f.ID != "" {
			w.t.Fatalf("an unread message: %s", f)
		}
		got[v.ConversationID] = append(got[v.ConversationID], describe(w.t, f))
	}
	for _, r := range w.rooms {
		m := r.members[d.owner.ID]
		if m == nil || r.deleted {
			continue
		}
		var want []string
		for seq := m.read + 1; seq <= len(r.said); seq++ {
			if v := r.said[seq-1]; v.from != d.owner.ID && !v.void {
				want = append(want, messageText(r, seq))
			}
		}
		if want = want[max(0, len(want)-20):]; !slices.Equal(got[r.id], want) {
			w.t.Fatalf("the unread messages of %s in %s:\n%q, want\n%q", d.owner.ID, r.id, got[r.id], want)
		}
	}
}

// cut breaks a connection, whatever is on its way.
func (w *world) cut() {
	var here []*device
	for _, p := range w.people {
		for _, d := range p.devices {
			if d.connected {
				here = append(here, d)
			}
		}
	}
	if len(here) == 0 {
		return
	}
	d := pick(w, here)
	w.logf("%s: %s is cut", d.owner.ID, d.Session)
	d.Cut()
	d.connected = false
	w.check(d, false)
}

// finish brings all devices back, has one last thing happen to everybody, and compares everything.
func (w *world) finish() {
	w.t.Helper()
	for _, p := range w.people {
		for _, d := range p.devices {
			if !d.connected {
				w.reconnect(d)
			}
		}
	}
	last := &room{members: map[string]*member{}}
	last.id = w.idIn(w.ask(w.operator(), 201, "POST", "/v1/conversations", systest.Object{"members": idsOf(w.people)}))
	last.enter(idsOf(w.people))
	w.tell(idsOf(w.people), nil, invitedText(last, system))
	w.settle()
	w.checkIDs()
	for _, r := range w.rooms {
		if !r.deleted {
			w.checkRoom(r)
		}
	}
}

// checkRoom compares what REST says of a conversation.
func (w *world) checkRoom(r *room) {
	w.t.Helper()
	history := w.operator().At(w.node()).History(w.t, r.id)
	for i, v := range r.said {
		if v.removed {
			continue
		}
		if len(history) == 0 || history[0].Seq != int64(i+1) || history[0].From != v.from || history[0].Text != v.text {
			w.t.Fatalf("the history of %s goes on with %+v, want %d: %+v", r.id, history, i+1, v)
		}
		history = history[1:]
	}
	if len(history) != 0 {
		w.t.Fatalf("the history of %s has more: %+v", r.id, history)
	}
	for id, m := range r.members {
		var v struct {
			Name                *string
			Members             []string
			MemberCount         int
			Muted               bool
			UnreadMessagesCount int
			LastMessageAt       json.RawMessage
		}
		a := w.person(id).At(w.node()).Want(w.t, 200, "GET", "/v1/conversations/"+r.id, nil)
		a.Into(w.t, &v)
		name := ""
		if v.Name != nil {
			name = *v.Name
		}
		if name != r.name || setOf(v.Members) != setOf(r.ids()) || v.MemberCount != len(r.members) || v.Muted != m.muted ||
			v.UnreadMessagesCount != r.unread(id, m.read) || (string(v.LastMessageAt) == "null") != (len(r.said) == 0) {
			w.t.Fatalf("%s for %s: %s, want %+v and %+v", r.id, id, a, r, m)
		}
	}
}
