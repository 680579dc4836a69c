package main_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"parley/cmd/parley/systest"
)

// service is the application's own voice. The rules: each client has a view of it, which
// is what went up from it, what was sent down to it, the broadcasts to everyone, and while
// it subscribes the broadcasts to subscribers. What goes up is heard by the sender's other
// sessions alone. What comes down is heard by those whom it is for, the speaker among them
// only if it is for him or he subscribes. Edits and recalls go to all who may read the message. Only a
// subscriber has something unread: what he may read that he has not read and not sent.
type service struct {
	id          string
	subscribers map[string]int // what each has read, a seq
	posts       []*post
}

// post is a message of a service.
type post struct {
	said
	scope scope
	to    []string // of toSome
	order int      // among all posts of the world
	over  bool     // of toEveryone: it is valid no more
}

type scope int

const (
	up scope = iota
	toSome
	toSubscribers
	toEveryone
)

func (s *service) text(event string, seq int) string {
	return eventText(event, s.id, seq, s.posts[seq-1].from, s.posts[seq-1].text)
}

// shows says whether a message is in a client's view.
func (s *service) shows(client string, v *post) bool {
	_, subscribes := s.subscribers[client]
	return v.from == client || v.scope == toEveryone || v.scope == toSubscribers && subscribes || slices.Contains(v.to, client)
}

// unread are the seqs of what a client has not read.
func (s *service) unread(client string) []int {
	read, subscribes := s.subscribers[client]
	if !subscribes {
		return nil
	}
	var seqs []int
	for i, v := range s.posts[read:] {
		if s.shows(client, v) && v.from != client && !v.void {
			seqs = append(seqs, read+i+1)
		}
	}
	return seqs
}

// listening are the clients that hear of a message when it is sent.
func (w *world) listening(s *service, v *post) []string {
	_, subscribes := s.subscribers[v.from]
	switch v.scope {
	case up:
		return []string{v.from}
	case toEveryone:
		return idsOf(w.people)
	case toSubscribers:
		return s.subscribed()
	}
	if subscribes && !slices.Contains(v.to, v.from) {
		return append(slices.Clone(v.to), v.from)
	}
	return v.to
}

// reading are the clients that may read a message.
func (w *world) reading(s *service, v *post) []string {
	return slices.DeleteFunc(idsOf(w.people), func(id string) bool { return !s.shows(id, v) })
}

func (s *service) subscribed() []string {
	list := make([]string, 0, len(s.subscribers))
	for id := range s.subscribers {
		list = append(list, id)
	}
	return sorted(list)
}

func (w *world) service() *service {
	if len(w.services) < 2 {
		s := &service{subscribers: map[string]int{}}
		s.id = w.idIn(w.ask(w.operator(), 201, "POST", "/v1/conversations", systest.Object{"kind": "service"}))
		w.logf("  -> %s", s.id)
		w.services = append(w.services, s)
	}
	return pick(w, w.services)
}

// subscribe has somebody subscribe, or the operator have others do so; or the other way round.
func (w *world) subscribe() {
	s, p := w.service(), pick(w, w.people)
	by, who := p.Client, []*person{p}
	if w.rng.IntN(4) == 0 {
		by, who = w.operator(), some(w, w.people)
	}
	path, ids := "/v1/conversations/"+s.id+"/members", idsOf(who)
	switch w.rng.IntN(6) {
	case 0:
		w.refused(w.ask(p.Client, 403, "POST", path, systest.Object{"clientIds": idsOf(w.people)}), "not_allowed_in_service")
	case 1, 2:
		q := path + "?"
		var strangers []string
		for _, id := range ids {
			q += "clientId=" + id + "&"
			if _, is := s.subscribers[id]; !is {
				strangers = append(strangers, id)
			}
			delete(s.subscribers, id)
		}
		a := w.ask(by, 200, "DELETE", q[:len(q)-1], nil)
		leaving := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(strangers, id) })
		w.outcome(s.asRoom(), a, leaving, strangers)
	default:
		a := w.ask(by, 200, "POST", path, systest.Object{"clientIds": ids})
		for _, id := range ids {
			if _, is := s.subscribers[id]; !is {
				s.subscribers[id] = len(s.posts)
			}
		}
		w.outcome(s.asRoom(), a, ids, nil)
	}
}

// asRoom has as many members as the service has subscribers.
func (s *service) asRoom() *room {
	r := &room{members: map[string]*member{}}
	for id := range s.subscribers {
		r.members[id] = nil
	}
	return r
}

// post has a client speak up, or the operator speak for one to others.
func (w *world) post() {
	s, p := w.service(), pick(w, w.people)
	v := &post{scope: scope(w.rng.IntN(4))}
	v.from, v.text = p.ID, fmt.Sprintf("post %d", w.rng.IntN(1e6))
	body := systest.Object{"type": "text", "text": v.text}
	acting := w.acting(p)
	by, heads, path := w.operator(), append(header(acting), "Parley-As", p.ID), "/v1/conversations/"+s.id+"/messages"
	silent := w.rng.IntN(5) == 0
	if silent {
		body["noSync"] = true
	}
	switch v.scope {
	case up:
		by, heads = p.Client, header(acting)
	case toSome:
		v.to = sorted(idsOf(some(w, w.people)))
		body["to"] = v.to
		w.refused(w.ask(p.Client, 403, "POST", path, body), "server_scope_required")
	case toSubscribers:
		path = "/v1/conversations/" + s.id + "/broadcasts"
		w.refused(w.ask(p.Client, 403, "POST", path, body), "server_scope_required")
	case toEveryone:
		path = "/v1/broadcasts"
		body["conversationId"] = s.id
		if w.rng.IntN(2) == 0 {
			body["validUntil"] = time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		}
	}
	w.posted(s, v, w.ask(by, 201, "POST", path, body, heads...))
	for _, id := range w.listening(s, v) {
		if id != p.ID || !silent {
			w.tell([]string{id}, acting, s.text("message", len(s.posts)))
		}
	}
}

// posted adds a message to a service.
func (w *world) posted(s *service, v *post, a *systest.Answer) {
	w.t.Helper()
	var m systest.Message
	a.Into(w.t, &m)
	v.id = m.ID
	s.posts = append(s.posts, v)
	w.posts++
	v.order = w.posts
	if m.Seq != int64(len(s.posts)) || m.From != v.from || m.ConversationID != s.id {
		w.t.Fatalf("message %d of the service %s: %+v", len(s.posts), s.id, m)
	}
	if v.scope != toEveryone {
		return
	}
	for _, p := range w.people {
		if !slices.ContainsFunc(p.devices, func(d *device) bool { return d.connected }) {
			p.missed = append(p.missed, v)
		}
	}
}

// changePost has the operator edit or recall a message of a service, or its author.
func (w *world) changePost() {
	s := w.service()
	if len(s.posts) == 0 {
		return
	}
	seq := 1 + w.rng.IntN(len(s.posts))
	v := s.posts[seq-1]
	w.settle()
	by, acting := w.operator(), (*device)(nil)
	if w.rng.IntN(2) == 0 {
		author := w.person(v.from)
		by, acting = author.Client, w.acting(author)
	}
	event := w.amend(by, acting, s.id, &v.said)
	if event == "" {
		return
	}
	w.revise(s.id, seq, v.from, v.text)
	w.tell(w.reading(s, v), acting, s.text(event, seq))
	w.converge() // the other node may replay what it does not know to be changed for a moment more
}

// readService has a client read all that it may, or part of it.
func (w *world) readService() {
	s, p := w.service(), pick(w, w.people)
	acting := w.acting(p)
	path := "/v1/conversations/" + s.id + "/read"
	unread := s.unread(p.ID)
	if _, is := s.subscribers[p.ID]; !is {
		w.refused(w.ask(p.Client, 403, "POST", path, nil), "not_a_member")
		return
	}
	if len(unread) == 0 {
		return
	}
	upto, body := len(s.posts), systest.Object{}
	if w.rng.IntN(2) == 0 {
		upto = unread[0]
		body["messageId"] = s.posts[upto-1].id
	}
	var v struct{ UnreadMessagesCount int }
	w.ask(p.Client, 200, "POST", path, body, header(acting)...).Into(w.t, &v)
	s.subscribers[p.ID] = upto
	if left := len(s.unread(p.ID)); v.UnreadMessagesCount != left {
		w.t.Fatalf("read a service: %d unread, want %d", v.UnreadMessagesCount, left)
	}
	w.tell([]string{p.ID}, acting, fmt.Sprintf("unread_messages_count_update %s %d", s.id, v.UnreadMessagesCount))
}

// broadcasts are those to everyone that are valid, oldest first.
func (w *world) broadcasts() (list []*post, texts []string) {
	type placed struct {
		*post
		text string
	}
	var all []placed
	for _, s := range w.services {
		for i, v := range s.posts {
			if v.scope == toEveryone && !v.void && !v.over {
				all = append(all, placed{v, s.text("message", i+1)})
			}
		}
	}
	slices.SortFunc(all, func(a, b placed) int { return a.order - b.order })
	for _, v := range all {
		list, texts = append(list, v.post), append(texts, v.text)
	}
	return newest(20, list), newest(20, texts)
}

// checkBroadcasts: a fresh start tells the newest broadcasts to everyone, at most twenty.
// Those that were sent while none of the client's streams was open are among them; what
// some stream of it was told lately may come again, since nodes tell one another only with a
// heartbeat what was received. Who was never seen before gets the newest one. None comes
// that is among the unread messages too.
func (w *world) checkBroadcasts(p *person, got, offline []string) {
	w.t.Helper()
	valid, texts := w.broadcasts()
	from := 0 // the first that must be told
	for from < len(valid) && !slices.Contains(p.missed, valid[from]) {
		from++
	}
	if !p.seen {
		from = max(0, len(valid)-1)
	}
	untold := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(text string) bool { return slices.Contains(offline, text) })
	}
	must, may := untold(texts[from:]), untold(texts)
	if !p.seen {
		may = must
	}
	if len(got) < len(must) || len(got) > len(may) || !slices.Equal(got, newest(len(got), may)) {
		w.t.Fatalf("the broadcasts told to %s:\n%q, want at least\n%q, at most\n%q", p.ID, got, must, may)
	}
}

// checkService compares what REST says of a service to everybody.
func (w *world) checkService(s *service) {
	w.t.Helper()
	for _, p := range w.people {
		var seqs []int
		for i, v := range s.posts {
			if s.shows(p.ID, v) {
				seqs = append(seqs, i+1)
			}
		}
		at := p.At(w.node())
		s.checkHistory(w.t, "the view of "+p.ID, at.History(w.t, s.id), seqs)
		var c struct {
			MemberCount         int
			UnreadMessagesCount *int
		}
		a := at.Want(w.t, 200, "GET", "/v1/conversations/"+s.id, nil)
		a.Into(w.t, &c)
		_, subscribes := s.subscribers[p.ID]
		if c.MemberCount != len(s.subscribers) || (c.UnreadMessagesCount != nil) != subscribes || subscribes && *c.UnreadMessagesCount != len(s.unread(p.ID)) {
			w.t.Fatalf("%s for %s: %s, want %d unread of %+v", s.id, p.ID, a, len(s.unread(p.ID)), s)
		}
	}
	var ups []int
	for i, v := range s.posts {
		if v.scope == up {
			ups = append(ups, i+1)
		}
	}
	var page struct{ Items []systest.Message }
	w.operator().At(w.node()).Want(w.t, 200, "GET", "/v1/conversations/"+s.id+"/inbox?direction=old_to_new&limit=1000", nil).Into(w.t, &page)
	s.checkHistory(w.t, "the inbox", page.Items, ups)
}

func (s *service) checkHistory(t testing.TB, what string, got []systest.Message, seqs []int) {
	t.Helper()
	if len(got) != len(seqs) {
		t.Fatalf("%s of the service %s has %d messages, want %v: %+v", what, s.id, len(got), seqs, got)
	}
	for i, seq := range seqs {
		if v := s.posts[seq-1]; got[i].Seq != int64(seq) || got[i].From != v.from || got[i].Text != v.text {
			t.Fatalf("%s of the service %s: %+v, want %d: %+v", what, s.id, got[i], seq, v)
		}
	}
}

// checkBroadcastList compares what the operator is told to be valid, newest first.
func (w *world) checkBroadcastList(s *service) {
	w.t.Helper()
	var want []string
	for _, v := range s.posts {
		if v.scope == toEveryone && !v.void && !v.over {
			want = append(want, v.id)
		}
	}
	slices.Reverse(want)
	var page struct {
		Items []struct{ ID, ValidUntil string }
	}
	w.operator().At(w.node()).Want(w.t, 200, "GET", "/v1/broadcasts?limit=1000&conversationId="+s.id, nil).Into(w.t, &page)
	var got []string
	for _, item := range page.Items {
		got = append(got, item.ID)
	}
	if !slices.Equal(got, want) {
		w.t.Fatalf("the valid broadcasts of %s: %q, want %q", s.id, got, want)
	}
}

// closeServices ends what would reach the people of the next round.
func (w *world) closeServices() {
	for _, s := range w.services {
		w.ask(w.operator(), 204, "DELETE", "/v1/conversations/"+s.id, nil)
	}
}
