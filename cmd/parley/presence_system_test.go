package main_test

import (
	"slices"

	"parley/cmd/parley/systest"
)

// lookForPresence asks who is online: who has a session that was not logged out, since
// here sessions are not lost. A client sees those with whom it shares an ordinary or
// temporary conversation, and itself; the operator sees everybody.
func (w *world) lookForPresence() {
	by, of := pick(w, w.people), some(w, w.people)
	client, everybody := by.Client, false
	if w.rng.IntN(4) == 0 {
		client, everybody = w.operator(), true
	}
	var want []string
	for _, p := range of {
		online := slices.ContainsFunc(p.devices, func(d *device) bool { return d.known })
		if online && (everybody || p == by || w.acquainted(by.ID, p.ID)) {
			want = append(want, p.ID)
		}
	}
	var v struct{ Online []string }
	a := w.ask(client, 200, "POST", "/v1/presence/query", systest.Object{"clientIds": idsOf(of)})
	if a.Into(w.t, &v); !slices.Equal(v.Online, want) {
		w.t.Fatalf("online for %s: %v, want %v", client.ID, v.Online, want)
	}
}

func (w *world) acquainted(one, other string) bool {
	return slices.ContainsFunc(w.rooms, func(r *room) bool { return !r.deleted && r.members[one] != nil && r.members[other] != nil })
}
