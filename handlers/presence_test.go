package handlers_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parley/api"
	"parley/chat"
	"parley/repo/repotest"
)

// node is one of several servers on one database.
type node struct {
	*site
	svc *chat.Service
}

const shortGrace = 300 * time.Millisecond

func newNode(t *testing.T, dsn string) *node {
	t.Helper()
	s, svc, _ := serve(t, chat.Config{
		DSN: dsn, ReconnectGrace: shortGrace, SeatGrace: time.Minute, EventRetention: 168 * time.Hour, MessageRetention: time.Hour,
	}, api.Config{})
	return &node{s, svc}
}

// subscribe has a session hear of clients, and returns who is online.
func (n *node) subscribe(who, session string, clients ...string) []string {
	n.t.Helper()
	r := n.do(who, "PUT", "/v1/presence/subscriptions", `{"clientIds":`+listOf(clients)+`}`, "Parley-Session", session)
	if r.StatusCode != 200 {
		n.t.Fatalf("subscribe: %s", r.raw)
	}
	return namesIn(r.body["online"])
}

func (n *node) online(who string, clients ...string) []string {
	n.t.Helper()
	r := n.do(who, "POST", "/v1/presence/query", `{"clientIds":`+listOf(clients)+`}`)
	if r.StatusCode != 200 || r.Header.Get("Parley-Position") == "" {
		n.t.Fatalf("query: %s", r.raw)
	}
	return namesIn(r.body["online"])
}

func listOf(names []string) string {
	out := []string{}
	for _, n := range names {
		out = append(out, fmt.Sprintf("%q", n))
	}
	return "[" + strings.Join(out, ",") + "]"
}

func namesIn(v any) []string {
	out := []string{}
	for _, n := range v.([]any) {
		out = append(out, n.(string))
	}
	return out
}

// presences are the events that a stream has heard of a client, of all when it is empty: "Jerry online".
func (l *listener) presences(client string) []string {
	out := []string{}
	for _, h := range l.all() {
		if h.event == "presence" && (client == "" || h.data["clientId"] == client) {
			state := "offline"
			if h.data["online"] == true {
				state = "online"
			}
			out = append(out, fmt.Sprint(h.data["clientId"], " ", state))
			if at, ok := h.data["at"].(string); !ok || at == "" || h.id != "" || len(h.data) != 3 {
				l.t.Errorf("a presence event of id %q with %v", h.id, h.data)
			}
		}
	}
	return out
}

// hears waits until the stream has heard just these of a client.
func (l *listener) hears(client string, want ...string) {
	l.t.Helper()
	want = append([]string{}, want...)
	var got []string
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got = l.presences(client); len(got) >= len(want) {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		l.t.Fatalf("presence of %s (-want +got):\n%s", client, diff)
	}
}

func TestPresenceQuery(t *testing.T) {
	t.Parallel()
	n := newNode(t, repotest.DSN(t))
	for _, who := range []string{"Tom", "Jerry", "Mary", "Spike", "Butch", "Tyke"} {
		n.listen(who, "session=s")
	}
	n.create("Tom", `{"members":["Jerry","Away"]}`)
	n.create("server", `{"kind":"temporary","members":["Tom","Mary"]}`)
	room := n.create("Tom", `{"kind":"chatroom"}`)
	service := n.create("server", `{"kind":"service"}`)
	for _, who := range []string{"Tom", "Spike"} {
		n.do(who, "POST", "/v1/conversations/"+room+"/members", `{"clientIds":["`+who+`"]}`, "Parley-Session", "s")
		n.do(who, "POST", "/v1/conversations/"+service+"/members", `{"clientIds":["`+who+`"]}`)
	}
	gone := n.create("Butch", `{"members":["Tom"]}`)
	n.do("Tom", "DELETE", "/v1/conversations/"+gone+"/members?clientId=Tom", "")
	past := n.create("server", `{"kind":"temporary","members":["Tom","Tyke"]}`)
	if _, err := n.svc.Store.DB().Exec(`UPDATE conversations SET expires_at = now() WHERE id = $1`, past); err != nil {
		t.Fatal(err)
	}
	all := []string{"Away", "Tyke", "Butch", "Spike", "Nobody", "Mary", "Jerry", "Tom", "Jerry"}
	for who, want := range map[string][]string{
		"Tom":        {"Mary", "Jerry", "Tom"}, // in the order asked, each once
		"Jerry":      {"Jerry", "Tom"},
		"Nobody":     {},
		"server":     {"Tyke", "Butch", "Spike", "Mary", "Jerry", "Tom"},
		"server/Tom": {"Tyke", "Butch", "Spike", "Mary", "Jerry", "Tom"},
	} {
		if diff := cmp.Diff(want, n.online(who, all...)); diff != "" {
			t.Errorf("%s sees (-want +got):\n%s", who, diff)
		}
	}
	for _, tt := range []struct{ who, method, path, body, session, want string }{
		{"Tom", "POST", "query", `{}`, "", "400 invalid_request clientIds"},
		{"Tom", "POST", "query", `{"clientIds":[]}`, "", "400 invalid_request clientIds"},
		{"Tom", "POST", "query", `{"clientIds":null}`, "", "400 invalid_request clientIds"},
		{"Tom", "POST", "query", `{"clientIds":["a"," b"]}`, "", "400 invalid_request clientIds[1]"},
		{"Tom", "POST", "query", `{"clientIds":` + listOf(manyIDs(1001)) + `}`, "", "400 invalid_request clientIds"},
		{"Tom", "POST", "query", `{"clientIds":` + listOf(manyIDs(1000)) + `}`, "", "200"},
		{"Tom", "POST", "query?x=1", `{"clientIds":["a"]}`, "", "400 invalid_request x"},
		{"Tom", "POST", "query", `{"clientIDs":["a"]}`, "", "400 invalid_request clientIDs"},
		{"Tom", "PUT", "subscriptions", `{}`, "s", "400 invalid_request clientIds"},
		{"Tom", "PUT", "subscriptions", `{"clientIds":[".."]}`, "s", "400 invalid_request clientIds[0]"},
		{"Tom", "PUT", "subscriptions", `{"clientIds":` + listOf(manyIDs(1001)) + `}`, "s", "400 invalid_request clientIds"},
		{"Tom", "PUT", "subscriptions", `{"clientIds":` + listOf(manyIDs(1000)) + `}`, "s", "200"},
		{"Tom", "PUT", "subscriptions", `{"clientIds":[]}`, "s", "200"},
		{"Tom", "PUT", "subscriptions", `{"clientIds":[]}`, "", "400 session_required 4105"},
		{"Tom", "PUT", "subscriptions", `{"clientIds":["Jerry"]}`, "unknown", "400 session_required 4105"},
		{"server", "PUT", "subscriptions", `{"clientIds":["Jerry"]}`, "s", "400 acting_client_required"},
		{"Tom", "GET", "../stats", ``, "", "403 server_scope_required"},
		{"server", "GET", "../stats?x=1", ``, "", "400 invalid_request x"},
	} {
		path := strings.Replace("/v1/presence/"+tt.path, "/presence/..", "", 1)
		var headers []string
		if tt.session != "" {
			headers = []string{"Parley-Session", tt.session}
		}
		if got := n.do(tt.who, tt.method, path, tt.body, headers...).outcome(); got != tt.want {
			t.Errorf("%s %s %.50s as %s: %s, want %s", tt.method, tt.path, tt.body, tt.who, got, tt.want)
		}
	}
	anonymous := n.listen("Tom", "").await("ready", func(h heard) bool { return h.event == "ready" }).data["sessionId"].(string)
	if got := n.do("Tom", "PUT", "/v1/presence/subscriptions", `{"clientIds":["Jerry"]}`, "Parley-Session", anonymous).outcome(); got != "400 session_required 4105" {
		t.Errorf("of a session for one connection: %s", got)
	}
	n.do("Tom", "DELETE", "/v1/sessions/s", "")
	if got := n.do("Tom", "PUT", "/v1/presence/subscriptions", `{"clientIds":["Jerry"]}`, "Parley-Session", "s").outcome(); got != "400 session_required 4105" {
		t.Errorf("of a spent session: %s", got)
	}
	var left int
	if err := n.svc.Store.DB().QueryRow(`SELECT count(*) FROM presence_subscriptions WHERE client_id = 'Tom'`).Scan(&left); err != nil || left > 0 {
		t.Errorf("%d subscriptions of spent sessions are left, %v", left, err)
	}
}

// One event for each change, whichever server the two are on, and none for what is none.
func TestPresenceEvents(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	a, b := newNode(t, dsn), newNode(t, dsn)
	a.create("Tom", `{"members":["Jerry","Mary"]}`)
	tom := a.listen("Tom", "session=s")
	b.listen("Mary", "session=m")
	if got := b.subscribe("Tom", "s", "Jerry", "Mary", "Stranger"); !slices.Equal(got, []string{"Mary"}) { // by the other server
		t.Errorf("subscribed: %v are online", got)
	}
	b.listen("Stranger", "session=x")
	phone := b.listen("Jerry", "session=phone")
	tom.hears("Jerry", "Jerry online")
	laptop := a.listen("Jerry", "session=laptop")
	phone.cut()
	b.until("the phone is lost", func() bool {
		var lost bool
		err := b.svc.Store.DB().QueryRow(`SELECT disconnected_at < now() - interval '300 ms' FROM sessions WHERE id = 'phone'`).Scan(&lost)
		return err == nil && lost
	})
	b.listen("Jerry", "session=phone&lastEventId="+url.QueryEscape(phone.lastID())).cut() // and is lost again
	if got := a.do("Jerry", "DELETE", "/v1/sessions/phone", "").outcome(); got != "204" {
		t.Errorf("logout: %s", got)
	}
	tom.hears("Jerry", "Jerry online")
	cut := time.Now()
	laptop.cut()
	tom.hears("Jerry", "Jerry online", "Jerry offline")
	if took := time.Since(cut); took < shortGrace {
		t.Errorf("offline after %v, within the grace", took)
	}
	b.listen("Jerry", "session=laptop")
	tom.hears("Jerry", "Jerry online", "Jerry offline", "Jerry online")
	if got := b.do("server", "POST", "/v1/clients/Jerry/kick", "").outcome(); got != "204" {
		t.Errorf("kick: %s", got)
	}
	tom.hears("Jerry", "Jerry online", "Jerry offline", "Jerry online", "Jerry offline")
	b.do("Mary", "DELETE", "/v1/sessions/m", "")
	tom.hears("Mary", "Mary offline")
	tom.hears("Stranger")

	a.subscribe("Tom", "s") // of nobody
	mary := a.listen("Mary", "session=m2")
	mary.await("ready", func(h heard) bool { return h.event == "ready" })
	if got := a.subscribe("Tom", "s", "Mary"); !slices.Equal(got, []string{"Mary"}) {
		t.Errorf("subscribed: %v are online", got)
	}
	b.do("Mary", "DELETE", "/v1/sessions/m2", "")
	tom.hears("Mary", "Mary offline", "Mary offline") // that she came it did not hear
}

// Who comes back is told how things are, behind what it missed.
func TestPresenceAfterReconnect(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	a, b := newNode(t, dsn), newNode(t, dsn)
	chat := a.create("Tom", `{"members":["Jerry","Mary"]}`)
	tom := a.listen("Tom", "session=s")
	jerry := a.listen("Jerry", "session=j")
	a.listen("Spike", "session=x")
	a.subscribe("Tom", "s", "Jerry", "Mary", "Spike", "Tom")
	position := func(n *node) string { return n.do("Tom", "GET", "/v1/unread", "").Header.Get("Parley-Position") }
	for turn, n := range []*node{a, b, a} {
		tom.cut()
		a.until("both know where the session was", func() bool { return position(a) == position(b) })
		text := fmt.Sprint("missed ", turn)
		a.do("Jerry", "POST", "/v1/conversations/"+chat+"/messages", `{"type":"text","text":"`+text+`"}`)
		tom = n.listen("Tom", "session=s&lastEventId="+url.QueryEscape(tom.lastID()))
		tom.hears("Mary", "Mary offline")
		tom.hears("Jerry", "Jerry online")
		tom.hears("Tom", "Tom online")
		var order []string
		for _, h := range tom.all() {
			if h.event != "ping" && !slices.Contains(order, h.event) {
				order = append(order, h.event)
			}
		}
		if diff := cmp.Diff([]string{"ready", "message", "presence"}, order); diff != "" {
			t.Errorf("turn %d: the order of events (-want +got):\n%s", turn, diff)
		}
	}
	// A fresh start of the session is a reconnect too.
	tom.cut()
	a.do("Jerry", "DELETE", "/v1/sessions/j", "")
	jerry.cut()
	tom = b.listen("Tom", "session=s")
	tom.hears("", "Jerry offline", "Mary offline", "Tom online")
	// Another session has subscribed to nobody.
	if got := b.listen("Tom", "session=other"); len(got.presences("")) > 0 {
		t.Errorf("another session heard %v", got.presences(""))
	}
}

// Who comes back just when its list is being read is told all the same.
func TestPresenceAfterBlink(t *testing.T) {
	t.Parallel()
	n := newNode(t, repotest.DSN(t))
	n.create("Tom", `{"members":["Jerry"]}`)
	tom := n.listen("Tom", "session=s")
	for range 40 {
		n.subscribe("Tom", "s", "Jerry")
		tom.cut()
		tom = n.listen("Tom", "session=s")
		tom.hears("Jerry", "Jerry offline")
	}
}

// What two share decides at the moment of telling.
func TestPresenceOfStrangers(t *testing.T) {
	t.Parallel()
	n := newNode(t, repotest.DSN(t))
	id := n.create("Tom", `{"members":["Jerry"]}`)
	tom, server := n.listen("Tom", "session=s"), n.listen("Tom", "session=server")
	n.subscribe("Tom", "s", "Jerry", "Mary")
	n.subscribe("server/Tom", "server", "Jerry", "Mary")
	n.listen("Mary", "session=m")
	server.hears("", "Mary online")
	n.do("Jerry", "DELETE", "/v1/conversations/"+id+"/members?clientId=Jerry", "")
	n.listen("Jerry", "session=j")
	server.hears("", "Mary online", "Jerry online")
	tom.hears("")
	began := time.Now()
	n.create("Mary", `{"members":["Tom"]}`)
	tom.hears("", "Mary online")
	n.do("Jerry", "POST", "/v1/conversations/"+id+"/members", `{"clientIds":["Jerry"]}`)
	tom.hears("Jerry", "Jerry online")
	n.do("Mary", "DELETE", "/v1/sessions/m", "")
	tom.hears("Mary", "Mary online", "Mary offline")
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("that they may be seen was found after %v", took)
	}
}

// A server that dies leaves sessions behind, whose grace begins when that is noticed.
func TestPresenceAfterDeath(t *testing.T) {
	t.Parallel()
	n := newNode(t, repotest.DSN(t))
	n.create("Tom", `{"members":["Jerry","Mary"]}`)
	tom := n.listen("Tom", "session=s")
	for _, order := range []string{
		`INSERT INTO nodes VALUES ('dead', now(), now())`,
		`INSERT INTO sessions (client_id, id, opened_at, last_seen_at, remote_addr, node) VALUES ('Jerry', 'j', now(), now(), '', 'dead')`,
		`INSERT INTO sessions (client_id, id, opened_at, last_seen_at, remote_addr, node) VALUES ('Mary', 'm', now(), now(), '', 'nowhere')`,
	} {
		if _, err := n.svc.Store.DB().Exec(order); err != nil {
			t.Fatal(err)
		}
	}
	if got := n.subscribe("Tom", "s", "Jerry", "Mary"); !slices.Contains(got, "Jerry") {
		t.Fatalf("%v are online", got)
	}
	tom.hears("Mary", "Mary offline") // of a server that nobody knows any more
	tom.hears("Jerry")
	if _, err := n.svc.Store.DB().Exec(`UPDATE nodes SET seen_at = now() - interval '1 hour' WHERE id = 'dead'`); err != nil {
		t.Fatal(err)
	}
	tom.hears("Jerry", "Jerry offline")
}

// One that was taken for dead says so when it is back.
func TestPresenceAfterResurrection(t *testing.T) {
	t.Parallel()
	n := newNode(t, repotest.DSN(t))
	n.create("Tom", `{"members":["Jerry"]}`)
	n.listen("Tom", "session=s")
	n.listen("Jerry", "session=j")
	for _, order := range []string{`DELETE FROM nodes`, `UPDATE sessions SET node = NULL, disconnected_at = now() - interval '1 hour'`} {
		if _, err := n.svc.Store.DB().Exec(order); err != nil {
			t.Fatal(err)
		}
	}
	n.until("Jerry is online again", func() bool { return slices.Equal(n.online("Tom", "Jerry"), []string{"Jerry"}) })
}

// Nobody says anything of what is changed behind the server's back; it finds out.
func TestPresenceWithoutWhispers(t *testing.T) {
	t.Parallel()
	n := newNode(t, repotest.DSN(t))
	n.create("Tom", `{"members":["Jerry","Mary"]}`)
	tom := n.listen("Tom", "session=s")
	n.subscribe("Tom", "s", "Jerry")
	for _, order := range []string{
		`INSERT INTO nodes VALUES ('other', now() + interval '1 hour', now() + interval '1 hour')`,
		`INSERT INTO sessions (client_id, id, opened_at, last_seen_at, remote_addr, node) VALUES
			('Jerry', 'j', now(), now(), '', 'other'), ('Mary', 'm', now(), now(), '', 'other')`,
	} {
		if _, err := n.svc.Store.DB().Exec(order); err != nil {
			t.Fatal(err)
		}
	}
	tom.hears("", "Jerry online")
	_, err := n.svc.Store.DB().Exec(`UPDATE presence_subscriptions SET revision = 'new', watched = '{Mary}', online = '{}'`)
	if err != nil {
		t.Fatal(err)
	}
	tom.hears("", "Jerry online", "Mary online")
}

func (n *node) until(what string, ok func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// Whatever comes and goes on whichever server, and whatever whispers are lost, the last
// word that a stream hears of each is how things are, and it never hears the same twice.
func TestPresenceAgrees(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	nodes := []*node{newNode(t, dsn), newNode(t, dsn)}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	clients := []string{"a", "b", "c", "d", "e"}
	nodes[0].create("Tom", `{"members":`+listOf(clients)+`}`)
	var watchers []*listener
	for i, n := range nodes {
		session := fmt.Sprint("w", i)
		watchers = append(watchers, n.listen("Tom", "session="+session))
		if got := nodes[1-i].subscribe("Tom", session, clients...); len(got) > 0 {
			t.Errorf("%v are online", got)
		}
	}
	open, names := map[string]*listener{}, map[string]string{}
	for step := range 80 {
		client, n := clients[rnd.IntN(len(clients))], nodes[rnd.IntN(2)]
		device := fmt.Sprint(client, rnd.IntN(2))
		l := open[device]
		switch {
		case l == nil:
			if names[device] == "" || rnd.IntN(2) == 0 {
				names[device] = fmt.Sprint(device, "-", step)
			}
			open[device] = n.listen(client, "session="+names[device])
			continue
		case rnd.IntN(3) == 0:
			n.do(client, "DELETE", "/v1/sessions/"+names[device], "")
			names[device] = ""
		}
		l.cut()
		delete(open, device)
	}
	for _, client := range clients {
		want := "offline"
		if open[client+"0"] != nil || open[client+"1"] != nil {
			want = "online"
		}
		for i, w := range watchers {
			nodes[i].until(client+" is "+want, func() bool {
				got := w.presences(client)
				return len(got) == 0 && want == "offline" || len(got) > 0 && got[len(got)-1] == client+" "+want
			})
			for i, got := range w.presences(client) {
				if online := strings.HasSuffix(got, " online"); online != (i%2 == 0) {
					t.Errorf("%v", w.presences(client))
				}
			}
		}
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	a, b := newNode(t, dsn), newNode(t, dsn)
	check := func(want string) {
		t.Helper()
		a.until(want, func() bool { return a.do("server", "GET", "/v1/stats", "").raw == want })
	}
	check(`{"onlineClients":0,"clientsToday":0,"connections":0,"conversations":0,"messages":0}`)
	id := a.create("Tom", `{"members":["Jerry"]}`)
	past := a.create("Tom", `{"kind":"temporary","members":["Jerry"]}`)
	for i := range 3 {
		a.do("Tom", "POST", "/v1/conversations/"+id+"/messages", `{"type":"text","text":"hello"}`)
		a.do("Tom", "POST", "/v1/conversations/"+past+"/messages", fmt.Sprintf(`{"type":"text","text":"hello %d"}`, i))
	}
	a.listen("Tom", "session=1")
	b.listen("Tom", "session=2")
	jerry := b.listen("Jerry", "")
	check(`{"onlineClients":2,"clientsToday":2,"connections":3,"conversations":2,"messages":6}`)
	if got := a.do("server", "DELETE", "/v1/conversations/"+id+"/messages/"+id+".2", "").outcome(); got != "204" {
		t.Errorf("remove a message: %s", got)
	}
	if _, err := a.svc.Store.DB().Exec(`UPDATE conversations SET expires_at = now() WHERE id = $1`, past); err != nil {
		t.Fatal(err)
	}
	jerry.cut()
	check(`{"onlineClients":1,"clientsToday":2,"connections":2,"conversations":1,"messages":2}`)
}
