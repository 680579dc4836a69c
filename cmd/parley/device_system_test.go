package main_test

import (
	"fmt"
	"slices"
	"testing"

	"parley/cmd/parley/systest"
)

// Streams come and go: by the network, by their clients, with their servers.

// connect brings a device that is away back, now and then without its position.
func (w *world) connect() {
	d := w.pickDevice(func(d *device) bool { return !d.connected })
	if d == nil {
		return
	}
	if d.known && w.rng.IntN(6) == 0 {
		d.Forget()
	}
	w.reconnect(d)
}

func (w *world) pickDevice(ok func(*device) bool) *device {
	found := slices.DeleteFunc(w.devices(), func(d *device) bool { return !ok(d) })
	if len(found) == 0 {
		return nil
	}
	return pick(w, found)
}

func (w *world) reconnect(d *device) {
	w.t.Helper()
	fresh := d.Last() == ""
	overtaken := false
	if fresh {
		w.converge() // "from now on" is meant literally below
		// What was missed before a start without a position is not told any more.
		d.want = d.want[:len(d.heard())]
	} else {
		overtaken = d.overtaken()
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
	if overtaken { // what is the newest is settled now, not when the log is read
		w.await(d)
	}
	d.owner.seen, d.owner.missed = true, nil
}

// converge waits until the nodes know of the same position.
func (w *world) converge() {
	w.t.Helper()
	agree(w.t, w.nodes[0], w.nodes[1])
}

// introduction is what a fresh start tells before it goes live: all up to a message in
// the person's diary, but for what comes by itself.
func (w *world) introduction(d *device, n int) []systest.Frame {
	w.t.Helper()
	p := d.owner
	p.marks++
	text := fmt.Sprintf("mark %d", p.marks)
	w.ask(w.operator(), 201, "POST", "/v1/conversations/"+p.diary+"/messages", systest.Object{"type": "text", "text": text}, "Parley-As", p.ID)
	w.tell([]string{p.ID}, nil, eventText("message", p.diary, p.marks, p.ID, text))
	marks := func(f systest.Frame) bool { return f.Event == "message" && systest.TextOf(f) == text }
	d.AwaitBehind(w.t, n, "the mark behind a fresh start", marks)
	frames := d.Frames()[n:]
	frames = frames[:slices.IndexFunc(frames, marks)]
	return slices.DeleteFunc(slices.Clone(frames), func(f systest.Frame) bool { return f.Event == "ping" || f.Event == deliveredEvent })
}

// checkFresh compares what a fresh start tells: the unread counts, the messages if they
// were asked for, and the broadcasts.
func (w *world) checkFresh(d *device, n int) {
	w.t.Helper()
	frames := w.introduction(d, n)
	for _, f := range frames {
		if f.ID != "" {
			w.t.Fatalf("a fresh start of %s tells what belongs to the log: %s", d.owner.ID, f)
		}
	}
	if len(frames) == 0 {
		w.t.Fatalf("a fresh start of %s tells nothing", d.owner.ID)
	}
	unread := w.unreadOf(d.owner.ID)
	w.checkCounts(d.owner, frames[0], unread)
	frames = frames[1:]
	var offline []string
	if d.offline {
		for _, texts := range unread {
			offline = append(offline, newest(20, texts)...)
		}
		if len(frames) < len(offline) {
			w.t.Fatalf("%s has %d unread messages, and is told %v", d.owner.ID, len(offline), frames)
		}
		w.checkOffline(d.owner, frames[:len(offline)], unread)
	}
	w.checkBroadcasts(d.owner, describeEach(w.t, frames[len(offline):]), offline)
}

func newest[T any](n int, of []T) []T { return of[max(0, len(of)-n):] }

func describeEach(t testing.TB, frames []systest.Frame) []string {
	list := make([]string, len(frames))
	for i, f := range frames {
		list[i] = describe(t, f)
	}
	return list
}

// unreadOf are the messages of each conversation that a client has not read, oldest first.
func (w *world) unreadOf(client string) map[string][]string {
	unread := make(map[string][]string)
	for _, r := range w.rooms {
		if m := r.members[client]; m != nil && !r.deleted {
			for seq := m.read + 1; seq <= len(r.said); seq++ {
				if v := r.said[seq-1]; v.from != client && !v.void {
					unread[r.id] = append(unread[r.id], messageText(r, seq))
				}
			}
		}
	}
	for _, s := range w.services {
		for _, seq := range s.unread(client) {
			unread[s.id] = append(unread[s.id], s.text("message", seq))
		}
	}
	return unread
}

func (w *world) checkCounts(p *person, f systest.Frame, unread map[string][]string) {
	w.t.Helper()
	var counts struct {
		Conversations []struct {
			ConversationID      string
			UnreadMessagesCount int
			LastMessage         *systest.Message
		}
		More bool
	}
	f.Into(w.t, &counts)
	if f.Event != "unread_messages_count_update" || counts.More || len(counts.Conversations) != len(unread) {
		w.t.Fatalf("a fresh start of %s: %s, want %v", p.ID, f, unread)
	}
	for _, c := range counts.Conversations {
		if c.UnreadMessagesCount != len(unread[c.ConversationID]) || c.LastMessage == nil {
			w.t.Fatalf("a fresh start of %s: %s, want %v", p.ID, f, unread)
		}
	}
}

// checkOffline: the newest twenty unread messages of each conversation, oldest first, none of them one's own.
func (w *world) checkOffline(p *person, frames []systest.Frame, unread map[string][]string) {
	w.t.Helper()
	got := make(map[string][]string)
	for _, f := range frames {
		var v struct{ ConversationID string }
		f.Into(w.t, &v)
		got[v.ConversationID] = append(got[v.ConversationID], describe(w.t, f))
	}
	for id, texts := range unread {
		if want := newest(20, texts); !slices.Equal(got[id], want) {
			w.t.Fatalf("the unread messages of %s in %s:\n%q, want\n%q", p.ID, id, got[id], want)
		}
	}
}

// cut breaks a connection, whatever is on its way.
func (w *world) cut() {
	if d := w.pickDevice(func(d *device) bool { return d.connected }); d != nil {
		w.breakOff(d)
	}
}

func (w *world) breakOff(d *device) {
	w.t.Helper()
	w.logf("%s: %s is cut", d.owner.ID, d.Session)
	d.Cut()
	d.connected = false
	systest.Eventually(w.t, "the server knows that a stream is gone", func() error {
		if s := d.Client.Sessions(w.t)[d.Session]; s.Connected {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	w.converge() // a node that has not heard yet where the session went takes it for its own
	w.check(d, false)
}

// logOut ends a session for good: its stream, its seat, its id. The person takes another device.
func (w *world) logOut() {
	d := w.pickDevice(func(d *device) bool { return d.known })
	if d == nil {
		return
	}
	w.ask(d.owner.Client, 204, "DELETE", "/v1/sessions/"+d.Session, nil)
	if d.connected {
		d.AwaitEnd(w.t)
		if last := newest(1, d.Frames()); last[0].Event != "session_closed" {
			w.t.Fatalf("%s of %s is logged out, and the last it hears is %s", d.Session, d.owner.ID, last[0])
		}
	}
	w.check(d, false)
	w.converge() // the other node may let it in, and throw it out again, until it knows
	if status, err := d.Connect(); err != nil || status != 204 {
		w.t.Fatalf("a session that was logged out connects: %d, %v", status, err)
	}
	d.owner.devices[slices.Index(d.owner.devices, d)] = d.owner.device(d.offline)
}

// device is a new one of a person.
func (p *person) device(offline bool) *device {
	p.sessions++
	d := &device{owner: p, Device: p.Client.Device(fmt.Sprintf("d%d", p.sessions)), offline: offline}
	if offline {
		d.Query.Set("offline", "messages")
	}
	return d
}

// restart ends a node, in order or not, and starts it again.
func (w *world) restart() {
	node := w.node()
	how, end := "stopped", node.Stop
	if w.rng.IntN(2) == 0 {
		how, end = "killed", node.Kill
	}
	w.logf("%s is %s and started again", node.Addr, how)
	end()
	for _, d := range w.devices() {
		if d.connected && d.Client.Server == node {
			d.Cut()
			d.connected = false
			w.check(d, false)
		}
	}
	node.Launch()
	node.AwaitReady()
}
