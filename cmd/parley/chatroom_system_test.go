package main_test

import (
	"fmt"
	"maps"
	"slices"

	"parley/cmd/parley/systest"
)

// chatroom is where sessions sit. The rules: a session sits in one room at a time, and
// for as long as it is kept, connected or not. Who sits hears all messages, edits and recalls,
// but for what the session itself does; who does not sit may speak, and hears nothing.
// Nobody hears who comes and goes. A seat that was given up is forgotten, with all that
// its session has not heard yet. Who was away for long misses none of priority high, and
// of the others all but the newest hundred of the room.
type chatroom struct {
	id   string
	said []said
	high map[int]bool // the seqs of priority high
}

// replayed is how many messages that are not of priority high a stream gets afterwards.
const replayed = 100

func (c *chatroom) text(event string, seq int) string {
	return eventText(event, c.id, seq, c.said[seq-1].from, c.said[seq-1].text)
}

// tellSeats has all who sit in a room expect an event, but for one device.
func (w *world) tellSeats(c *chatroom, but *device, event string) {
	for _, d := range w.devices() {
		if d.seat == c && d != but {
			d.want = append(d.want, event)
		}
	}
}

// overtaken has a device that resumes expect no more than it still can get in its room,
// and reports whether that is less than it missed.
func (d *device) overtaken() bool {
	if d.seat == nil {
		return false
	}
	others, before := 0, len(d.want)
	for seq := len(d.seat.said); seq > 0; seq-- {
		if d.seat.high[seq] {
			continue
		}
		if others++; others > replayed {
			missed := upToText(d.seat.text("message", seq))
			d.forget(func(event string) bool { return upToText(event) == missed })
		}
	}
	return len(d.want) < before
}

// stand takes a device's seat away.
func (d *device) stand() {
	if d.seat != nil {
		d.forget(about(d.seat.id))
		d.seat = nil
	}
}

func (w *world) openChatroom() {
	by := pick(w, w.people)
	c := &chatroom{high: map[int]bool{}}
	c.id = w.idIn(w.ask(by.Client, 201, "POST", "/v1/conversations", systest.Object{"kind": "chatroom"}))
	w.logf("  -> %s", c.id)
	w.chatrooms = append(w.chatrooms, c)
}

func (w *world) chatroom() *chatroom {
	if len(w.chatrooms) < 2 {
		w.openChatroom()
	}
	return pick(w, w.chatrooms)
}

// sit has a session take a seat, which it may do while its stream is away too.
func (w *world) sit() {
	c := w.chatroom()
	d := w.pickDevice(func(d *device) bool { return d.known })
	if d == nil {
		return
	}
	path := "/v1/conversations/" + c.id + "/members"
	switch w.rng.IntN(8) {
	case 0:
		w.refused(w.ask(d.owner.Client, 400, "POST", path, systest.Object{"clientIds": []string{d.owner.ID}}), "session_required")
		return
	case 1:
		all := systest.Object{"clientIds": idsOf(w.people)}
		w.refused(w.ask(d.owner.Client, 403, "POST", path, all, header(d)...), "not_allowed_in_chatroom")
		return
	}
	w.sits(d, c)
}

func (w *world) sits(d *device, c *chatroom) {
	w.t.Helper()
	w.settle() // who stands up hears no more of the other room, not even late
	me := []string{d.owner.ID}
	a := w.ask(d.owner.Client, 200, "POST", "/v1/conversations/"+c.id+"/members", systest.Object{"clientIds": me}, header(d)...)
	w.seated(a, me, nil)
	if d.seat != c {
		d.stand()
		d.seat = c
	}
}

// seated checks the answer about seats, which counts no members.
func (w *world) seated(a *systest.Answer, succeeded, failed []string) {
	w.t.Helper()
	w.outcome(&room{}, a, succeeded, failed)
}

// leaveRoom gives up the seat of one session, or all that somebody has in the room.
func (w *world) leaveRoom() {
	c := w.chatroom()
	p := pick(w, w.people)
	acting := w.acting(p)
	if d := w.pickDevice(func(d *device) bool { return d.seat != nil }); d != nil && w.rng.IntN(2) == 0 {
		c, p, acting = d.seat, d.owner, d
	}
	w.settle()
	a := w.ask(p.Client, 200, "DELETE", "/v1/conversations/"+c.id+"/members?clientId="+p.ID, nil, header(acting)...)
	left := false
	for _, d := range p.devices {
		if d.seat == c && (acting == nil || acting == d) {
			left = true
			d.stand()
		}
	}
	if left {
		w.seated(a, []string{p.ID}, nil)
	} else {
		w.seated(a, nil, []string{p.ID})
	}
}

// talk has somebody speak in a room, whether seated or not.
func (w *world) talk() {
	p := pick(w, w.people)
	w.talks(w.chatroom(), p, w.acting(p))
}

func (w *world) talks(c *chatroom, p *person, acting *device) {
	w.t.Helper()
	priority := []string{"high", "normal", "low"}[w.rng.IntN(3)]
	body := systest.Object{"type": "text", "text": fmt.Sprintf("%s %d", priority, w.rng.IntN(1e6)), "priority": priority}
	var m struct {
		systest.Message
		Priority string
	}
	w.ask(p.Client, 201, "POST", "/v1/conversations/"+c.id+"/messages", body, header(acting)...).Into(w.t, &m)
	c.said = append(c.said, said{from: p.ID, text: body["text"].(string), id: m.ID})
	seq := len(c.said)
	c.high[seq] = priority == "high"
	if m.Seq != int64(seq) || m.From != p.ID || (m.Priority == "high") != c.high[seq] {
		w.t.Fatalf("message %d of the chatroom %s: %+v", seq, c.id, m)
	}
	w.tellSeats(c, acting, c.text("message", seq))
}

// crowd has more said at once than who is away will get, but not so much that who is
// here could not keep up. Somebody who sits there is away.
func (w *world) crowd() {
	w.settle()
	c, p := w.chatroom(), pick(w, w.people)
	d := pick(w, w.devices())
	if !d.connected {
		w.reconnect(d)
	}
	w.sits(d, c)
	w.breakOff(d)
	for range 2 {
		for range replayed * 9 / 10 { // two thirds of them not of priority high
			w.talks(c, p, nil)
		}
		w.settle()
	}
}

// changeTalk edits or recalls what was said in a room.
func (w *world) changeTalk() {
	c := w.chatroom()
	if len(c.said) == 0 {
		return
	}
	seq := 1 + w.rng.IntN(len(c.said))
	v := &c.said[seq-1]
	w.settle()
	author := w.person(v.from)
	acting := w.acting(author)
	event := w.amend(author.Client, acting, c.id, v)
	if event == "" {
		return
	}
	w.revise(c.id, seq, v.from, v.text)
	w.tellSeats(c, acting, c.text(event, seq))
	w.converge() // the other node may replay what it does not know to be changed for a moment more
}

// notInChatrooms tries what has no place in a chatroom.
func (w *world) notInChatrooms() {
	c, p := w.chatroom(), pick(w, w.people)
	method, what := "POST", "/read"
	if w.rng.IntN(2) == 0 {
		method, what = "PUT", "/mute"
	}
	w.refused(w.ask(p.Client, 403, method, "/v1/conversations/"+c.id+what, nil), "not_allowed_in_chatroom")
}

// checkChatroom compares what REST says of a room, with everybody connected: its
// history without a gap, for anybody, and who is there, for the operator.
func (w *world) checkChatroom(c *chatroom) {
	w.t.Helper()
	history := pick(w, w.people).At(w.node()).History(w.t, c.id)
	if len(history) != len(c.said) {
		w.t.Fatalf("the history of the chatroom %s has %d messages, want %d", c.id, len(history), len(c.said))
	}
	for i, m := range history {
		if v := c.said[i]; m.Seq != int64(i+1) || m.From != v.from || m.Text != v.text {
			w.t.Fatalf("message %d of the chatroom %s: %+v, want %+v", i+1, c.id, m, v)
		}
	}
	there := map[string]bool{}
	for _, d := range w.devices() {
		if d.seat == c {
			there[d.owner.ID] = true
		}
	}
	path := "/v1/conversations/" + c.id + "/members"
	systest.Eventually(w.t, "all nodes know who is connected", func() error {
		var count struct{ Count int }
		w.operator().At(w.node()).Want(w.t, 200, "GET", path+"/count", nil).Into(w.t, &count)
		var page struct{ Items []struct{ ClientID string } }
		w.operator().At(w.node()).Want(w.t, 200, "GET", path+"?limit=500", nil).Into(w.t, &page)
		var got []string
		for _, item := range page.Items {
			got = append(got, item.ClientID)
		}
		if count.Count != len(there) || setOf(got) != setOf(slices.Collect(maps.Keys(there))) {
			return fmt.Errorf("%d in the chatroom, %v, want %v", count.Count, got, there)
		}
		return nil
	})
	w.refused(w.ask(pick(w, w.people).Client, 403, "GET", path, nil), "server_scope_required")
}
