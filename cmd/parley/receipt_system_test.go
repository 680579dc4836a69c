package main_test

import (
	"errors"
	"fmt"
	"slices"

	"parley/cmd/parley/systest"
)

// Receipts. The rules: of messages between two that ask for it, the sender is told once
// per move of the receiver's watermark, with the newest message that the move covers: how far it was
// delivered, at a time of the server's choosing and maybe several at once, and how far it was
// read, which is when the receiver says so. In any group the sender may ask who has read a message.

const (
	deliveredEvent = "last_delivered_at_update"
	readEvent      = "last_read_at_update"
)

// tellRead has the other of two expect the receipt of what one has read, behind a seq up to another.
func (w *world) tellRead(r *room, reader string, behind, upto int) {
	if !r.pair {
		return
	}
	for seq := upto; seq > behind; seq-- {
		// Whom the operator speaks for may be no member, and is told nothing.
		if v := r.said[seq-1]; v.receipt && v.from != reader && r.members[v.from] != nil {
			w.tell([]string{v.from}, nil, fmt.Sprintf("%s %s %s by %s", readEvent, r.id, v.id, reader))
			return
		}
	}
}

// exchange has somebody speak in a pair, or read there.
func (w *world) exchange() {
	pairs := slices.DeleteFunc(slices.Clone(w.rooms), func(r *room) bool { return !r.pair })
	if r := pick(w, pairs); w.rng.IntN(2) == 0 {
		w.sendIn(r)
	} else {
		w.readIn(r)
	}
}

// lookAtReceipts asks who has read a message. Of those who came after it nothing is expected.
func (w *world) lookAtReceipts() {
	r := w.room()
	if r == nil || len(r.said) == 0 {
		return
	}
	seq := 1 + w.rng.IntN(len(r.said))
	v := r.said[seq-1]
	path := "/v1/conversations/" + r.id + "/messages/" + v.id + "/receipts"
	if v.removed {
		w.refused(w.ask(w.operator(), 404, "GET", path, nil), "message_not_found")
		return
	}
	for _, id := range r.ids() {
		if id != v.from {
			w.refused(w.ask(w.person(id).Client, 403, "GET", path, nil), "message_ownership_required")
			break
		}
	}
	by := w.operator()
	if r.members[v.from] != nil {
		by = w.person(v.from).Client
	}
	var page struct {
		Items []struct {
			ClientID        string
			Delivered, Read bool
		}
	}
	a := w.ask(by, 200, "GET", path, nil)
	a.Into(w.t, &page)
	others := slices.DeleteFunc(r.ids(), func(id string) bool { return id == v.from })
	var got []string
	for _, item := range page.Items {
		got = append(got, item.ClientID)
		m := r.members[item.ClientID]
		if m != nil && (seq > m.joined && item.Read != (m.read >= seq) || item.Read && !item.Delivered) {
			w.t.Fatalf("receipts of message %d of %s: %s, want of %s %+v", seq, r.id, a, item.ClientID, m)
		}
	}
	if setOf(got) != setOf(others) {
		w.t.Fatalf("receipts of message %d of %s: %s, want those of %v", seq, r.id, a, others)
	}
}

// checkReceipts has all pairs talk once more, with everybody connected: it is told to be
// delivered, and then to be read. All that was told before must have moved on each time.
func (w *world) checkReceipts() {
	w.t.Helper()
	for _, r := range w.rooms {
		if !r.pair {
			continue
		}
		for _, from := range r.ids() {
			body := systest.Object{"type": "text", "text": "the last", "receipt": true}
			var m systest.Message
			w.ask(w.person(from).Client, 201, "POST", "/v1/conversations/"+r.id+"/messages", body).Into(w.t, &m)
			r.said = append(r.said, said{from: from, text: "the last", id: m.ID, receipt: true})
			w.tell(r.ids(), nil, messageText(r, len(r.said)))
			for _, d := range w.person(from).devices {
				systest.Eventually(w.t, "the last message is delivered", func() error {
					if last := w.delivered(d, r); last != m.ID {
						return errors.New(last)
					}
					return nil
				})
			}
		}
	}
	for _, r := range w.rooms {
		for _, id := range r.ids() {
			if r.pair {
				w.reads(r, w.person(id), nil, len(r.said), systest.Object{})
			}
		}
	}
	w.settle()
}

// delivered is the message up to which a device was told that all of a pair's is delivered.
func (w *world) delivered(d *device, r *room) (last string) {
	w.t.Helper()
	seq := 0
	for _, f := range d.Durable() {
		var v struct{ ConversationID, ClientID, MessageID string }
		if f.Into(w.t, &v); f.Event != deliveredEvent || v.ConversationID != r.id {
			continue
		}
		i := slices.IndexFunc(r.said, func(v2 said) bool { return v2.id == v.MessageID })
		if i < seq || !r.said[i].receipt || r.said[i].from != d.owner.ID || v.ClientID == d.owner.ID || r.members[v.ClientID] == nil {
			w.t.Fatalf("%s of %s, behind message %d: %s", d.Session, d.owner.ID, seq, f)
		}
		seq, last = i+1, v.MessageID
	}
	return last
}
