package handlers_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// posted is a message of a service as the model of it remembers it.
type posted struct {
	from, sentAt string
	scope        int // as in model.Scope
	to, mentions []string
	all          bool   // mentions everybody
	kind         string // its type, "" when it was removed
	custom       int
}

// imagined is a service as it ought to be.
type imagined struct {
	messages []posted // that of seq n is messages[n-1]
	read     map[string]int
	clients  []string
	moved    string // sentAt of the last broadcast
}

func (m *imagined) subscribed(client string) bool {
	_, ok := m.read[client]
	return ok
}

func (m *imagined) shows(client string, seq int) bool {
	if seq < 1 || seq > len(m.messages) {
		return false
	}
	v := m.messages[seq-1]
	return v.kind != "" && (client == "" || v.scope == 4 || v.from == client || slices.Contains(v.to, client) ||
		v.scope == 3 && m.subscribed(client))
}

// visible are the seqs that a client may read, oldest first; of nobody in particular, all.
func (m *imagined) visible(client string, ok func(posted) bool) []int {
	out := []int{}
	for i, v := range m.messages {
		if m.shows(client, i+1) && ok(v) {
			out = append(out, i+1)
		}
	}
	return out
}

func (m *imagined) unread(client string) (count int, mentioned bool) {
	for i := m.read[client]; i < len(m.messages); i++ {
		if v := m.messages[i]; m.shows(client, i+1) && v.from != client && v.kind != "recalled" {
			count++
			mentioned = mentioned || v.all || slices.Contains(v.mentions, client)
		}
	}
	return count, mentioned
}

func anything(posted) bool { return true }

// TestServiceModel lets clients and servers do anything in a service, and holds what
// each of them reads of it to the model.
func TestServiceModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			w := &serviceWorld{site: newSite(t), rng: rand.New(rand.NewPCG(seed, 7)), imagined: imagined{
				read: make(map[string]int), clients: []string{"Tom", "Jerry", "Mary", "desk"}}}
			w.id = w.create("server", `{"kind":"service"}`)
			for range 12 {
				for range 15 {
					w.act()
				}
				w.check()
			}
		})
	}
}

type serviceWorld struct {
	*site
	imagined
	rng *rand.Rand
	id  string
}

func (w *serviceWorld) client() string  { return w.clients[w.rng.IntN(len(w.clients))] }
func (w *serviceWorld) some() []string  { return w.clients[w.rng.IntN(len(w.clients)):] }
func (w *serviceWorld) path() string    { return "/v1/conversations/" + w.id }
func (w *serviceWorld) of(n int) string { return w.id + "." + strconv.Itoa(n) }

// anySeq is that of a message, or of none.
func (w *serviceWorld) anySeq() int { return w.rng.IntN(len(w.messages) + 2) }

func quoted(list []string) string { return `["` + strings.Join(list, `","`) + `"]` }

func (w *serviceWorld) act() {
	w.t.Helper()
	switch n := w.rng.IntN(20); {
	case n < 2:
		w.toggle(w.client())
	case n < 6:
		w.post(1)
	case n < 9:
		w.post(2)
	case n < 11:
		w.post(3)
	case n < 13:
		w.post(4)
	case n < 16:
		w.mark(w.client())
	default:
		w.change(w.anySeq(), n)
	}
}

func (w *serviceWorld) toggle(client string) {
	if w.subscribed(client) {
		w.must(client, "DELETE", w.path()+"/members?clientId="+client, "")
		delete(w.read, client)
		return
	}
	w.site.subscribe(w.id, client)
	w.read[client] = len(w.messages)
}

// content is a random message, and its JSON without the closing brace.
func (w *serviceWorld) content() (posted, string) {
	v := posted{kind: "text"}
	body := text("x")
	if w.rng.IntN(3) == 0 {
		v.kind, v.custom = "custom", 1+w.rng.IntN(2)
		body = fmt.Sprintf(`{"type":"custom","customType":%d`, v.custom)
	}
	if v.all = w.rng.IntN(8) == 0; v.all {
		body += `,"mentionAll":true`
	}
	if w.rng.IntN(3) == 0 {
		named := w.some()
		body += `,"mentionList":` + quoted(named)
		for _, c := range named {
			if w.subscribed(c) {
				v.mentions = append(v.mentions, c)
			}
		}
	}
	return v, body
}

func (w *serviceWorld) post(scope int) {
	v, body := w.content()
	v.from, v.scope = w.client(), scope
	who, path := "server/"+v.from, w.path()+"/messages"
	switch scope {
	case 1:
		who = v.from
	case 2:
		v.to = w.some()
		body += `,"to":` + quoted(v.to)
	case 3:
		path = w.path() + "/broadcasts"
	case 4:
		path = "/v1/broadcasts"
		body += `,"conversationId":"` + w.id + `"`
	}
	r := w.must(who, "POST", path, body+`}`)
	if v.sentAt = r.body["sentAt"].(string); scope >= 3 {
		w.moved = v.sentAt
	}
	w.messages = append(w.messages, v)
	if r.body["seq"] != float64(len(w.messages)) {
		w.t.Fatalf("stored with %v, want seq %d", r.raw, len(w.messages))
	}
}

// mark has a client read, up to the last message or to any.
func (w *serviceWorld) mark(client string) {
	seq, body := 0, ""
	if view := w.visible(client, anything); len(view) > 0 {
		seq = view[len(view)-1]
	}
	want := "200"
	if w.rng.IntN(2) == 0 {
		seq = w.anySeq()
		body = `{"messageId":"` + w.of(seq) + `"}`
		if !w.shows(client, seq) {
			want = "404 message_not_found 4404"
		}
	}
	if !w.subscribed(client) {
		want = "403 not_a_member 4317"
	}
	r := w.do(client, "POST", w.path()+"/read", body)
	if got := r.outcome(); got != want {
		w.t.Fatalf("%s reads %s: %s, want %s", client, body, got, want)
	}
	if want != "200" {
		return
	}
	w.read[client] = max(w.read[client], seq)
	count, _ := w.unread(client)
	var at any
	for _, n := range w.visible(client, anything) {
		if n <= w.read[client] {
			at = w.messages[n-1].sentAt
		}
	}
	if r.body["unreadMessagesCount"] != float64(count) || r.body["lastReadAt"] != at {
		w.t.Errorf("%s reads %s: %s, want %d and %v", client, body, r.raw, count, at)
	}
}

// change edits, recalls or removes any message.
func (w *serviceWorld) change(seq, how int) {
	target := w.path() + "/messages/" + w.of(seq)
	if !w.shows("", seq) {
		if got := w.do("server", "DELETE", target, "").outcome(); got != "404 message_not_found 4404" {
			w.t.Fatalf("removing %d: %s", seq, got)
		}
		return
	}
	v := &w.messages[seq-1]
	switch {
	case how == 16:
		w.must("server", "DELETE", target, "")
		v.kind = ""
	case how == 17 || v.kind == "recalled":
		w.must("server", "POST", target+"/recall", "")
		v.kind, v.custom, v.all, v.mentions = "recalled", 0, false, nil
	default:
		next, body := w.content()
		w.must("server", "PATCH", target, body+`}`)
		v.kind, v.custom, v.all, v.mentions = next.kind, next.custom, next.all, next.mentions
	}
}

func (w *serviceWorld) check() {
	w.t.Helper()
	for _, who := range append(w.clients, "server", "Nobody") {
		client := strings.TrimPrefix(who, "server")
		w.checkHistory(who, client)
		for range 3 {
			seq := w.anySeq()
			if got := w.do(who, "GET", w.path()+"/messages/"+w.of(seq), "").StatusCode == 200; got != w.shows(client, seq) {
				w.t.Errorf("%s sees %d: %v", who, seq, got)
			}
		}
		w.checkConversation(who, client)
	}
	up := w.visible("", func(v posted) bool { return v.scope == 1 })
	if diff := cmp.Diff(up, w.seqs("server", "/inbox?direction=old_to_new&limit=3")); diff != "" {
		w.t.Errorf("the inbox (-want +got):\n%s", diff)
	}
}

func (w *serviceWorld) checkHistory(who, client string) {
	w.t.Helper()
	filters := []struct {
		query string
		ok    func(posted) bool
	}{
		{"", anything},
		{"&type=text", func(v posted) bool { return v.kind == "text" }},
		{"&type=recalled", func(v posted) bool { return v.kind == "recalled" }},
		{"&customType=1", func(v posted) bool { return v.custom == 1 }},
	}
	f := filters[w.rng.IntN(len(filters))]
	want := w.visible(client, f.ok)
	limit := "&limit=" + strconv.Itoa(1+w.rng.IntN(12))
	if diff := cmp.Diff(want, w.seqs(who, "/messages?direction=old_to_new"+limit+f.query)); diff != "" {
		w.t.Errorf("the view of %s %s (-want +got):\n%s", who, f.query, diff)
	}
	slices.Reverse(want)
	if diff := cmp.Diff(want, w.seqs(who, "/messages?direction=new_to_old"+limit+f.query)); diff != "" {
		w.t.Errorf("the view of %s %s backwards (-want +got):\n%s", who, f.query, diff)
	}
	if len(want) > 0 { // from the middle
		middle := len(want) / 2
		if diff := cmp.Diff(want[middle:], w.seqs(who, "/messages?startClosed=true&startMessageId="+w.of(want[middle])+limit+f.query)); diff != "" {
			w.t.Errorf("the view of %s %s from the middle (-want +got):\n%s", who, f.query, diff)
		}
	}
}

func (w *serviceWorld) seqs(who, path string) []int {
	w.t.Helper()
	out := []int{}
	for _, m := range w.items(who, w.path()+path) {
		out = append(out, int(m["seq"].(float64)))
	}
	return out
}

func (w *serviceWorld) checkConversation(who, client string) {
	w.t.Helper()
	c := w.must(who, "GET", w.path()+"?include=lastMessage", "").body
	view := w.visible(client, anything)
	var last, moved any
	if len(view) > 0 && (who == "server" || w.subscribed(client)) {
		last = float64(view[len(view)-1])
	}
	if w.moved != "" {
		moved = w.moved
	}
	var gotLast any
	if m, ok := c["lastMessage"].(map[string]any); ok {
		gotLast = m["seq"]
	}
	if gotLast != last || c["memberCount"] != float64(len(w.read)) || c["lastMessageAt"] != moved {
		w.t.Errorf("%s sees the last message %v, want %v, of %v", who, gotLast, last, c)
	}
	if who == "server" {
		return
	}
	count, mentioned := w.unread(client)
	if !w.subscribed(client) {
		if _, viewed := c["unreadMessagesCount"]; viewed {
			w.t.Errorf("%s, who does not subscribe, sees %v", client, c)
		}
		count = 0
	} else if c["unreadMessagesCount"] != float64(count) || c["unreadMessagesMentioned"] != mentioned {
		w.t.Errorf("%s has %d %v unread, and sees %v", client, count, mentioned, c)
	}
	items := w.items(client, "/v1/unread?limit=1")
	if len(items) != min(count, 1) {
		w.t.Fatalf("%s has %d unread, and the list %v", client, count, items)
	}
	if count > 0 {
		it := items[0]
		if it["unreadMessagesCount"] != float64(count) || it["unreadMessagesMentioned"] != mentioned || it["lastMessage"].(map[string]any)["seq"] != last {
			w.t.Errorf("%s has %d %v unread, last %v; listed: %v", client, count, mentioned, last, it)
		}
	}
}
