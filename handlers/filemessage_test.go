package handlers_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parley/api"
	"parley/chat"
)

// What a service sends to one subscriber is not for the others.
func TestFilesOfAService(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	service := s.create("server", `{"kind":"service"}`)
	for _, who := range []string{"Jerry", "Mary"} {
		if r := s.do(who, "POST", "/v1/conversations/"+service+"/members", `{"clientIds":["`+who+`"]}`); r.StatusCode != 200 {
			t.Fatal(r.raw)
		}
	}
	for _, tt := range []struct{ path, more, jerry, mary, stranger string }{
		{"messages", `,"to":["Jerry"]`, "200", "404 file_not_found", "404 file_not_found"},
		{"broadcasts", "", "200", "200", "404 file_not_found"},
	} {
		f := s.upload("server", "x", tt.path)
		id := f["id"].(string)
		r := s.do("server/News", "POST", "/v1/conversations/"+service+"/"+tt.path, `{"type":"file","file":{"id":"`+id+`"}`+tt.more+`}`)
		if r.StatusCode != 201 || s.unheld(id) {
			t.Fatal(r.raw)
		}
		for who, want := range map[string]string{"Jerry": tt.jerry, "Mary": tt.mary, "William": tt.stranger} {
			if got := s.fetch(who, "GET", "/v1/files/"+id, nil).outcome(); got != want {
				t.Errorf("%s: %s reads it: %s, want %s", tt.path, who, got, want)
			}
		}
	}
}

func TestMessagesWithFiles(t *testing.T) {
	t.Parallel()
	s := newFileSite(t, func(c *chat.FileConfig, _ *api.Config) { c.PublicURL = "https://chat.example/im" })
	group := s.create("Tom", `{"members":["Jerry"]}`)
	s.create("Jerry", `{"members":["Mary"]}`)
	f := s.upload("Tom", "cat.png", picture(3, 2))
	id, link := f["id"].(string), f["url"].(string)
	if !strings.HasPrefix(link, "https://chat.example/im/v1/files/") {
		t.Errorf("url %s", link)
	}
	filled := map[string]any{"id": id, "url": link, "name": "cat.png", "mimeType": "image/png", "size": f["size"], "width": 3., "height": 2., "format": "png"}
	relative := link[strings.Index(link, "/v1/"):]
	outside := map[string]any{"url": "https://elsewhere.example/v1/files/x?key=y", "size": 7.}
	for _, tt := range []struct {
		who, file string
		want      any
	}{
		{"Tom", `{"id":"` + id + `"}`, filled},
		{"Tom", `{"id":"` + id + `","url":"nonsense","name":"x","size":-3,"width":9}`, filled},
		{"Jerry", `{"id":"` + id + `"}`, filled}, // was sent to him
		{"Jerry", `{"url":"` + link + `","name":"x"}`, filled},
		{"Jerry", `{"url":"` + relative + `"}`, filled},
		{"Jerry", `{"url":"http://127.0.0.1:8080` + relative + `"}`, filled},
		{"server/Jerry", `{"id":"` + id + `"}`, filled},
		{"Jerry", `{"url":"https://elsewhere.example/v1/files/x?key=y","size":7}`, outside},
		{"Tom", `{"id":"nosuchfile"}`, "file.id"},
		{"Tom", `{"id":"nosuchfile","url":"` + link + `"}`, "file.id"},
		{"Tom", `{"id":"` + strings.Repeat("x", 100) + `"}`, "file.id"},
		{"Tom", `{"url":"/v1/files/` + id + `?key=wrong"}`, "file.url"},
		{"Tom", `{"url":"/v1/files/` + id + `"}`, "file.url"},
		{"Tom", `{"url":""}`, "file.url"},
	} {
		r := s.do(tt.who, "POST", "/v1/conversations/"+group+"/messages", `{"type":"image","file":`+tt.file+`}`)
		if field, refused := tt.want.(string); refused {
			if got := r.outcome(); got != "400 invalid_request "+field {
				t.Errorf("%s %s: %s, want 400 %s", tt.who, tt.file, got, field)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, r.body["file"]); diff != "" {
			t.Errorf("%s %s: %s (-want +got)\n%s", tt.who, tt.file, r.raw, diff)
		}
		got := s.do("Tom", "GET", r.Header.Get("Location"), "")
		if diff := cmp.Diff(tt.want, got.body["file"]); diff != "" {
			t.Errorf("as read again: (-want +got)\n%s", diff)
		}
	}
	secretFile := s.upload("Tom", "secret.txt", "secret")
	if got := s.do("Jerry", "POST", "/v1/conversations/"+group+"/messages", `{"type":"file","file":{"id":"`+secretFile["id"].(string)+`"}}`).outcome(); got != "400 invalid_request file.id" {
		t.Errorf("another's file: %s", got)
	}
	r := s.do("Tom", "POST", "/v1/conversations/"+group+"/messages", `{"type":"custom","customType":1,"transient":true,"file":{"id":"`+id+`"}}`)
	if diff := cmp.Diff(filled, r.body["file"], cmp.Options{}); r.StatusCode != 202 || diff != "" {
		t.Errorf("transient: %s %s", r.outcome(), diff)
	}
}

// unheld says whether no message holds a file.
func (s *fileSite) unheld(id string) (unheld bool) {
	s.t.Helper()
	if err := s.store.DB().QueryRow(`SELECT unheld_since IS NOT NULL FROM files WHERE id = $1`, id).Scan(&unheld); err != nil {
		s.t.Fatal(err)
	}
	return unheld
}

func (s *fileSite) send(who, group, id string) (seq float64) {
	s.t.Helper()
	r := s.do(who, "POST", "/v1/conversations/"+group+"/messages", `{"type":"file","file":{"id":"`+id+`"}}`)
	if r.StatusCode != 201 {
		s.t.Fatal(r.raw)
	}
	return r.body["seq"].(float64)
}

// Whoever edits, recalls or removes messages need not know of files, but for the column.
func TestWhoHoldsAFile(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	group := s.create("Tom", `{"members":["Jerry"]}`)
	a, b := s.upload("Tom", "a", "a")["id"].(string), s.upload("Tom", "b", "b")["id"].(string)
	check := func(what string, aUnheld, bUnheld bool) {
		t.Helper()
		if s.unheld(a) != aUnheld || s.unheld(b) != bUnheld {
			t.Errorf("%s: unheld are a %v, b %v", what, s.unheld(a), s.unheld(b))
		}
	}
	check("uploaded", true, true)
	first, second := s.send("Tom", group, a), s.send("Jerry", group, a)
	check("sent twice", false, true)
	s.exec(`UPDATE messages SET file_id = $1 WHERE seq = $2`, b, first)
	check("one edited", false, false)
	s.exec(`UPDATE messages SET type = -127, content = '{"type":"recalled"}' WHERE seq = $1`, second)
	check("the other recalled", true, false)
	if got := s.fetch("Jerry", "GET", "/v1/files/"+a, nil).outcome(); got != "404 file_not_found" {
		t.Errorf("what was recalled: %s", got)
	}
	third := s.send("Tom", group, a)
	check("sent anew", false, false)
	s.exec(`DELETE FROM messages WHERE seq IN ($1, $2)`, first, third)
	check("deleted", true, true)
	s.send("Tom", group, a)
	if got := s.do("server", "DELETE", "/v1/conversations/"+group, "").outcome(); got != "204" {
		t.Fatal(got)
	}
	check("conversation deleted", true, true)
}

func TestDeleteFile(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	group := s.create("Tom", `{"members":["Jerry"]}`)
	f := s.upload("Tom", "a", "a")
	id := f["id"].(string)
	sendIt := func() reply {
		return s.do("Tom", "POST", "/v1/conversations/"+group+"/messages", `{"type":"file","file":{"id":"`+id+`"}}`, "Idempotency-Key", "once")
	}
	sent := sendIt()
	path := "/v1/files/" + id
	for _, tt := range []struct{ who, path, want string }{
		{"Jerry", path, "404 file_not_found"}, // may read it, and no more
		{"Tom", path + "?x=1", "400 invalid_request x"},
		{"Tom", "/v1/files/nosuchfile", "404 file_not_found"},
		{"Tom", path, "204"},
		{"Tom", path, "404 file_not_found"},
	} {
		if got := s.fetch(tt.who, "DELETE", tt.path, nil).outcome(); got != tt.want {
			t.Errorf("%s deletes %s: %s, want %s", tt.who, tt.path, got, tt.want)
		}
	}
	for _, p := range []string{path, f["url"].(string)} {
		if got := s.fetch("Tom", "GET", p, nil).outcome(); got != "404 file_not_found" {
			t.Errorf("%s: %s", p, got)
		}
	}
	if left := s.left(); left != [2]int{0, 0} {
		t.Errorf("left: %v", left)
	}
	if got := s.do("Jerry", "GET", sent.Header.Get("Location"), ""); got.body["file"].(map[string]any)["id"] != id {
		t.Errorf("the message is now %s", got.raw)
	}
	if again := sendIt(); again.StatusCode != 200 || again.Header.Get("Idempotent-Replayed") != "true" || again.body["seq"] != sent.body["seq"] {
		t.Errorf("sent again with its key: %s", again.raw)
	}
	if got := s.do("Tom", "POST", "/v1/conversations/"+group+"/messages", `{"type":"file","file":{"id":"`+id+`"}}`).outcome(); got != "400 invalid_request file.id" {
		t.Errorf("sent again: %s", got)
	}
	system := s.fetch("server", "POST", "/v1/files", strings.NewReader("x"), "Content-Type", "text/plain")
	if got := s.fetch("server", "DELETE", "/v1/files/"+system.body["id"].(string), nil).outcome(); got != "204" {
		t.Errorf("a server's own: %s", got)
	}
}

func TestOrphansAreRemoved(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	group := s.create("Tom", `{"members":["Jerry"]}`)
	orphan, held, young := s.upload("Tom", "a", "a"), s.upload("Tom", "b", "b"), s.upload("Tom", "c", "c")
	s.send("Tom", group, held["id"].(string))
	s.exec(`UPDATE files SET unheld_since = unheld_since - interval '24 hours', created_at = created_at - interval '30 days' WHERE name <> 'c'`)
	// What a crash leaves of an upload.
	s.exec(`INSERT INTO files (id, uploader, state, size, created_at, unheld_since) VALUES ('CRASHEDUPLOAD', 'Tom', 1, 1, now(), now() - interval '25 hours')`)
	rest := filepath.Join(s.dir, "CR", "CRASHEDUPLOAD.part")
	if err := os.MkdirAll(filepath.Dir(rest), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(rest, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	wants := func(when string, want ...string) {
		t.Helper()
		for i, f := range []map[string]any{orphan, held, young} {
			if got := s.fetch("", "GET", f["url"].(string), nil).outcome(); got != want[i] {
				t.Errorf("%s, %v: %s, want %s", when, f["name"], got, want[i])
			}
		}
	}
	wants("before the clean-up", "404 file_not_found", "200", "200")
	if got := s.do("Tom", "POST", "/v1/conversations/"+group+"/messages", `{"type":"file","file":{"id":"`+orphan["id"].(string)+`"}}`).outcome(); got != "400 invalid_request file.id" {
		t.Errorf("sending it: %s", got)
	}
	if err := s.chat.CleanUp(t.Context(), time.Now().Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	wants("after it", "404 file_not_found", "200", "200")
	if left := s.left(); left != [2]int{2, 2} {
		t.Errorf("left: %v", left)
	}
}

func TestUnheldFilesAreLimited(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	group := s.create("Tom", `{"members":["Jerry"]}`)
	f := s.upload("Tom", "a", "a")
	up := func(who, content string) reply {
		return s.fetch(who, "POST", "/v1/files", strings.NewReader(content), "Content-Type", "text/plain")
	}
	s.exec(`UPDATE files SET size = 500 << 20`)
	s.exec(`UPDATE files SET size = size - 10`)
	if r := up("Tom", "12345678901"); r.outcome() != "429 rate_limited" || r.Header.Get("Retry-After") == "" {
		t.Errorf("one byte too many: %s, Retry-After %s", r.outcome(), r.Header.Get("Retry-After"))
	}
	if left := s.left(); left != [2]int{1, 1} {
		t.Errorf("left: %v", left)
	}
	if got := up("Tom", "1234567890").outcome(); got != "201" {
		t.Errorf("just as many: %s", got)
	}
	if got := up("Tom", "1").outcome(); got != "429 rate_limited" {
		t.Errorf("one more: %s", got)
	}
	if r := s.fetch("Tom", "POST", "/v1/files", io.MultiReader(strings.NewReader("x")), "Content-Type", "text/plain"); r.outcome() != "429 rate_limited" {
		t.Errorf("of unknown length: %s", r.outcome())
	}
	for _, who := range []string{"Jerry", "server"} {
		if got := up(who, "1").outcome(); got != "201" {
			t.Errorf("%s: %s", who, got)
		}
	}
	s.send("Tom", group, f["id"].(string))
	if got := up("Tom", "1").outcome(); got != "201" {
		t.Errorf("once it is sent: %s", got)
	}
}
