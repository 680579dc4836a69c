package main_test

import (
	"errors"
	"slices"
	"strings"
	"time"

	"parley/cmd/parley/systest"
)

// Temporary conversations. The rules: the members it was made with stay, and the same
// members get the same one for as long as it lives. When it ends it is gone, for
// streams that come back too; who was in it is told so.

// someTwo returns two people or more.
func (w *world) someTwo() []*person {
	for {
		if who := some(w, w.people); len(who) > 1 {
			return who
		}
	}
}

func (w *world) createTemporary() {
	who := w.someTwo()
	by, ids := who[0], idsOf(who)
	body := systest.Object{"kind": "temporary", "members": ids[1:]}
	for _, r := range w.rooms {
		if r.temporary && !r.deleted && r.key == setOf(ids) {
			if id := w.idIn(w.ask(by.Client, 200, "POST", "/v1/conversations", body)); id != r.id {
				w.t.Fatalf("the temporary conversation of %v is %s, not %s", ids, id, r.id)
			}
			return
		}
	}
	r := &room{private: true, temporary: true, key: setOf(ids), members: map[string]*member{}}
	r.id = w.idIn(w.ask(by.Client, 201, "POST", "/v1/conversations", body))
	if !strings.HasPrefix(r.id, "_tmp:") {
		w.t.Fatalf("a temporary conversation is called %s", r.id)
	}
	r.enter(ids)
	w.rooms = append(w.rooms, r)
	w.tell(ids[1:], nil, invitedText(r, by.ID))
}

// expire has a temporary conversation and a broadcast live for a second, and waits for
// their end. A message in the one may come too late; who is away then hears nothing of it any more.
func (w *world) expire() {
	for _, r := range w.rooms { // or there would be no new one
		if r.temporary && !r.deleted && len(r.members) == len(w.people) {
			return
		}
	}
	by, ids := w.people[0], idsOf(w.people)
	r := &room{private: true, temporary: true, members: map[string]*member{}}
	r.id = w.idIn(w.ask(by.Client, 201, "POST", "/v1/conversations", systest.Object{"kind": "temporary", "members": ids[1:], "ttlSeconds": 2}))
	r.enter(ids)
	path := "/v1/conversations/" + r.id
	w.tell(ids[1:], nil, invitedText(r, by.ID))
	if a := by.At(w.node()).Do(w.t, "POST", path+"/messages", systest.Object{"type": "text", "text": "soon gone"}); a.Status == 201 {
		r.said = append(r.said, said{from: by.ID, text: "soon gone"})
		w.tell(ids, nil, messageText(r, 1))
	} else {
		w.refused(a, "conversation_expired")
	}
	s := w.service()
	v := &post{scope: toEveryone, over: true}
	v.from, v.text = by.ID, "of the hour"
	until := time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339Nano)
	body := systest.Object{"type": "text", "text": v.text, "conversationId": s.id, "validUntil": until}
	w.posted(s, v, w.ask(w.operator(), 201, "POST", "/v1/broadcasts", body, "Parley-As", by.ID))
	w.tell(ids, nil, s.text("message", len(s.posts)))
	w.settle()

	outsider := w.nodes[0].As(systest.Unique("outsider"))
	systest.Eventually(w.t, "a temporary conversation and a broadcast end", func() error {
		if a := by.Client.Do(w.t, "GET", path, nil); a.Code() != "conversation_expired" {
			return errors.New(a.String())
		}
		var page struct{ Items []systest.Message }
		w.operator().Want(w.t, 200, "GET", "/v1/broadcasts?conversationId="+s.id, nil).Into(w.t, &page)
		if slices.ContainsFunc(page.Items, func(m systest.Message) bool { return m.ID == v.id }) {
			return errors.New("the broadcast is still valid")
		}
		return nil
	})
	for _, d := range w.devices() {
		d.forget(about(r.id))
	}
	w.refused(w.ask(w.person(ids[1]).Client, 410, "POST", path+"/messages", systest.Object{"type": "text", "text": "late"}), "conversation_expired")
	w.refused(w.ask(outsider, 404, "GET", path, nil), "conversation_not_found")
}
