package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/api"
	"parley/chat"
	"parley/handlers"
	"parley/model"
	"parley/repo"
	"parley/repo/repotest"
)

// The grants of API.md section 2, through the whole of the server.

const grantSecret = "the-secret-of-the-tests-of-grants-is-long"

// stack is one server on a database.
type stack struct {
	t       *testing.T
	chat    *chat.Service
	store   *repo.Store
	handler http.Handler
}

func newStack(t *testing.T, dsn string, switches ...model.GrantSwitch) *stack {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store := repotest.Open(t, dsn)
	svc := chat.New(chat.Config{DSN: dsn, ReconnectGrace: 10 * time.Second, RequireGrants: switches}, store, log)
	if err := svc.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { svc.Close(t.Context()) })
	keys, err := api.NewKeys(api.KeyConfig{Secrets: []api.Secret{{Value: grantSecret}}})
	if err != nil {
		t.Fatal(err)
	}
	h := &handlers.Handlers{Chat: svc, Store: store, Config: handlers.Config{MessageMaxBytes: 5120}}
	return &stack{t, svc, store, api.New(api.Config{
		Keys: keys, Revoked: svc.Revoked, RedeemTicket: svc.RedeemTicket, Grants: len(switches) > 0,
		Unavailable: repo.IsUnavailable, Log: log,
	}, h)}
}

func allSwitches(t *testing.T) *stack { return newStack(t, repotest.DSN(t), model.GrantSwitches...) }

// answer is what the server said.
type answer struct {
	status     int
	Code       string
	LegacyCode int
	ID         string
	Succeeded  []string
	Items      []struct{ ID string }
	body       string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

func signed(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(grantSecret))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// with overlays claims; nil takes one away.
func with(claims jwt.MapClaims, more ...any) jwt.MapClaims {
	for i := 0; i < len(more); i += 2 {
		if more[i+1] == nil {
			delete(claims, more[i].(string))
		} else {
			claims[more[i].(string)] = more[i+1]
		}
	}
	return claims
}

func lasting(life time.Duration) jwt.MapClaims {
	now := time.Now()
	return jwt.MapClaims{"iat": now.Unix(), "exp": now.Add(life).Unix()}
}

// grant signs a grant for a client.
func grant(t *testing.T, client, op, conversation string, members []string, more ...any) string {
	t.Helper()
	c := with(lasting(time.Hour), "sub", client, "op", op)
	if conversation != "" {
		c["cid"] = conversation
	}
	if members != nil {
		c["mem"] = members
	}
	return signed(t, with(c, more...))
}

// ask sends a request of a client ("" is a server token); headers are pairs.
func (s *stack) ask(client, method, path, body string, headers ...string) answer {
	s.t.Helper()
	token := with(lasting(time.Hour), "scope", "server")
	if client != "" {
		token = with(lasting(time.Hour), "sub", client)
	}
	return s.askAs(signed(s.t, token), method, path, body, headers...)
}

func (s *stack) askAs(token, method, path, body string, headers ...string) answer {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	raw, err := io.ReadAll(w.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := answer{status: w.Code, body: string(raw)}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &a); err != nil {
			s.t.Fatalf("%s %s answered %s", method, path, raw)
		}
	}
	return a
}

// want checks an answer: a status, or a code of an error.
func (s *stack) want(what string, got answer, want any) {
	s.t.Helper()
	switch w := want.(type) {
	case int:
		if got.status != w {
			s.t.Errorf("%s: %v, want %d", what, got, w)
		}
	case model.Code:
		p, _ := model.ProblemOf(w)
		if got.status != p.Status || got.Code != string(w) {
			s.t.Errorf("%s: %v, want %s", what, got, w)
		}
		if strings.HasPrefix(string(w), "grant_") && got.LegacyCode != 4302 {
			s.t.Errorf("%s: legacy code %d", what, got.LegacyCode)
		}
	}
}

// group makes a conversation of clients, without a creator.
func (s *stack) group(clients ...string) string {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"members": clients, "visibility": "unlisted"})
	if err != nil {
		s.t.Fatal(err)
	}
	a := s.ask("", "POST", "/v1/conversations", string(body))
	if a.status != http.StatusCreated {
		s.t.Fatalf("create: %v", a)
	}
	return a.ID
}

// said sends a message, which needs no grant.
func (s *stack) said(client, conversation string) string {
	s.t.Helper()
	a := s.ask(client, "POST", "/v1/conversations/"+conversation+"/messages", `{"type":"text","text":"hello"}`)
	if a.status != http.StatusCreated {
		s.t.Fatalf("send: %v", a)
	}
	return a.ID
}

const header = "Parley-Grant"

func TestGrantsAreDemanded(t *testing.T) {
	t.Parallel()
	s := allSwitches(t)
	id := s.group("Tom", "Jerry", "Bob")
	message := s.said("Tom", id)
	of := "/v1/conversations/" + id
	for _, tt := range []struct {
		name, method, path, body string
		op                       string
		members                  []string
		status                   int
	}{
		{"create", "POST", "/v1/conversations", `{"members":["Mary"]}`, "create", []string{"Mary", "Tom"}, 201},
		{"create for oneself", "POST", "/v1/conversations", ``, "create", []string{"Tom"}, 201},
		{"create a chatroom", "POST", "/v1/conversations", `{"kind":"chatroom"}`, "create", []string{"Tom"}, 201},
		{"invite", "POST", of + "/members", `{"clientIds":["Mary","Jerry"]}`, "invite", []string{"Jerry", "Mary"}, 200},
		{"kick", "DELETE", of + "/members?clientId=Mary", "", "kick", []string{"Mary"}, 200},
		{"kick whom is not there", "DELETE", of + "/members?clientId=Mary", "", "kick", []string{"Mary"}, 200},
		{"history", "GET", of + "/messages", "", "history", nil, 200},
		{"history, asked for its head", "HEAD", of + "/messages", "", "history", nil, 200},
		{"one message", "GET", of + "/messages/" + message, "", "history", nil, 200},
	} {
		cid, other := id, s.group("Tom")
		if tt.op == "create" {
			cid, other = "", id
		}
		fresh := func(more ...any) string { return grant(t, "Tom", tt.op, cid, tt.members, more...) }
		now := time.Now()
		for _, bad := range []struct {
			name, grant string
			code        model.Code
		}{
			{"garbage", "garbage", model.GrantInvalid},
			{"a token", signed(t, with(lasting(time.Hour), "sub", "Tom")), model.GrantInvalid},
			{"expired", fresh("iat", now.Add(-time.Hour).Unix(), "exp", now.Add(-time.Minute).Unix()), model.GrantInvalid},
			{"without iat", fresh("iat", nil), model.GrantInvalid},
			{"too long-lived", fresh("exp", now.Add(7*time.Hour).Unix()), model.GrantInvalid},
			{"another's", fresh("sub", "Jerry"), model.GrantMismatch},
			{"nobody's", fresh("sub", nil), model.GrantMismatch},
			{"for another operation", fresh("op", "block"), model.GrantMismatch},
			{"for another conversation", fresh("cid", other), model.GrantMismatch},
			{"for others as well", fresh("mem", append([]string{"Eve"}, tt.members...)), model.GrantMismatch},
		} {
			if tt.method == "HEAD" {
				continue // it has no body to look at
			}
			s.want(tt.name+", "+bad.name, s.ask("Tom", tt.method, tt.path, tt.body, header, bad.grant), bad.code)
		}
		if tt.method != "HEAD" {
			s.want(tt.name+", none", s.ask("Tom", tt.method, tt.path, tt.body), model.GrantRequired)
			s.want(tt.name+", a grant for a token", s.askAs(fresh(), tt.method, tt.path, tt.body), model.Unauthenticated)
		}
		s.want(tt.name+", good", s.ask("Tom", tt.method, tt.path, tt.body, header, fresh()), tt.status)
		again := fresh()
		for range 2 {
			s.want(tt.name+", without jti again", s.ask("Tom", tt.method, tt.path, tt.body, header, again), tt.status)
		}
		s.want(tt.name+", twice", s.ask("Tom", tt.method, tt.path, tt.body, header, again, header, again), model.InvalidRequest)
	}
}

func TestGrantsAreNotDemanded(t *testing.T) {
	t.Parallel()
	s := allSwitches(t)
	id := s.group("Tom", "Jerry", "Bob")
	of := "/v1/conversations/" + id
	s.want("send", s.ask("Tom", "POST", of+"/messages", `{"type":"text","text":"x"}`), 201)
	s.want("update", s.ask("Tom", "PATCH", of, `{"name":"x"}`), 200)
	s.want("mute", s.ask("Tom", "PUT", of+"/mute", ""), 204)
	s.want("read", s.ask("Tom", "POST", of+"/read", ""), 200)
	s.want("look", s.ask("Tom", "GET", of+"?include=lastMessage", ""), 200)
	s.want("members", s.ask("Tom", "GET", of+"/members", ""), 200)
	s.want("quit", s.ask("Tom", "DELETE", of+"/members?clientId=Tom", ""), 200)
	s.want("quit, a bad grant sent", s.ask("Jerry", "DELETE", of+"/members?clientId=Jerry", "", header, "x"), 200)
	s.want("join", s.ask("Tom", "POST", of+"/members", `{"clientIds":["Tom"]}`), model.GrantRequired)
	s.want("join", s.ask("Tom", "POST", of+"/members", `{"clientIds":["Tom"]}`, header, grant(t, "Tom", "invite", id, []string{"Tom"})), 200)
	kick := "/members?clientId=Bob&clientId=Tom"
	s.want("kick and quit", s.ask("Tom", "DELETE", of+kick, ""), model.GrantRequired)
	s.want("kick and quit", s.ask("Tom", "DELETE", of+kick, "", header, grant(t, "Tom", "kick", id, []string{"Bob"})), 200)

	for _, as := range [][]string{nil, {"Parley-As", "Tom"}, {header, "x"}} {
		s.want("server, create", s.ask("", "POST", "/v1/conversations", `{"members":["Mary"]}`, as...), 201)
		s.want("server, add", s.ask("", "POST", of+"/members", `{"clientIds":["Mary"]}`, as...), 200)
		s.want("server, history", s.ask("", "GET", of+"/messages", "", as...), 200)
		s.want("server, remove", s.ask("", "DELETE", of+"/members?clientId=Mary", "", as...), 200)
	}
}

// Each switch demands grants for its own operations, and sent without need they are not looked at.
func TestGrantSwitches(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	for _, tt := range []struct {
		switches             []model.GrantSwitch
		conversation, record any
	}{
		{nil, 200, 200},
		{[]model.GrantSwitch{model.GrantsForConversation}, model.GrantRequired, 200},
		{[]model.GrantSwitch{model.GrantsForHistory}, 200, model.GrantRequired},
		{[]model.GrantSwitch{model.GrantsForBlock}, 200, 200},
	} {
		s := newStack(t, dsn, tt.switches...)
		of := "/v1/conversations/" + s.group("Tom")
		s.want(fmt.Sprint(tt.switches, " invite"), s.ask("Tom", "POST", of+"/members", `{"clientIds":["Mary"]}`), tt.conversation)
		s.want(fmt.Sprint(tt.switches, " history"), s.ask("Tom", "GET", of+"/messages", ""), tt.record)
		if tt.conversation == 200 {
			s.want(fmt.Sprint(tt.switches, " a bad grant"), s.ask("Tom", "POST", of+"/members", `{"clientIds":["Bob"]}`, header, "x"), 200)
		}
	}
}

// What comes before the grant, and what behind it (API.md section 1).
func TestGrantInTheOrderOfChecks(t *testing.T) {
	t.Parallel()
	s := allSwitches(t)
	id := s.group("Jerry")
	of := "/v1/conversations/" + id
	private := s.ask("", "POST", "/v1/conversations", `{"members":["Jerry"],"visibility":"private"}`).ID
	many := make([]string, model.MaxMembers)
	for i := range many {
		many[i] = fmt.Sprint("c", i)
	}
	crowd, err := json.Marshal(map[string]any{"members": many})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name                       string
		client, method, path, body string
		want                       model.Code
	}{
		{"a bad body", "Tom", "POST", "/v1/conversations", `{"name":7}`, model.InvalidRequest},
		{"a bad parameter", "Jerry", "GET", of + "/messages?limit=0", "", model.InvalidRequest},
		{"no conversation", "Tom", "POST", "/v1/conversations/none/members", `{"clientIds":["Tom"]}`, model.ConversationNotFound},
		{"no conversation to remove from", "Tom", "DELETE", "/v1/conversations/none/members?clientId=Bob", "", model.ConversationNotFound},
		{"no history", "Tom", "GET", "/v1/conversations/none/messages", "", model.ConversationNotFound},
		{"private", "Tom", "POST", "/v1/conversations/" + private + "/members", `{"clientIds":["Tom"]}`, model.ConversationNotFound},
		{"private history", "Tom", "GET", "/v1/conversations/" + private + "/messages", "", model.ConversationNotFound},
		{"not a member", "Tom", "POST", of + "/members", `{"clientIds":["Bob"]}`, model.NotAMember},
		{"not a member who removes", "Tom", "DELETE", of + "/members?clientId=Jerry", "", model.NotAMember},
		{"not a member who reads", "Tom", "GET", of + "/messages", "", model.NotAMember},
		{"not a member who reads one", "Tom", "GET", of + "/messages/none", "", model.NotAMember},
		{"no such message", "Jerry", "GET", of + "/messages/none", "", model.GrantRequired},
		{"no such bound", "Jerry", "GET", of + "/messages?startMessageId=none", "", model.GrantRequired},
		{"too many members", "Tom", "POST", "/v1/conversations", string(crowd), model.GrantRequired},
	} {
		s.want(tt.name, s.ask(tt.client, tt.method, tt.path, tt.body), tt.want)
	}
	all := grant(t, "Tom", "create", "", append(many, "Tom"))
	s.want("too many members, agreed", s.ask("Tom", "POST", "/v1/conversations", string(crowd), header, all), model.ConversationFull)
}

// Only what was answered with 2xx uses up a grant; and then it stays so, on every
// node and after a restart.
func TestGrantWorksOnce(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	s := newStack(t, dsn, model.GrantSwitches...)
	id := s.group("Tom", "Jerry")
	of := "/v1/conversations/" + id
	message := s.said("Jerry", id)

	g := grant(t, "Tom", "history", id, nil, "jti", "h1")
	s.want("no such message", s.ask("Tom", "GET", of+"/messages/none", "", header, g), model.MessageNotFound)
	s.want("no such bound", s.ask("Tom", "GET", of+"/messages?startMessageId=none", "", header, g), model.MessageNotFound)
	s.want("a bad parameter", s.ask("Tom", "GET", of+"/messages?limit=x", "", header, g), model.InvalidRequest)
	s.want("elsewhere", s.ask("Tom", "GET", "/v1/conversations/"+s.group("Tom")+"/messages", "", header, g), model.GrantMismatch)
	s.want("by another", s.ask("Jerry", "GET", of+"/messages", "", header, g), model.GrantMismatch)
	s.want("found", s.ask("Tom", "GET", of+"/messages/"+message, "", header, g), 200)
	s.want("again", s.ask("Tom", "GET", of+"/messages/"+message, "", header, g), model.GrantUsed)
	s.want("again, no such message", s.ask("Tom", "GET", of+"/messages/none", "", header, g), model.GrantUsed)
	s.want("the list", s.ask("Tom", "GET", of+"/messages", "", header, g), model.GrantUsed)
	s.want("a member no more", s.ask("Mary", "GET", of+"/messages", "", header, g), model.NotAMember)

	invite := grant(t, "Tom", "invite", id, []string{"Mary"}, "jti", "i1")
	s.want("another set", s.ask("Tom", "POST", of+"/members", `{"clientIds":["Bob"]}`, header, invite), model.GrantMismatch)
	s.want("invite", s.ask("Tom", "POST", of+"/members", `{"clientIds":["Mary"]}`, header, invite), 200)
	s.want("invite again", s.ask("Tom", "POST", of+"/members", `{"clientIds":["Mary"]}`, header, invite), model.GrantUsed)
	s.want("the same jti elsewhere", s.ask("Jerry", "POST", of+"/members", `{"clientIds":["Bob"]}`, header,
		grant(t, "Jerry", "invite", id, []string{"Bob"}, "jti", "i1")), model.GrantUsed)
	if a := s.ask("Tom", "GET", of, ""); strings.Contains(a.body, "Bob") {
		t.Errorf("a refused invitation was done: %v", a)
	}

	unique := `{"members":["Jerry"],"unique":true}`
	mem := []string{"Tom", "Jerry"}
	made := grant(t, "Tom", "create", "", mem, "jti", "c1")
	found := grant(t, "Tom", "create", "", mem, "jti", "c2")
	s.want("make", s.ask("Tom", "POST", "/v1/conversations", unique, header, made), 201)
	s.want("make again", s.ask("Tom", "POST", "/v1/conversations", unique, header, made), model.GrantUsed)
	s.want("find", s.ask("Tom", "POST", "/v1/conversations", unique, header, found), 200)
	s.want("find again", s.ask("Tom", "POST", "/v1/conversations", unique, header, found), model.GrantUsed)

	kick := grant(t, "Tom", "kick", id, []string{"Mary"}, "jti", strings.Repeat("long", 500))
	s.want("kick", s.ask("Tom", "DELETE", of+"/members?clientId=Mary", "", header, kick), 200)

	s.chat.Close(t.Context())
	for range 2 { // a restart, and another node beside it
		s = newStack(t, dsn, model.GrantSwitches...)
		s.want("history", s.ask("Tom", "GET", of+"/messages", "", header, g), model.GrantUsed)
		s.want("invite", s.ask("Tom", "POST", of+"/members", `{"clientIds":["Mary"]}`, header, invite), model.GrantUsed)
		s.want("create", s.ask("Tom", "POST", "/v1/conversations", unique, header, found), model.GrantUsed)
		s.want("kick", s.ask("Tom", "DELETE", of+"/members?clientId=Mary", "", header, kick), model.GrantUsed)
	}
}

// Of many uses at once, on two nodes, one succeeds.
func TestGrantRace(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	nodes := []*stack{newStack(t, dsn, model.GrantSwitches...), newStack(t, dsn, model.GrantSwitches...)}
	id := nodes[0].group("Tom")
	of := "/v1/conversations/" + id
	for _, tt := range []struct {
		name, method, path, body, op string
		members                      []string
		status                       int
	}{
		{"create", "POST", "/v1/conversations", `{"members":["Mary"]}`, "create", []string{"Tom", "Mary"}, 201},
		{"create a unique one", "POST", "/v1/conversations", `{"members":["Mary"],"unique":true}`, "create", []string{"Tom", "Mary"}, 201},
		{"find a unique one", "POST", "/v1/conversations", `{"members":["Mary"],"unique":true}`, "create", []string{"Tom", "Mary"}, 200},
		{"invite", "POST", of + "/members", `{"clientIds":["Mary"]}`, "invite", []string{"Mary"}, 200},
		{"kick", "DELETE", of + "/members?clientId=Mary", "", "kick", []string{"Mary"}, 200},
		{"history", "GET", of + "/messages", "", "history", nil, 200},
	} {
		cid := id
		if tt.op == "create" {
			cid = ""
		}
		g := grant(t, "Tom", tt.op, cid, tt.members, "jti", "race "+tt.name)
		answers := make([]answer, 12)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() { answers[i] = nodes[i%2].ask("Tom", tt.method, tt.path, tt.body, header, g) })
		}
		wg.Wait()
		won := 0
		for _, a := range answers {
			switch {
			case a.status == tt.status:
				won++
			case a.Code != string(model.GrantUsed):
				t.Errorf("%s: %v", tt.name, a)
			}
		}
		if won != 1 {
			t.Errorf("%s: %d succeeded", tt.name, won)
		}
	}
}

// stream opens a session's stream, and leaves it open until the test ends.
func (s *stack) stream(client, session string) {
	s.t.Helper()
	server := httptest.NewServer(s.handler)
	s.t.Cleanup(server.Close)
	s.t.Cleanup(server.CloseClientConnections)
	token := signed(s.t, with(lasting(time.Hour), "sub", client))
	res, err := http.Get(server.URL + "/v1/events?session=" + session + "&access_token=" + token)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { res.Body.Close() })
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if lines.Text() == "event: ready" {
			return
		}
	}
	s.t.Fatal("the stream is not ready")
}

// A chatroom's seat is a join.
func TestGrantForASeat(t *testing.T) {
	t.Parallel()
	s := allSwitches(t)
	room := s.ask("", "POST", "/v1/conversations", `{"kind":"chatroom"}`).ID
	of := "/v1/conversations/" + room + "/members"
	me := `{"clientIds":["Tom"]}`
	s.stream("Tom", "phone")
	take := func(session string, grant ...string) answer {
		headers := []string{"Parley-Session", session}
		for _, g := range grant {
			headers = append(headers, header, g)
		}
		return s.ask("Tom", "POST", of, me, headers...)
	}
	once := grant(t, "Tom", "invite", room, []string{"Tom"}, "jti", "seat")
	s.want("no session", s.ask("Tom", "POST", of, me, header, once), model.SessionRequired)
	s.want("an unknown session", take("pad", once), model.SessionRequired)
	s.want("others", s.ask("Tom", "POST", of, `{"clientIds":["Mary"]}`, "Parley-Session", "phone"), model.NotAllowedInChatroom)
	s.want("no grant", take("phone"), model.GrantRequired)
	s.want("another room's", take("phone", grant(t, "Tom", "invite", "C", []string{"Tom"})), model.GrantMismatch)
	s.want("nobody seated", s.ask("Tom", "DELETE", of+"?clientId=Tom", ""), 200)
	if a := s.ask("", "GET", of+"/count", ""); a.body != `{"count":0}` {
		t.Errorf("refused, but seated: %v", a)
	}
	s.want("seated", take("phone", once), 200)
	s.want("again", take("phone", once), model.GrantUsed)
	s.want("left, which needs none", s.ask("Tom", "DELETE", of+"?clientId=Tom", ""), 200)
	s.want("back again", take("phone", grant(t, "Tom", "invite", room, []string{"Tom"})), 200)
	if a := s.ask("", "GET", of+"/count", ""); a.body != `{"count":1}` {
		t.Errorf("not seated: %v", a)
	}
	s.want("its history", s.ask("Mary", "GET", "/v1/conversations/"+room+"/messages", ""), model.GrantRequired)
	s.want("its history, agreed", s.ask("Mary", "GET", "/v1/conversations/"+room+"/messages", "", header, grant(t, "Mary", "history", room, nil)), 200)
}

// A kick revokes the client's grants, issued up to that second.
func TestGrantIsRevoked(t *testing.T) {
	t.Parallel()
	s := allSwitches(t)
	id := s.group("Tom", "Jerry")
	of := "/v1/conversations/" + id + "/messages"
	before := grant(t, "Tom", "history", id, nil)
	jerrys := grant(t, "Jerry", "history", id, nil)
	s.want("before", s.ask("Tom", "GET", of, "", header, before), 200)
	s.want("kick", s.ask("", "POST", "/v1/clients/Tom/kick", ""), 204)
	later := time.Now().Add(2 * time.Second).Unix() // another second, within the leeway
	token := signed(t, with(lasting(time.Hour), "sub", "Tom", "iat", later))
	s.want("the old one", s.askAs(token, "GET", of, "", header, before), model.GrantInvalid)
	s.want("the old one elsewhere", s.askAs(token, "GET", "/v1/conversations/"+s.group("Tom")+"/messages", "", header, before), model.GrantInvalid)
	s.want("a new one", s.askAs(token, "GET", of, "", header, grant(t, "Tom", "history", id, nil, "iat", later)), 200)
	s.want("another's", s.ask("Jerry", "GET", of, "", header, jerrys), 200)
}

// Used grants are forgotten, but only when nobody could use them any more.
func TestUsedGrantsAreCleaned(t *testing.T) {
	t.Parallel()
	s := allSwitches(t)
	of := "/v1/conversations/" + s.group("Tom")
	now := time.Now()
	left := func() (n int) {
		if err := s.store.DB().QueryRow("SELECT count(*) FROM grants_used").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, life := range []time.Duration{time.Minute, 5 * time.Hour} {
		g := grant(t, "Tom", "history", strings.TrimPrefix(of, "/v1/conversations/"), nil, "jti", life.String(), "exp", now.Add(life).Unix())
		s.want("history", s.ask("Tom", "GET", of+"/messages", "", header, g), 200)
	}
	for _, tt := range []struct {
		after time.Duration
		left  int
	}{{2 * time.Minute, 2}, {2 * time.Hour, 1}, {5*time.Hour + time.Minute, 1}, {7 * time.Hour, 0}} {
		if err := s.chat.CleanUp(t.Context(), now.Add(tt.after)); err != nil {
			t.Fatal(err)
		}
		if n := left(); n != tt.left {
			t.Errorf("after %v %d are left, want %d", tt.after, n, tt.left)
		}
	}
}
