package handlers_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/api"
	"parley/chat"
	"parley/handlers"
	"parley/openapi/openapitest"
	"parley/repo"
	"parley/repo/repotest"
)

const secret = "a-secret-for-tests-of-enough-bytes"

// site is the whole HTTP surface on a database of its own.
type site struct {
	t       *testing.T
	handler http.Handler
}

func newSite(t *testing.T) *site {
	t.Helper()
	return nodeOn(t, repotest.DSN(t))
}

// nodeOn is one of several servers on a database.
func nodeOn(t *testing.T, dsn string) *site {
	t.Helper()
	s, _, _ := serve(t, chat.Config{DSN: dsn, ReconnectGrace: 10 * time.Second, SeatGrace: 30 * time.Minute}, api.Config{})
	return s
}

// serve starts a server with these settings, of which it adds the keys, and holds what it answers to the OpenAPI document.
func serve(t *testing.T, cfg chat.Config, front api.Config) (*site, *chat.Service, *repo.Store) {
	t.Helper()
	store := repotest.Open(t, cfg.DSN)
	svc := chat.New(cfg, store, slog.New(slog.DiscardHandler))
	if err := svc.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { svc.Close(context.Background()) })
	keys, err := api.NewKeys(api.KeyConfig{Secrets: []api.Secret{{Value: secret}}})
	if err != nil {
		t.Fatal(err)
	}
	front.Keys, front.RedeemTicket = keys, svc.RedeemTicket
	h := &handlers.Handlers{Chat: svc, Store: store, Config: handlers.Config{MessageMaxBytes: 5120}}
	return &site{t, openapitest.Handler(t, api.New(front, h))}, svc, store
}

// as signs a token: a name is a client's, "server" is a server token, "server/Tom" one that acts for Tom.
func as(t *testing.T, r *http.Request, who string) {
	t.Helper()
	claims := jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "sub": who}
	if scope, client, _ := strings.Cut(who, "/"); scope == "server" {
		claims["sub"], claims["scope"] = "backend", "server"
		if client != "" {
			r.Header.Set("Parley-As", url.PathEscape(client))
		}
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
}

// reply is an answer with its JSON.
type reply struct {
	*http.Response
	raw  string
	body map[string]any
}

// do sends one request; a body is sent as JSON.
func (s *site) do(who, method, path, body string, headers ...string) reply {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	as(s.t, r, who)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	res := reply{Response: w.Result()}
	raw, _ := io.ReadAll(res.Body)
	if res.raw = string(raw); res.raw != "" {
		if err := json.Unmarshal(raw, &res.body); err != nil {
			s.t.Fatalf("%s %s answers %q: %v", method, path, raw, err)
		}
	}
	return res
}

// outcome is a status with, for a failure, the code and the field: "400 invalid_request name".
func (r reply) outcome() string {
	out := strconv.Itoa(r.StatusCode)
	if code, ok := r.body["code"].(string); ok && r.StatusCode >= 400 {
		out += " " + code
		if legacy, ok := r.body["legacyCode"].(float64); ok {
			out += " " + strconv.Itoa(int(legacy))
		}
		if errs, ok := r.body["errors"].([]any); ok {
			out += " " + errs[0].(map[string]any)["field"].(string)
		}
	}
	return out
}

func (s *site) create(who, body string) string {
	s.t.Helper()
	r := s.do(who, "POST", "/v1/conversations", body)
	if r.StatusCode != 201 {
		s.t.Fatalf("create %s: %s", body, r.raw)
	}
	return r.body["id"].(string)
}

func TestCreateConversation(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.do("Tom", "POST", "/v1/conversations", `{"members":["Jerry","Jerry"],"name":"<n>","attributes":{"a": {"b":1.50}}}`)
	if r.StatusCode != 201 || r.Header.Get("Location") != "/v1/conversations/"+r.body["id"].(string) {
		t.Fatalf("%s, Location %q", r.outcome(), r.Header.Get("Location"))
	}
	at := r.body["createdAt"].(string)
	want := `{"id":"` + r.body["id"].(string) + `","kind":"ordinary","name":"<n>","creator":"Tom","members":["Tom","Jerry"],"memberCount":2,` +
		`"attributes":{"a":{"b":1.50}},"visibility":"unlisted","unique":false,"createdAt":"` + at + `","updatedAt":"` + at + `",` +
		`"lastMessageAt":null,"lastMessage":null,"expiresAt":null,"muted":false,"role":"owner","unreadMessagesCount":0,` +
		`"unreadMessagesMentioned":false,"lastDeliveredAt":null,"lastReadAt":null}`
	if r.raw != want {
		t.Errorf("created\n%s\nwant\n%s", r.raw, want)
	}
	if r := s.do("Tom", "POST", "/v1/conversations", ""); r.StatusCode != 201 || r.body["memberCount"] != 1.0 {
		t.Errorf("without a body: %s", r.raw)
	}
	first := s.do("Tom", "POST", "/v1/conversations", `{"members":["Jerry"],"unique":true,"name":"first"}`)
	again := s.do("Jerry", "POST", "/v1/conversations", `{"members":["Tom"],"unique":true,"name":"second"}`)
	if first.StatusCode != 201 || first.body["visibility"] != "private" || again.StatusCode != 200 || again.body["id"] != first.body["id"] ||
		again.body["name"] != "first" || again.body["role"] != "member" || again.Header.Get("Location") != "" {
		t.Errorf("unique: %s then %s", first.raw, again.raw)
	}
	system := s.do("server", "POST", "/v1/conversations", `{"members":["Tom"]}`)
	if _, viewed := system.body["role"]; viewed || system.body["creator"] != nil || system.body["memberCount"] != 1.0 {
		t.Errorf("by the system: %s", system.raw)
	}
	if r := s.do("server/Tom", "POST", "/v1/conversations", `{}`); r.body["creator"] != "Tom" || r.body["role"] != "owner" {
		t.Errorf("by a server for Tom: %s", r.raw)
	}
	crowd, _ := json.Marshal(map[string]any{"members": manyIDs(500)})
	for _, tt := range []struct{ body, want string }{
		{`{"kind":"secret"}`, "400 invalid_request kind"},
		{`{"members":["a","b "]}`, "400 invalid_request members[1]"},
		{`{"members":["a",null]}`, "400 invalid_request members[1]"},
		{`{"ttlSeconds":60}`, "400 invalid_request ttlSeconds"},
		{`{"visibility":"hidden"}`, "400 invalid_request visibility"},
		{`{"attributes":[]}`, "400 invalid_request attributes"},
		{`{"attributes":{"a":{"b":1,"b":2}}}`, "400 invalid_request attributes.a.b"},
		{`{"Name":"x"}`, "400 invalid_request Name"},
		{`{"name":"` + strings.Repeat("n", 256) + `"}`, "400 invalid_request name"},
		{string(crowd), "409 conversation_full 4304"},
		{`{"name":"` + strings.Repeat("n", 1<<20) + `"}`, "413 request_too_large"},
	} {
		if got := s.do("Tom", "POST", "/v1/conversations", tt.body).outcome(); got != tt.want {
			t.Errorf("create %.60s: %s, want %s", tt.body, got, tt.want)
		}
	}
	if got := s.do("Tom", "POST", "/v1/conversations?x=1", `{}`).outcome(); got != "400 invalid_request x" {
		t.Errorf("an unknown parameter: %s", got)
	}
	if got := s.do("Tom", "POST", "/v1/conversations", `{}`, "Content-Type", "text/plain").outcome(); got != "415 unsupported_media_type" {
		t.Errorf("a text: %s", got)
	}
}

func manyIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = "c" + strconv.Itoa(i)
	}
	return ids
}

// TestWhoMay is who gets what answer, by visibility: the privacy of API.md section 4 and the codes of section 1.
func TestWhoMay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	requests := []struct{ name, method, path, body string }{
		{"read", "GET", "", ""},
		{"update", "PATCH", "", `{"name":"x"}`},
		{"members", "GET", "/members", ""},
		{"count", "GET", "/members/count", ""},
		{"add", "POST", "/members", `{"clientIds":["Spike"]}`},
		{"add and join", "POST", "/members", `{"clientIds":["Spike","Mary"]}`},
		{"kick", "DELETE", "/members?clientId=Nobody", ""},
		{"quit", "DELETE", "/members?clientId=Mary", ""},
		{"mute", "PUT", "/mute", ""},
		{"unmute", "DELETE", "/mute", ""},
		{"delete", "DELETE", "", ""},
	}
	const hidden = "404 conversation_not_found 4303"
	stranger := []string{"200", "403 not_a_member 4309", "403 not_a_member 4317", "200", "403 not_a_member 4317", "403 not_a_member 4317",
		"403 not_a_member 4317", "200", "403 not_a_member 4317", "403 not_a_member 4317", "403 server_scope_required"}
	for _, tt := range []struct {
		who, visibility string
		want            []string
	}{
		{"Mary", "public", stranger},
		{"Mary", "unlisted", stranger},
		{"Mary", "private", append(slices.Repeat([]string{hidden}, 10), "403 server_scope_required")},
		{"Jerry", "private", []string{"200", "200", "200", "200", "200", "200", "200", "200", "204", "204", "403 server_scope_required"}},
		{"server", "private", []string{"200", "200", "200", "200", "200", "200", "200", "200",
			"400 acting_client_required", "400 acting_client_required", "204"}},
		{"server/Mary", "private", []string{"200", "200", "200", "200", "200", "200", "200", "200", "403 not_a_member 4317", "403 not_a_member 4317", "204"}},
	} {
		id := s.create("Tom", `{"members":["Jerry"],"visibility":"`+tt.visibility+`"}`)
		for i, rq := range requests {
			if got := s.do(tt.who, rq.method, "/v1/conversations/"+id+rq.path, rq.body).outcome(); got != tt.want[i] {
				t.Errorf("%s, %s: %s: %s, want %s", tt.who, tt.visibility, rq.name, got, tt.want[i])
			}
		}
	}
	for _, rq := range requests[:10] { // what does not exist looks the same to everybody
		for _, who := range []string{"Tom", "server/Tom"} {
			for _, id := range []string{"nope", strings.Repeat("x", 65), "a%20b", "%C3%A9"} {
				if got := s.do(who, rq.method, "/v1/conversations/"+id+rq.path, rq.body).outcome(); got != hidden {
					t.Errorf("%s of %s by %s: %s", rq.name, id, who, got)
				}
			}
		}
	}
	// A malformed request is told so before anything about the conversation.
	for _, rq := range []struct{ method, path, body, want string }{
		{"PATCH", "", `{"kind":"x"}`, "400 invalid_request kind"},
		{"PATCH", "", `{"name":5}`, "400 invalid_request name"},
		{"POST", "/members", `{"clientIds":[]}`, "400 invalid_request clientIds"},
		{"POST", "/members", `{}`, "400 invalid_request clientIds"},
		{"POST", "/members", ``, "400 invalid_request body"},
		{"DELETE", "/members", ``, "400 invalid_request clientId"},
		{"DELETE", "/members?clientId=a&clientId=.", ``, "400 invalid_request clientId"},
		{"DELETE", "/members?clientId=", ``, "400 invalid_request clientId"},
		{"GET", "/members?limit=501", ``, "400 invalid_request limit"},
		{"GET", "?include=members", ``, "400 invalid_request include"},
	} {
		if got := s.do("Mary", rq.method, "/v1/conversations/nope"+rq.path, rq.body).outcome(); got != rq.want {
			t.Errorf("%s %s %s: %s, want %s", rq.method, rq.path, rq.body, got, rq.want)
		}
	}
}

func TestPublicFace(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.create("Tom", `{"members":["Jerry"],"visibility":"public","name":"n"}`)
	if r := s.do("Tom", "POST", "/v1/conversations/"+id+"/messages", `{"type":"text","text":"psst"}`); r.StatusCode != 201 {
		t.Fatal(r.raw)
	}
	member := s.do("Jerry", "GET", "/v1/conversations/"+id+"?include=lastMessage", "")
	if last, _ := member.body["lastMessage"].(map[string]any); last["text"] != "psst" || member.body["unreadMessagesCount"] != 1.0 {
		t.Errorf("to a member: %s", member.raw)
	}
	if member.Header.Get("Parley-Position") == "" {
		t.Error("no Parley-Position")
	}
	if r := s.do("Jerry", "GET", "/v1/conversations/"+id, ""); r.body["lastMessage"] != nil {
		t.Errorf("lastMessage unasked for: %s", r.raw)
	}
	face := s.do("Mary", "GET", "/v1/conversations/"+id+"?include=lastMessage", "")
	for _, key := range []string{"muted", "role", "unreadMessagesCount", "unreadMessagesMentioned", "lastDeliveredAt", "lastReadAt"} {
		if _, shown := face.body[key]; shown {
			t.Errorf("a stranger sees %s", key)
		}
	}
	if strings.Contains(face.raw, "psst") || len(face.body["members"].([]any)) != 0 || face.body["memberCount"] != 2.0 || face.body["name"] != "n" {
		t.Errorf("the public face: %s", face.raw)
	}
	server := s.do("server", "GET", "/v1/conversations/"+id+"?include=lastMessage", "")
	if _, viewed := server.body["muted"]; viewed || len(server.body["members"].([]any)) != 2 || server.body["lastMessage"] == nil {
		t.Errorf("to a server: %s", server.raw)
	}
}

func TestListConversations(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var ids []string
	for range 12 {
		ids = append(ids, s.create("Tom", `{"members":["Jerry"]}`))
	}
	s.create("Jerry", `{}`)
	if r := s.do("Jerry", "POST", "/v1/conversations/"+ids[3]+"/messages", `{"type":"text","text":"hi","mentionList":["Tom"]}`); r.StatusCode != 201 {
		t.Fatal(r.raw)
	}
	page := s.do("Tom", "GET", "/v1/conversations", "")
	if len(page.body["items"].([]any)) != 10 || page.body["next"] == nil || page.Header.Get("Parley-Position") == "" {
		t.Errorf("the first page: %s", page.raw)
	}
	if first := page.body["items"].([]any)[0].(map[string]any); first["id"] != ids[3] || first["unreadMessagesCount"] != 1.0 ||
		first["unreadMessagesMentioned"] != true || first["lastMessage"] != nil || len(first["members"].([]any)) != 2 {
		t.Errorf("the first: %v", first)
	}
	var got []string
	for path := "/v1/conversations?limit=5&compact=true&include=lastMessage"; path != ""; {
		page := s.do("Tom", "GET", path, "")
		for _, item := range page.body["items"].([]any) {
			c := item.(map[string]any)
			got = append(got, c["id"].(string))
			if len(c["members"].([]any)) != 0 || (c["lastMessage"] != nil) != (c["id"] == ids[3]) {
				t.Errorf("compact with the last message: %v", c)
			}
		}
		next, more := page.body["next"].(string)
		if path = ""; more {
			path = "/v1/conversations?limit=4&compact=true&include=lastMessage&cursor=" + next
			if r := s.do("Tom", "GET", "/v1/conversations?cursor="+next, "").outcome(); r != "400 invalid_cursor" {
				t.Errorf("a cursor with other parameters: %s", r)
			}
			if r := s.do("Jerry", "GET", path, "").outcome(); r != "400 invalid_cursor" {
				t.Errorf("another's cursor: %s", r)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Errorf("the pages hold %d of %d", len(slices.Compact(got)), len(ids))
	}
	for query, want := range map[string]string{
		"?where={}": "200", "?where=%20{%20}&skip=3": "200", "?limit=1000": "200",
		"?limit=1001": "400 invalid_request limit", "?skip=10001": "400 invalid_request skip", "?where={": "400 invalid_request where",
		"?where={\"name\":\"x\"}": "200", "?order=name": "200", "?q=1": "400 invalid_request q",
	} {
		if r := s.do("Tom", "GET", "/v1/conversations"+strings.ReplaceAll(query, `"`, "%22"), "").outcome(); r != want {
			t.Errorf("%s: %s, want %s", query, r, want)
		}
	}
	if r := s.do("server", "GET", "/v1/conversations", "").outcome(); r != "400 acting_client_required" {
		t.Errorf("the system's own: %s", r)
	}
	if r := s.do("server/Tom", "GET", "/v1/conversations?limit=100", ""); len(r.body["items"].([]any)) != 12 {
		t.Errorf("a server for Tom: %s", r.raw)
	}
	if r := s.do("Spike", "GET", "/v1/conversations", ""); r.raw != `{"items":[],"next":null}` {
		t.Errorf("of somebody new: %s", r.raw)
	}
}

func TestPatchConversation(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.create("Tom", `{"name":"n","attributes":{"old":1,"keep":{"a":1}}}`)
	r := s.do("Tom", "PATCH", "/v1/conversations/"+id, `{"name":null,"attributes":{"pinned":true,"old":null}}`, "Content-Type", "application/merge-patch+json")
	if attributes, _ := json.Marshal(r.body["attributes"]); r.StatusCode != 200 || r.body["name"] != nil || string(attributes) != `{"keep":{"a":1},"pinned":true}` {
		t.Errorf("patched: %s", r.raw)
	}
	for _, body := range []string{`{}`, `{"name":null}`, `{"attributes":{"pinned":true,"gone":null}}`} {
		if again := s.do("Tom", "PATCH", "/v1/conversations/"+id, body); again.raw != r.raw {
			t.Errorf("a patch that changes nothing: %s, want %s", again.raw, r.raw)
		}
	}
	for body, want := range map[string]string{
		``: "400 invalid_request body", `[]`: "400 invalid_request body", `{"members":[]}`: "400 invalid_request members",
		`{"attributes":"x"}`:                                         "400 invalid_request attributes",
		`{"name":"` + strings.Repeat("é", 256) + `"}`:                "400 invalid_request name",
		`{"attributes":{"a":"` + strings.Repeat("x", 16<<10) + `"}}`: "400 invalid_request attributes",
	} {
		if got := s.do("Tom", "PATCH", "/v1/conversations/"+id, body).outcome(); got != want {
			t.Errorf("PATCH %.40s: %s, want %s", body, got, want)
		}
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.create("Tom", `{"members":["Jerry"],"visibility":"public"}`)
	path := "/v1/conversations/" + id + "/members"
	r := s.do("Tom", "POST", path, `{"clientIds":["Mary","a/b é","Mary"]}`)
	if r.raw != `{"succeeded":["Mary","a/b é"],"failed":[],"memberCount":4}` {
		t.Errorf("added: %s", r.raw)
	}
	r = s.do("Tom", "DELETE", path+"?clientId=a%2Fb+%C3%A9&clientId=Spike", "")
	want := `{"succeeded":["a/b é"],"failed":[{"clientId":"Spike","code":"not_a_member","legacyCode":4317,` +
		`"detail":"this client is not a member of the conversation"}],"memberCount":3}`
	if r.raw != want {
		t.Errorf("removed: %s", r.raw)
	}
	s.do("Jerry", "PUT", "/v1/conversations/"+id+"/mute", "")
	var ids []string
	next := ""
	for page := 0; page < 3; page++ {
		r := s.do("Tom", "GET", path+"?limit=2&online=true"+next, "")
		for _, item := range r.body["items"].([]any) {
			m := item.(map[string]any)
			ids = append(ids, m["clientId"].(string))
			role := map[bool]string{true: "owner", false: "member"}[m["clientId"] == "Tom"]
			if m["role"] != role || m["online"] != false || m["muted"] != (m["clientId"] == "Jerry") || m["joinedAt"] == nil {
				t.Errorf("a member: %v", m)
			}
		}
		c, more := r.body["next"].(string)
		if !more {
			break
		}
		next = "&cursor=" + c
		if got := s.do("Tom", "GET", path+"?limit=2"+next, "").outcome(); got != "400 invalid_cursor" {
			t.Errorf("a cursor with other parameters: %s", got)
		}
	}
	if !slices.Equal(ids, []string{"Jerry", "Mary", "Tom"}) {
		t.Errorf("the pages hold %v", ids)
	}
	if r := s.do("Tom", "GET", path, ""); strings.Contains(r.raw, "online") {
		t.Errorf("online, unasked for: %s", r.raw)
	}
	if r := s.do("Spike", "GET", path+"/count", ""); r.raw != `{"count":3}` {
		t.Errorf("count: %s", r.raw)
	}
	if r := s.do("server", "DELETE", "/v1/conversations/"+id, ""); r.StatusCode != 204 || r.raw != "" {
		t.Errorf("deleted: %s", r.outcome())
	}
	if got := s.do("Tom", "GET", "/v1/conversations/"+id, "").outcome(); got != "404 conversation_not_found 4303" {
		t.Errorf("then: %s", got)
	}
}
