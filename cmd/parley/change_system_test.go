package main_test

import (
	"fmt"
	"strings"

	"parley/cmd/parley/systest"
)

// change edits, recalls or removes a message. Whoever is away will get what he has not
// got yet as it is from now on, and of a removed one nothing.
func (w *world) change() {
	r := w.room()
	if r == nil || len(r.said) == 0 || r.pair {
		return
	}
	seq := 1 + w.rng.IntN(len(r.said))
	v := &r.said[seq-1]
	path := "/v1/conversations/" + r.id + "/messages/" + v.id
	if v.removed {
		w.refused(w.ask(w.operator(), 404, "GET", path, nil), "message_not_found")
		return
	}
	w.settle()
	by, d := w.operator(), (*device)(nil)
	if author := w.person(v.from); r.members[v.from] != nil && w.rng.IntN(4) > 0 {
		by, d = author.Client, w.acting(author)
	}
	event := ""
	if w.rng.IntN(4) > 0 {
		if event = w.amend(by, d, r.id, v); event == "" {
			return
		}
	} else {
		w.ask(w.operator(), 204, "DELETE", path, nil)
		v.void, v.removed = true, true
	}
	w.rewrite(r, seq)
	if event != "" {
		w.tell(r.ids(), d, changeText(event, r, seq))
	}
	w.converge() // the other node may replay what it does not know to be changed for a moment more
}

// amend edits or recalls a message, and returns the event that this makes; empty: none.
func (w *world) amend(by *systest.Client, acting *device, conversation string, v *said) string {
	w.t.Helper()
	path := "/v1/conversations/" + conversation + "/messages/" + v.id
	if w.rng.IntN(2) == 0 {
		body := systest.Object{"type": "text", "text": fmt.Sprintf("edit %d", w.rng.IntN(1e6))}
		if v.void {
			w.refused(w.ask(by, 409, "PATCH", path, body, header(acting)...), "message_recalled")
			return ""
		}
		w.ask(by, 200, "PATCH", path, body, header(acting)...)
		v.text = body["text"].(string)
		return "message_update"
	}
	w.ask(by, 200, "POST", path+"/recall", nil, header(acting)...)
	if v.void {
		return "" // again: that is no event
	}
	v.text, v.void = "", true
	return "message_recall"
}

// rewrite changes what those who are away are still to get of a message.
func (w *world) rewrite(r *room, seq int) {
	v := r.said[seq-1]
	w.revise(r.id, seq, v.from, v.text)
	if !v.removed {
		return
	}
	gone := fmt.Sprintf(" %s #%d %s", r.id, seq, v.from)
	for _, d := range w.devices() {
		d.forget(func(event string) bool { return strings.HasSuffix(upToText(event), gone) })
	}
}

// revise has those who are away get a message as it is now.
func (w *world) revise(conversation string, seq int, from, text string) {
	for _, d := range w.devices() {
		if !d.known || d.connected {
			continue
		}
		for i := len(d.heard()); i < len(d.want); i++ {
			for _, event := range messageEvents {
				if now := eventText(event, conversation, seq, from, text); upToText(d.want[i]) == upToText(now) {
					d.want[i] = now
				}
			}
		}
	}
}

// messageEvents are those that show a message.
var messageEvents = []string{"message", "message_update", "message_recall"}

func changeText(event string, r *room, seq int) string {
	return eventText(event, r.id, seq, r.said[seq-1].from, r.said[seq-1].text)
}

func eventText(event, conversation string, seq int, from, text string) string {
	return fmt.Sprintf("%s %s #%d %s: %s", event, conversation, seq, from, text)
}

// upToText is what a message's event says but for the content, which may differ from one who hears of it to another.
func upToText(event string) string {
	if strings.HasPrefix(event, "message") {
		event, _, _ = strings.Cut(event, ": ")
	}
	return event
}
