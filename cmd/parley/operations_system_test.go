package main_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"parley/cmd/parley/systest"
)

// The operations of the property test: each asks the server and moves the model.

// node is where the next request goes.
func (w *world) node() *systest.Server { return pick(w, w.nodes) }

// room picks one that is there, for an operation that needs one; nil without any.
func (w *world) room() *room {
	var live []*room
	for _, r := range w.rooms {
		if !r.deleted {
			live = append(live, r)
		}
	}
	if len(live) == 0 {
		return nil
	}
	return pick(w, live)
}

// openRoom picks a room whose members may change.
func (w *world) openRoom() *room {
	if r := w.room(); r != nil && !r.pair {
		return r
	}
	return nil
}

// fixed tries to change a temporary conversation, and reports whether it is one.
func (w *world) fixed(r *room, by *person, method, path string, body any) bool {
	w.t.Helper()
	if !r.temporary {
		return false
	}
	if r.members[by.ID] == nil {
		w.refused(w.ask(by.Client, 404, method, path, body), "conversation_not_found")
	} else {
		w.refused(w.ask(by.Client, 403, method, path, body), "not_allowed_in_temporary")
	}
	return true
}

// inside picks a member of a room and, half of the time, the device that acts.
func (w *world) inside(r *room) (*person, *device) {
	if len(r.members) == 0 {
		return nil, nil
	}
	p := w.person(pick(w, r.ids()))
	return p, w.acting(p)
}

func (w *world) acting(p *person) *device {
	var known []*device
	for _, d := range p.devices {
		if d.known { // a session that is away for less than the grace acts as well
			known = append(known, d)
		}
	}
	if len(known) == 0 || w.rng.IntN(2) == 0 {
		return nil
	}
	return pick(w, known)
}

func header(d *device) []string {
	if d == nil {
		return nil
	}
	return []string{"Parley-Session", d.Session}
}

func (w *world) ask(p *systest.Client, status int, method, path string, body any, header ...string) *systest.Answer {
	w.t.Helper()
	n := w.node()
	w.logf("%s: %s %s %v %v", p.ID, method, path, body, header)
	return p.At(n).Want(w.t, status, method, path, body, header...)
}

func (w *world) operator() *systest.Client { return w.nodes[0].Operator() }

func (w *world) create() {
	by := pick(w, w.people)
	ids := idsOf(some(w, w.people))
	all := ids
	if !slices.Contains(ids, by.ID) {
		all = append(slices.Clone(ids), by.ID)
	}
	body := systest.Object{"members": ids}
	r := &room{members: map[string]*member{}}
	client, inviter, invited := by.Client, by.ID, slices.DeleteFunc(slices.Clone(all), func(id string) bool { return id == by.ID })
	switch w.rng.IntN(4) {
	case 0:
		body["visibility"], r.private = "private", true
	case 1:
		body["unique"], r.unique, r.private = true, true, true
		if there := w.uniqueRoom(setOf(all)); there != nil {
			if id := w.idIn(w.ask(client, 200, "POST", "/v1/conversations", body)); id != there.id {
				w.t.Fatalf("the unique conversation of %v is %s, not %s", all, there.id, id)
			}
			return
		}
	case 2:
		client, inviter, invited, all = w.operator(), system, ids, ids
	}
	r.id = w.idIn(w.ask(client, 201, "POST", "/v1/conversations", body))
	w.logf("  -> %s", r.id)
	w.rooms = append(w.rooms, r)
	r.enter(all)
	w.rekey(r)
	w.tell(invited, nil, invitedText(r, inviter))
}

func (w *world) idIn(a *systest.Answer) string {
	var v struct{ ID string }
	a.Into(w.t, &v)
	return v.ID
}

// add has a member invite, somebody join by himself, or a stranger try either.
func (w *world) add() {
	r := w.openRoom()
	if r == nil {
		return
	}
	by := pick(w, w.people)
	who := some(w, w.people)
	if w.rng.IntN(2) == 0 {
		who = []*person{by}
	}
	ids := idsOf(who)
	path, body := "/v1/conversations/"+r.id+"/members", systest.Object{"clientIds": ids}
	if w.fixed(r, by, "POST", path, body) {
		return
	}
	_, isMember := r.members[by.ID]
	self := len(ids) == 1 && ids[0] == by.ID
	if !isMember && r.private {
		w.refused(w.ask(by.Client, 404, "POST", path, body), "conversation_not_found")
		return
	}
	if !isMember && !self {
		w.refused(w.ask(by.Client, 403, "POST", path, body), "not_a_member")
		return
	}
	before := r.ids()
	joining := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(before, id) })
	a := w.ask(by.Client, 200, "POST", path, body, header(w.acting(by))...)
	r.enter(joining)
	w.outcome(r, a, ids, nil)
	if len(joining) == 0 {
		return
	}
	w.rekey(r)
	if self {
		w.tell(r.ids(), nil, joinedText(r, joining, by.ID))
		return
	}
	w.tell(before, nil, joinedText(r, joining, by.ID))
	w.tell(joining, nil, invitedText(r, by.ID))
}

// remove has a member kick others, quit, or both at once.
func (w *world) remove() {
	r := w.openRoom()
	if r == nil {
		return
	}
	by := pick(w, w.people)
	who := some(w, w.people)
	if w.rng.IntN(2) == 0 {
		who = []*person{by}
	}
	ids := idsOf(who)
	q := url.Values{"clientId": ids}
	path := "/v1/conversations/" + r.id + "/members?" + q.Encode()
	if w.fixed(r, by, "DELETE", path, nil) {
		return
	}
	_, isMember := r.members[by.ID]
	self := len(ids) == 1 && ids[0] == by.ID
	if !isMember && (r.private || !self) {
		status, code := 403, "not_a_member"
		if r.private {
			status, code = 404, "conversation_not_found"
		}
		w.refused(w.ask(by.Client, status, "DELETE", path, nil), code)
		return
	}
	var leaving, strangers, kicked []string
	for _, id := range ids {
		if r.members[id] == nil {
			strangers = append(strangers, id)
			continue
		}
		leaving = append(leaving, id)
		if id != by.ID {
			kicked = append(kicked, id)
		}
	}
	a := w.ask(by.Client, 200, "DELETE", path, nil, header(w.acting(by))...)
	r.leave(leaving)
	w.outcome(r, a, leaving, strangers)
	if len(leaving) == 0 {
		return
	}
	w.rekey(r)
	w.tell(kicked, nil, kickedText(r, by.ID))
	w.tell(r.ids(), nil, leftText(r, leaving, by.ID))
	if slices.Contains(leaving, by.ID) {
		w.tell([]string{by.ID}, nil, leftText(r, leaving, by.ID))
	}
}

func (w *world) refused(a *systest.Answer, code string) {
	w.t.Helper()
	if a.Code() != code {
		w.t.Fatalf("refused with %s, want %s", a, code)
	}
}

func (w *world) outcome(r *room, a *systest.Answer, succeeded, failed []string) {
	w.t.Helper()
	var v struct {
		Succeeded   []string
		Failed      []struct{ ClientID, Code string }
		MemberCount int
	}
	a.Into(w.t, &v)
	var strangers []string
	for _, f := range v.Failed {
		if f.Code != "not_a_member" {
			w.t.Fatalf("failed: %s", a)
		}
		strangers = append(strangers, f.ClientID)
	}
	if setOf(v.Succeeded) != setOf(succeeded) || setOf(strangers) != setOf(failed) || v.MemberCount != len(r.members) {
		w.t.Fatalf("%s, want %v, but not %v, and %d members", a, succeeded, failed, len(r.members))
	}
}

// send has a member speak, or an operator for anybody, or a stranger try.
func (w *world) send() {
	if r := w.room(); r != nil {
		w.sendIn(r)
	}
}

func (w *world) sendIn(r *room) {
	w.t.Helper()
	p := pick(w, w.people)
	d := w.acting(p)
	body := systest.Object{"type": "text", "text": fmt.Sprintf("text %d", w.rng.IntN(1e6))}
	heads := header(d)
	key := ""
	if w.rng.IntN(2) == 0 {
		key = systest.Unique("key")
		heads = append(heads, "Idempotency-Key", key)
	}
	silent := w.rng.IntN(5) == 0
	if silent {
		body["noSync"] = true
	}
	wanted := r.pair && w.rng.IntN(2) == 0
	if wanted {
		body["receipt"] = true
	}
	path := "/v1/conversations/" + r.id + "/messages"
	client := p.Client
	if w.rng.IntN(8) == 0 {
		client = w.operator()
		heads = append(heads, "Parley-As", p.ID)
	} else if r.members[p.ID] == nil {
		if r.private {
			w.refused(w.ask(client, 404, "POST", path, body, heads...), "conversation_not_found")
		} else {
			w.refused(w.ask(client, 403, "POST", path, body, heads...), "not_a_member")
		}
		return
	}
	var m systest.Message
	w.ask(client, 201, "POST", path, body, heads...).Into(w.t, &m)
	r.said = append(r.said, said{from: p.ID, text: body["text"].(string), id: m.ID, receipt: wanted})
	if m.Seq != int64(len(r.said)) || m.From != p.ID || m.ConversationID != r.id {
		w.t.Fatalf("message %d of %s: %+v", len(r.said), r.id, m)
	}
	if key != "" {
		w.sent = append(w.sent, sentKey{r, p, key, body, m.ID, len(r.said)})
	}
	for _, id := range r.ids() {
		if id == p.ID && silent {
			continue
		}
		w.tell([]string{id}, d, messageText(r, len(r.said)))
	}
}

// resend sends again with the key of an earlier send, whoever is a member by now.
func (w *world) resend() {
	if len(w.sent) == 0 {
		return
	}
	s := pick(w, w.sent)
	path := "/v1/conversations/" + s.room.id + "/messages"
	if s.room.deleted {
		w.refused(w.ask(s.from.Client, 404, "POST", path, s.body, "Idempotency-Key", s.key), "conversation_not_found")
		return
	}
	if s.room.said[s.seq-1].removed {
		return // its key is free again
	}
	a := w.ask(s.from.Client, 200, "POST", path, s.body, "Idempotency-Key", s.key)
	if id := w.idIn(a); id != s.id || a.Header.Get("Idempotent-Replayed") != "true" {
		w.t.Fatalf("sent again: %s, %v, want %s", a, a.Header, s.id)
	}
	other := systest.Object{"type": "text", "text": "another text"}
	w.refused(w.ask(s.from.Client, 409, "POST", path, other, "Idempotency-Key", s.key), "idempotency_key_reused")
}

func (w *world) rename() {
	r := w.room()
	if r == nil {
		return
	}
	p, d := w.inside(r)
	if p == nil {
		return
	}
	body := systest.Object{"name": fmt.Sprintf("name %d", w.rng.IntN(3))}
	if w.fixed(r, p, "PATCH", "/v1/conversations/"+r.id, body) {
		return
	}
	w.ask(p.Client, 200, "PATCH", "/v1/conversations/"+r.id, body, header(d)...)
	if body["name"] == r.name {
		return // what changes nothing makes no event
	}
	r.name = body["name"].(string)
	w.tell(r.ids(), d, renamedText(r, p.ID))
}

func (w *world) mute() {
	r := w.room()
	if r == nil {
		return
	}
	p, d := w.inside(r)
	if p == nil {
		return
	}
	if w.fixed(r, p, "PUT", "/v1/conversations/"+r.id+"/mute", nil) {
		return
	}
	m := r.members[p.ID]
	m.muted = !m.muted
	method := "DELETE"
	if m.muted {
		method = "PUT"
	}
	w.ask(p.Client, 204, method, "/v1/conversations/"+r.id+"/mute", nil, header(d)...)
}

func (w *world) read() {
	if r := w.room(); r != nil {
		w.readIn(r)
	}
}

func (w *world) readIn(r *room) {
	w.t.Helper()
	p, d := w.inside(r)
	if p == nil || r.unread(p.ID, r.members[p.ID].read) == 0 {
		return
	}
	m := r.members[p.ID]
	upto, body := len(r.said), systest.Object{}
	if w.rng.IntN(2) == 0 { // up to a message of somebody else
		for upto = m.read + 1; r.said[upto-1].from == p.ID || r.said[upto-1].void; upto++ {
		}
		body["messageId"] = r.said[upto-1].id
	}
	w.reads(r, p, d, upto, body)
}

// reads has a member read what it has not, up to a seq.
func (w *world) reads(r *room, p *person, d *device, upto int, body systest.Object) {
	w.t.Helper()
	m := r.members[p.ID]
	var v struct{ UnreadMessagesCount int }
	w.ask(p.Client, 200, "POST", "/v1/conversations/"+r.id+"/read", body, header(d)...).Into(w.t, &v)
	w.tellRead(r, p.ID, m.read, upto)
	m.read = upto
	if left := r.unread(p.ID, m.read); v.UnreadMessagesCount != left {
		w.t.Fatalf("read: %d unread, want %d", v.UnreadMessagesCount, left)
	}
	w.tell([]string{p.ID}, d, readText(r, v.UnreadMessagesCount))
}

// destroy deletes a conversation. What devices that are away have not heard of its
// messages by now they never will; those that are here are given the time to.
func (w *world) destroy() {
	r := w.openRoom()
	if r == nil {
		return
	}
	w.settle()
	w.ask(w.operator(), 204, "DELETE", "/v1/conversations/"+r.id, nil)
	for _, d := range w.devices() {
		d.forget(func(e string) bool { return strings.HasPrefix(e, "message") && about(r.id)(e) })
	}
	w.tell(r.ids(), nil, deletedText(r))
	r.deleted = true
	w.refused(w.ask(w.operator(), 404, "GET", "/v1/conversations/"+r.id, nil), "conversation_not_found")
	w.converge() // the other node may replay what it does not know to be gone for a moment more
}
