package main_test

import (
	"fmt"
	"slices"
	"strings"

	"parley/cmd/parley/systest"
)

// change edits, recalls or removes a message. Whoever is away will get what he has not
// got yet as it is from now on, and of a removed one nothing.
func (w *world) change() {
	r := w.room()
	if r == nil || len(r.said) == 0 {
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
	switch w.rng.IntN(4) {
	case 0, 1:
		body := systest.Object{"type": "text", "text": fmt.Sprintf("edit %d", w.rng.IntN(1e6))}
		if v.void {
			w.refused(w.ask(by, 409, "PATCH", path, body, header(d)...), "message_recalled")
			return
		}
		w.ask(by, 200, "PATCH", path, body, header(d)...)
		v.text, event = body["text"].(string), "message_update"
	case 2:
		w.ask(by, 200, "POST", path+"/recall", nil, header(d)...)
		if v.void {
			return // again: that is no event
		}
		v.text, v.void, event = "", true, "message_recall"
	default:
		w.ask(w.operator(), 204, "DELETE", path, nil)
		v.void, v.removed = true, true
	}
	w.rewrite(r, seq)
	if event != "" {
		w.tell(r.ids(), d, changeText(event, r, seq))
	}
	w.converge() // the other node may replay what it does not know to be changed for a moment more
}

// rewrite changes what those who are away are still to get of a message.
func (w *world) rewrite(r *room, seq int) {
	var about []string
	for _, event := range []string{"message", "message_update", "message_recall"} {
		about = append(about, changeText(event, r, seq))
	}
	for _, p := range w.people {
		for _, d := range p.devices {
			if !d.known || d.connected {
				continue
			}
			got := len(d.Durable())
			pending := slices.Clone(d.want[got:])
			for i, e := range pending {
				for _, now := range about {
					if upToText(e) == upToText(now) {
						pending[i] = now
					}
				}
			}
			d.want = slices.Concat(d.want[:got], slices.DeleteFunc(pending, func(e string) bool {
				return r.said[seq-1].removed && slices.Contains(about, e)
			}))
		}
	}
}

func changeText(event string, r *room, seq int) string {
	return fmt.Sprintf("%s %s #%d %s: %s", event, r.id, seq, r.said[seq-1].from, r.said[seq-1].text)
}

// upToText is what a message's event says but for the content, which may differ from one who hears of it to another.
func upToText(event string) string {
	if strings.HasPrefix(event, "message") {
		event, _, _ = strings.Cut(event, ": ")
	}
	return event
}
