package handlers_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"io/fs"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parley/api"
	"parley/chat"
	"parley/files"
	"parley/repo"
	"parley/repo/repotest"
)

// fileSite is a site with a file store, over real connections.
type fileSite struct {
	site
	chat  *chat.Service
	store *repo.Store
	url   string
	dir   string // of the files
}

const fileMost = 100_000

func newFileSite(t *testing.T, change ...func(*chat.FileConfig, *api.Config)) *fileSite {
	t.Helper()
	dsn, dir := repotest.DSN(t), t.TempDir()
	disk, err := files.OpenDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	cfg, front := chat.FileConfig{Store: disk, MaxBytes: fileMost}, api.Config{}
	for _, f := range change {
		f(&cfg, &front)
	}
	checked, svc, store := serve(t, chat.Config{DSN: dsn, ReconnectGrace: 10 * time.Second, Files: cfg}, front)
	s := &fileSite{site: *checked, chat: svc, store: store, dir: dir}
	srv := httptest.NewServer(s.handler)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

// fetch sends one request as it is, without a token when who is empty.
func (s *fileSite) fetch(who, method, path string, body io.Reader, headers ...string) reply {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if who != "" {
		as(s.t, r, who)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	out := reply{Response: res, raw: string(raw)}
	if strings.HasSuffix(res.Header.Get("Content-Type"), "json") {
		if err := json.Unmarshal(raw, &out.body); err != nil {
			s.t.Fatal(err)
		}
	}
	return out
}

// field is one field of a form.
type field struct{ name, file, content string }

func form(fields ...field) (io.Reader, string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		create := w.CreateFormField
		if f.file != "" {
			create = func(name string) (io.Writer, error) { return w.CreateFormFile(name, f.file) }
		}
		part, err := create(f.name)
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(part, f.content)
	}
	w.Close()
	return &b, w.FormDataContentType()
}

// upload sends a file as a form and returns what is answered.
func (s *fileSite) upload(who, name, content string) map[string]any {
	s.t.Helper()
	body, kind := form(field{"file", name, content})
	r := s.fetch(who, "POST", "/v1/files", body, "Content-Type", kind)
	if r.StatusCode != 201 {
		s.t.Fatalf("upload: %s", r.raw)
	}
	return r.body
}

func picture(width, height int) string {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		panic(err)
	}
	return b.String()
}

// left is how many files there are, by the table and in the store.
func (s *fileSite) left() [2]int {
	s.t.Helper()
	var n [2]int
	if err := s.store.DB().QueryRow(`SELECT count(*) FROM files`).Scan(&n[0]); err != nil {
		s.t.Fatal(err)
	}
	err := filepath.WalkDir(s.dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n[1]++
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *fileSite) exec(query string, args ...any) {
	s.t.Helper()
	if _, err := s.store.DB().Exec(query, args...); err != nil {
		s.t.Fatal(err)
	}
}

func TestUploadAndDownload(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	content := picture(30, 20)
	f := s.upload("Tom", "Katze.png", content)
	id := f["id"].(string)
	want := map[string]any{"id": id, "url": f["url"], "name": "Katze.png", "mimeType": "image/png", "size": float64(len(content)),
		"width": 30., "height": 20., "duration": nil, "format": "png"}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	path := "/v1/files/" + id
	if link := f["url"].(string); !strings.HasPrefix(link, path+"?key=") || len(id) < 26 {
		t.Errorf("id %q, url %q", id, link)
	}

	raw := s.fetch("Tom", "POST", "/v1/files?name=%E7%8C%AB%22.txt", strings.NewReader("miaow\n"), "Content-Type", "image/png; x=y")
	if raw.StatusCode != 201 || raw.body["name"] != `猫".txt` || raw.body["mimeType"] != "text/plain" || raw.body["format"] != "txt" ||
		raw.Header.Get("Location") != "/v1/files/"+raw.body["id"].(string) {
		t.Errorf("a raw upload: %d %s, Location %q", raw.StatusCode, raw.raw, raw.Header.Get("Location"))
	}

	for _, tt := range []struct{ who, path string }{{"", f["url"].(string)}, {"Jerry", f["url"].(string)}, {"Tom", path}, {"server", path}} {
		r := s.fetch(tt.who, "GET", tt.path, nil)
		if r.StatusCode != 200 || r.raw != content || r.Header.Get("Content-Type") != "image/png" ||
			r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Content-Disposition") != `inline; filename="Katze.png"` ||
			!strings.HasPrefix(r.Header.Get("Cache-Control"), "private") || !strings.Contains(r.Header.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s gets %s: %d, %d bytes, %v", tt.who, tt.path, r.StatusCode, len(r.raw), r.Header)
		}
		head := s.fetch(tt.who, "HEAD", tt.path, nil)
		if head.StatusCode != 200 || head.raw != "" || head.Header.Get("Content-Length") != strconv.Itoa(len(content)) {
			t.Errorf("%s HEAD: %d %v", tt.who, head.StatusCode, head.Header)
		}
	}
	if r := s.fetch("", "GET", raw.body["url"].(string), nil); r.Header.Get("Content-Disposition") != `inline; filename="__.txt"; filename*=UTF-8''%E7%8C%AB%22.txt` {
		t.Errorf("Content-Disposition: %s", r.Header.Get("Content-Disposition"))
	}
}

func TestDownloadOfParts(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	f := s.upload("Tom", "x.bin", "\x00\x01abcdefghij")
	link := f["url"].(string)
	etag := s.fetch("", "HEAD", link, nil).Header.Get("Etag")
	for _, tt := range []struct {
		header, value string
		want          string
	}{
		{"Range", "bytes=2-4", "206 abc"},
		{"Range", "bytes=-3", "206 hij"},
		{"Range", "bytes=9-", "206 hij"},
		{"Range", "bytes=9-999", "206 hij"},
		{"Range", "bytes=12-", "416 range_not_satisfiable"},
		{"Range", "bytes=x", "416 range_not_satisfiable"},
		{"Range", "bytes=-0", "416 range_not_satisfiable"},
		{"Range", "pages=1-2", "200 \x00\x01abcdefghij"},
		{"Range", "bytes=0-0" + strings.Repeat(",2-2", 20), "200 \x00\x01abcdefghij"},
		{"If-None-Match", etag, "304 "},
		{"If-None-Match", `"other"`, "200 \x00\x01abcdefghij"},
		{"If-Match", `"other"`, "412 precondition_failed"},
	} {
		r := s.fetch("", "GET", link, nil, tt.header, tt.value)
		got := fmt.Sprint(r.StatusCode, " ", r.raw)
		if r.body != nil {
			got = fmt.Sprint(r.StatusCode, " ", r.body["code"])
		}
		if got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.header, tt.value, got, tt.want)
		}
		if r.StatusCode == 416 && (r.Header.Get("Content-Range") != "bytes */12" || r.Header.Get("Content-Disposition") != "") {
			t.Errorf("416 with %v", r.Header)
		}
	}
	r := s.fetch("", "GET", link, nil, "Range", "bytes=0-1,3-3")
	if r.StatusCode != 206 || !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/byteranges") {
		t.Errorf("two ranges: %d %v", r.StatusCode, r.Header)
	}
}

func TestScriptsAreAttachments(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	for content, inline := range map[string]bool{
		"<!DOCTYPE html><script>alert(1)</script>":                       false,
		`<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>`:        false,
		`<?xml version="1.0"?><x xmlns="http://www.w3.org/1999/xhtml"/>`: false,
		"%PDF-1.7\n":                       false,
		"\x00\x01\x02":                     false,
		"hello, <script>alert(1)</script>": true, // as plain text, which nosniff keeps it
		picture(1, 1):                      true,
	} {
		f := s.upload("Tom", "x", content)
		r := s.fetch("", "GET", f["url"].(string), nil)
		if got := strings.HasPrefix(r.Header.Get("Content-Disposition"), "inline"); got != inline || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%.20q as %s: %s", content, r.Header.Get("Content-Type"), r.Header.Get("Content-Disposition"))
		}
	}
}

func TestWhoMayReadAFile(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	f := s.upload("Tom", "x.txt", "hello")
	other := s.upload("Tom", "y.txt", "other")
	path, link := "/v1/files/"+f["id"].(string), f["url"].(string)
	key := link[strings.Index(link, "=")+1:]
	group := s.create("Tom", `{"members":["Jerry"]}`)
	for _, tt := range []struct{ who, path, want string }{
		{"", path, "401 unauthenticated 4102"},
		{"Jerry", path, "404 file_not_found"},
		{"Jerry", path + "?key=", "404 file_not_found"},
		{"Tom", path + "?key=wrong", "404 file_not_found"},
		{"", path + "?key=" + strings.ToLower(key), "404 file_not_found"},
		{"", path + "?key=" + key[:len(key)-1], "404 file_not_found"},
		{"", path + "?key=" + other["url"].(string)[len(path)+5:], "404 file_not_found"},
		{"", path + "?key=" + key + "&key=" + key, "400 invalid_request key"},
		{"", path + "?key=" + key + "&x=1", "400 invalid_request x"},
		{"Tom", path + "?x=1", "400 invalid_request x"},
		{"Tom", "/v1/files/nosuchfile", "404 file_not_found"},
		{"Tom", "/v1/files/" + strings.Repeat("x", 65), "404 file_not_found"},
		{"server", path, "200"},
		{"server/Jerry", path, "200"},
	} {
		if got := s.fetch(tt.who, "GET", tt.path, nil).outcome(); got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.who, tt.path, got, tt.want)
		}
	}
	if r := s.do("Tom", "POST", "/v1/conversations/"+group+"/messages", `{"type":"file","file":{"id":"`+f["id"].(string)+`"}}`); r.StatusCode != 201 {
		t.Fatal(r.raw)
	}
	for who, want := range map[string]string{"Jerry": "200", "Mary": "404 file_not_found"} {
		if got := s.fetch(who, "GET", path, nil).outcome(); got != want {
			t.Errorf("%s reads what was sent: %s", who, got)
		}
	}
	s.do("Jerry", "DELETE", "/v1/conversations/"+group+"/members?clientId=Jerry", "")
	if got := s.fetch("Jerry", "GET", path, nil).outcome(); got != "404 file_not_found" {
		t.Errorf("Jerry, who left: %s", got)
	}
}

func TestUploadsThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	whole := func(fields ...field) (string, string) {
		r, kind := form(fields...)
		b, _ := io.ReadAll(r)
		return string(b), kind
	}
	good, kind := whole(field{"file", "x", "hello"})
	twice, kindTwice := whole(field{"file", "x", "hello"}, field{"file", "y", "hello"})
	more, kindMore := whole(field{"file", "x", "hello"}, field{"note", "", "hello"})
	before, kindBefore := whole(field{"note", "", "hello"}, field{"file", "x", "hello"})
	none, kindNone := whole()
	large, kindLarge := whole(field{"file", "x", strings.Repeat("x", fileMost+1)})
	long, kindLong := whole(field{"file", strings.Repeat("x", 256), "hello"})
	bad, kindBad := whole(field{"file", "x\xff", "hello"})
	for _, tt := range []struct{ query, kind, body, want string }{
		{"", kindTwice, twice, "400 invalid_request file"},
		{"", kindMore, more, "400 invalid_request note"},
		{"", kindBefore, before, "400 invalid_request note"},
		{"", kindNone, none, "400 invalid_request file"},
		{"", kind, good[:len(good)-20], "400 invalid_request body"},
		{"", kind, "", "400 invalid_request body"},
		{"", kind, "nonsense", "400 invalid_request body"},
		{"", "multipart/form-data", good, "400 invalid_request Content-Type"},
		{"", kindLarge, large, "413 file_too_large"},
		{"", kindLong, long, "400 invalid_request file"},
		{"", kindBad, bad, "400 invalid_request file"},
		{"?name=x", kind, good, "400 invalid_request name"},
		{"?x=1", kind, good, "400 invalid_request x"},
		{"?name=x&name=y", "text/plain", "x", "400 invalid_request name"},
		{"?name=", "text/plain", "x", "400 invalid_request name"},
		{"?name=%ff", "text/plain", "x", "400 invalid_request name"},
		{"?name=a%0Ab", "text/plain", "x", "400 invalid_request name"},
		{"", "text/plain", "", "400 invalid_request body"},
		{"", "", "x", "415 unsupported_media_type"},
		{"", "text", "x", "201"},
		{"", "a/b/c", "x", "415 unsupported_media_type"},
		{"", "multipart/mixed; boundary=x", "x", "415 unsupported_media_type"},
		{"", "text/plain", strings.Repeat("x", fileMost+1), "413 file_too_large"},
		{"", "text/plain", strings.Repeat("x", fileMost), "201"},
	} {
		for _, chunked := range []bool{false, true} {
			if chunked && tt.body == "" {
				continue
			}
			if tt.want == "201" {
				s.exec(`DELETE FROM files`)
			}
			before := s.left()
			var body io.Reader = strings.NewReader(tt.body)
			if chunked {
				body = io.MultiReader(body) // of unknown length
			}
			r := s.fetch("Tom", "POST", "/v1/files"+tt.query, body, "Content-Type", tt.kind)
			if got := r.outcome(); got != tt.want {
				t.Errorf("%s %s %.20q: %s, want %s", tt.query, tt.kind, tt.body, got, tt.want)
			}
			if after := s.left(); tt.want != "201" && after != before {
				t.Errorf("%s %s %.20q leaves %v", tt.query, tt.kind, tt.body, after)
			}
		}
	}
	if got := s.fetch("", "POST", "/v1/files", strings.NewReader("x"), "Content-Type", "text/plain").outcome(); got != "401 unauthenticated 4102" {
		t.Errorf("without a token: %s", got)
	}
}

// What is too large is told as soon as it is known, without waiting for the rest.
func TestTooLargeIsToldAtOnce(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := httptest.NewRequest("POST", "/v1/files", nil)
	as(t, r, "Tom")
	fmt.Fprintf(conn, "POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\nbegin", r.Header.Get("Authorization"), fileMost+1)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 413 {
		t.Errorf("answered %v, %v", res, err)
	}
}

// Who sends all of it before he listens hears it too; the server takes what it does not want.
func TestTooLargeIsToldToWhoSendsFirst(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	const size = 32 << 20 // more than connections hold by themselves
	head := fmt.Sprintf("Content-Length: %d\r\n\r\n", size)
	for name, begin := range map[string]string{
		"known at once":   "Content-Type: text/plain\r\n" + head,
		"of a wrong type": "Content-Type: multipart/mixed; boundary=x\r\n" + head,
		"known later":     fmt.Sprintf("Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", size),
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r := httptest.NewRequest("POST", "/v1/files", nil)
		as(t, r, "Tom")
		fmt.Fprintf(conn, "POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n%s", r.Header.Get("Authorization"), begin)
		if _, err := conn.Write(make([]byte, size)); err != nil {
			t.Errorf("%s: cut off while sending: %v", name, err)
			continue
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != 413 && res.StatusCode != 415 {
			t.Errorf("%s: answered %v, %v", name, res, err)
		}
	}
}

func TestUploadThatBreaksOffLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/v1/files", nil)
	as(t, r, "Tom")
	fmt.Fprintf(conn, "POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nbegin", r.Header.Get("Authorization"))
	await(t, "the upload has begun", func() bool { return s.left() == [2]int{1, 1} })
	conn.Close()
	await(t, "nothing is left", func() bool { return s.left() == [2]int{0, 0} })
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func TestDownloadsAreNotLimited(t *testing.T) {
	t.Parallel()
	s := newFileSite(t, func(_ *chat.FileConfig, c *api.Config) { c.Limits = api.Limits{Sends: 1, Reads: 1, Other: 2} })
	f := s.upload("Tom", "a", "a")
	for range 5 {
		if got := s.fetch("Tom", "GET", "/v1/files/"+f["id"].(string), nil).outcome(); got != "200" {
			t.Fatalf("a download: %s", got)
		}
	}
	s.upload("Tom", "a", "a")
	if got := s.fetch("Tom", "POST", "/v1/files", strings.NewReader("x"), "Content-Type", "text/plain").outcome(); got != "429 rate_limited" {
		t.Errorf("the third upload: %s", got)
	}
}

// The bytes have gone although the row is there.
func TestLostFile(t *testing.T) {
	t.Parallel()
	s := newFileSite(t)
	f := s.upload("Tom", "a", "a")
	id := f["id"].(string)
	if err := os.Remove(filepath.Join(s.dir, id[:2], id)); err != nil {
		t.Fatal(err)
	}
	r := s.fetch("", "GET", f["url"].(string), nil)
	if r.outcome() != "404 file_not_found" || r.Header.Get("Content-Disposition") != "" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %v", r.outcome(), r.Header)
	}
}

// A store that fails is told while there is still time to: 503, not half a file.
func TestFailingStore(t *testing.T) {
	t.Parallel()
	s3, err := files.ParseS3("s3://parley?endpoint=" + url.QueryEscape("http://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	away, err := files.OpenS3(s3)
	if err != nil {
		t.Fatal(err)
	}
	s := newFileSite(t, func(c *chat.FileConfig, _ *api.Config) { c.Store = away })
	if got := s.fetch("Tom", "POST", "/v1/files", strings.NewReader("x"), "Content-Type", "text/plain").outcome(); got != "503 unavailable" {
		t.Errorf("upload: %s", got)
	}
	s.exec(`INSERT INTO files (id, uploader, state, mime_type, size, created_at, unheld_since) VALUES ('AAAAAAAAAA', 'Tom', 2, 'image/png', 10, now(), now())`)
	r := s.fetch("Tom", "GET", "/v1/files/AAAAAAAAAA", nil)
	if r.outcome() != "503 unavailable" || r.Header.Get("Content-Disposition") != "" {
		t.Errorf("download: %s %v", r.outcome(), r.Header)
	}
}
