package files

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeS3 is as much of an S3 store as is needed here. It believes every signature.
type fakeS3 struct {
	mu      sync.Mutex
	objects map[string][]byte
	uploads map[string]map[int][]byte // by upload id, which begins with the object's key
	largest int                       // body that came in one request
	fail    func(r *http.Request) bool
}

func (s *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		body = unchunk(body)
	}
	if object := s.change(w, r, body); object != nil {
		// Without the lock: who reads slowly must not hold up others.
		w.Header().Set("ETag", etag(object))
		w.Header().Set("Last-Modified", "Fri, 20 Nov 2026 10:00:00 GMT")
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(object))
	}
}

// change answers everything but the content of an object, which it returns.
func (s *fakeS3) change(w http.ResponseWriter, r *http.Request, body []byte) (object []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil && s.fail(r) {
		http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
		return nil
	}
	s.largest = max(s.largest, len(body))
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	switch {
	case bucket != "parley":
		http.Error(w, "<Error><Code>NoSuchBucket</Code></Error>", http.StatusNotFound)
	case key == "" && q.Has("uploads"):
		s.listUploads(w, q.Get("prefix"))
	case r.Method == http.MethodPost && q.Has("uploads"):
		id := fmt.Sprintf("%s-%d", key, len(s.uploads))
		s.uploads[id] = make(map[int][]byte)
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case r.Method == http.MethodPut && q.Has("uploadId"):
		n, _ := strconv.Atoi(q.Get("partNumber"))
		s.uploads[q.Get("uploadId")][n] = body
		w.Header().Set("ETag", etag(body))
	case r.Method == http.MethodPost:
		s.complete(w, key, q.Get("uploadId"), body)
	case r.Method == http.MethodPut:
		s.objects[key] = body
		w.Header().Set("ETag", etag(body))
	case r.Method == http.MethodDelete:
		delete(s.objects, key)
		delete(s.uploads, q.Get("uploadId"))
		w.WriteHeader(http.StatusNoContent)
	default:
		if object, ok := s.objects[key]; ok {
			return object
		}
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<Error><Code>NoSuchKey</Code></Error>")
	}
	return nil
}

func (s *fakeS3) complete(w http.ResponseWriter, key, id string, body []byte) {
	var req struct {
		Part []struct{ PartNumber int }
	}
	if err := xml.Unmarshal(body, &req); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var whole []byte
	for _, p := range req.Part {
		whole = append(whole, s.uploads[id][p.PartNumber]...)
	}
	delete(s.uploads, id)
	s.objects[key] = whole
	fmt.Fprintf(w, "<CompleteMultipartUploadResult><Bucket>parley</Bucket><Key>%s</Key><ETag>%s</ETag></CompleteMultipartUploadResult>", key, etag(whole))
}

func (s *fakeS3) listUploads(w io.Writer, prefix string) {
	fmt.Fprint(w, "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>")
	for id := range s.uploads {
		if key, _, _ := strings.Cut(id, "-"); strings.HasPrefix(key, prefix) {
			fmt.Fprintf(w, "<Upload><Key>%s</Key><UploadId>%s</UploadId><Initiated>2026-11-20T10:00:00.000Z</Initiated></Upload>", key, id)
		}
	}
	fmt.Fprint(w, "</ListMultipartUploadsResult>")
}

func etag(b []byte) string {
	sum := md5.Sum(b)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// unchunk takes the signed pieces of a body together.
func unchunk(body []byte) (whole []byte) {
	r := bufio.NewReader(bytes.NewReader(body))
	for {
		line, err := r.ReadString('\n')
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, perr := strconv.ParseInt(size, 16, 64)
		if err != nil || perr != nil || n == 0 {
			return whole
		}
		piece := make([]byte, n+2)
		if _, err := io.ReadFull(r, piece); err != nil {
			return whole
		}
		whole = append(whole, piece[:n]...)
	}
}

func newS3(t *testing.T) (*S3, *fakeS3) {
	t.Helper()
	fake := &fakeS3{objects: make(map[string][]byte), uploads: make(map[string]map[int][]byte)}
	srv := httptest.NewServer(fake)
	t.Cleanup(srv.Close)
	c, err := ParseS3("s3://parley?region=eu-central-1&endpoint=" + url.QueryEscape(srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	c.Key, c.Secret = "key", "secret"
	s, err := OpenS3(c)
	if err != nil {
		t.Fatal(err)
	}
	return s, fake
}

// pattern is n bytes that differ from place to place.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13 + i>>16*29)
	}
	return b
}

const testID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// eachStore runs a test on either store; left says what a store holds, by any name.
func eachStore(t *testing.T, f func(t *testing.T, s Store, left func() []string)) {
	t.Run("disk", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "files")
		s, err := OpenDisk(dir)
		if err != nil {
			t.Fatal(err)
		}
		f(t, s, func() (names []string) {
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if !d.IsDir() {
					names = append(names, d.Name())
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			return names
		})
	})
	t.Run("s3", func(t *testing.T) {
		s, fake := newS3(t)
		f(t, s, func() (names []string) {
			fake.mu.Lock()
			defer fake.mu.Unlock()
			for name := range fake.objects {
				names = append(names, name)
			}
			for name := range fake.uploads {
				names = append(names, name)
			}
			return names
		})
	})
}

func TestStores(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store, left func() []string) {
		for _, size := range []int{0, 1, 1000, s3Small - 1, s3Small, 2*s3Part + 17} {
			want := pattern(size)
			n, err := s.Put(t.Context(), testID, slowly(want))
			if err != nil || n != int64(size) {
				t.Fatalf("Put of %d bytes = %d, %v", size, n, err)
			}
			checkBlob(t, s, want)
		}
		for range 2 {
			if err := s.Delete(t.Context(), testID); err != nil {
				t.Fatal(err)
			}
		}
		if names := left(); names != nil {
			t.Errorf("left: %v", names)
		}
		b, err := s.Open(t.Context(), testID, 10)
		if err == nil {
			_, err = b.Read(make([]byte, 1))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a deleted file: %v", err)
		}
	})
}

// slowly gives what a network would: pieces of any length.
func slowly(b []byte) io.Reader { return &pieces{b, 1} }

type pieces struct {
	rest []byte
	next int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(p.next, len(p.rest))])
	p.rest, p.next = p.rest[n:], p.next*3%10007+1
	return n, nil
}

func checkBlob(t *testing.T, s Store, want []byte) {
	t.Helper()
	b, err := s.Open(t.Context(), testID, int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes, %v; want %d", len(got), err, len(want))
	}
	if len(want) < 100 {
		return
	}
	for _, at := range []int{0, 50, len(want) - 20} {
		got := make([]byte, 10)
		if _, err := b.Seek(int64(at), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, want[at:at+10]) {
			t.Errorf("read at %d: %v, %v", at, got, err)
		}
		if _, err := b.ReadAt(got, int64(at)); err != nil || !bytes.Equal(got, want[at:at+10]) {
			t.Errorf("ReadAt %d: %v, %v", at, got, err)
		}
	}
	if n, err := b.Seek(0, io.SeekEnd); err != nil || n != int64(len(want)) {
		t.Errorf("the end is %d, %v", n, err)
	}
	if n, err := b.ReadAt(make([]byte, 10), int64(len(want)-4)); n != 4 || err != io.EOF {
		t.Errorf("ReadAt over the end = %d, %v", n, err)
	}
}

func TestPutThatFailsLeavesNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store, left func() []string) {
		// A body that was cut short ends with io.ErrUnexpectedEOF.
		for _, broken := range []error{errors.New("broken"), io.ErrUnexpectedEOF} {
			for _, size := range []int{0, 1000, 2 * s3Part} {
				_, err := s.Put(t.Context(), testID, io.MultiReader(bytes.NewReader(pattern(size)), failing{broken}))
				if !errors.Is(err, broken) {
					t.Errorf("Put = %v, want %v", err, broken)
				}
				if names := left(); names != nil {
					t.Errorf("left: %v", names)
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.Put(ctx, testID, io.MultiReader(bytes.NewReader(pattern(2*s3Part)), cancelling{cancel}))
		if !errors.Is(err, context.Canceled) || left() != nil {
			t.Errorf("Put by somebody who left = %v; left: %v", err, left())
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type cancelling struct{ cancel func() }

func (c cancelling) Read([]byte) (int, error) { c.cancel(); return 0, io.EOF }

func TestDeleteTakesWhatACrashLeft(t *testing.T) {
	s, fake := newS3(t)
	fake.uploads[testID+"-9"] = map[int][]byte{1: pattern(10)}
	if err := s.Delete(t.Context(), testID); err != nil || len(fake.uploads) != 0 {
		t.Errorf("Delete = %v, left: %v", err, fake.uploads)
	}
	dir := t.TempDir()
	d, err := OpenDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, testID[:2], testID+partial)
	if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path, pattern(10), 0o600), d.Delete(t.Context(), testID)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the rest of an upload is still there: %v", err)
	}
}

func TestS3PartsAreBounded(t *testing.T) {
	s, fake := newS3(t)
	if _, err := s.Put(t.Context(), testID, bytes.NewReader(pattern(3*s3Part))); err != nil {
		t.Fatal(err)
	}
	if fake.largest > s3Part {
		t.Errorf("%d bytes came at once", fake.largest)
	}
}

func TestS3RefusalIsAnError(t *testing.T) {
	s, fake := newS3(t)
	fake.fail = func(r *http.Request) bool { return r.Method != http.MethodDelete }
	if _, err := s.Put(t.Context(), testID, strings.NewReader("hello")); err == nil {
		t.Error("refused, and yet no error")
	}
	b, err := s.Open(t.Context(), testID, 5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Read(make([]byte, 5)); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("refused, and yet %v", err)
	}
}

func TestStoresRefuseStrangeIDs(t *testing.T) {
	eachStore(t, func(t *testing.T, s Store, left func() []string) {
		for _, id := range []string{"", "short", "../../../etc/passwd", "ABCDEFGH/../../X", "ABCDEFGH\x00IJK", strings.Repeat("A", 65)} {
			_, err := s.Put(t.Context(), id, strings.NewReader("x"))
			_, openErr := s.Open(t.Context(), id, 1)
			if err == nil || openErr == nil || s.Delete(t.Context(), id) == nil {
				t.Errorf("%q was taken for an id", id)
			}
		}
		if names := left(); names != nil {
			t.Errorf("left: %v", names)
		}
	})
}

func TestParseS3(t *testing.T) {
	for text, want := range map[string]string{
		"s3://bucket":                                      "bucket https://s3.amazonaws.com ",
		"s3://bucket?endpoint=minio:9000":                  "bucket https://minio:9000 ",
		"s3://my.bucket?endpoint=http://[::1]:9000/":       "my.bucket http://[::1]:9000/ ",
		"s3://bucket?endpoint=https://s3.x.de&region=eu-1": "bucket https://s3.x.de eu-1",
	} {
		c, err := ParseS3(text)
		if got := fmt.Sprint(c.Bucket, " ", c.Endpoint, " ", c.Region); err != nil || got != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	bad := []string{"disk", "s3://", "s3://b", "s3://bucket/folder", "s3://u:p@bucket", "s3://bucket?x=1", "s3://bucket?region=a&region=b",
		"s3://bucket?endpoint=ftp://x", "s3://bucket?endpoint=http://", "s3://bucket?endpoint=https://host/path", "s3://bucket#x", "s3://bucket?%zz"}
	if i := slices.IndexFunc(bad, func(text string) bool { _, err := ParseS3(text); return err == nil }); i >= 0 {
		t.Errorf("%s was taken", bad[i])
	}
}
