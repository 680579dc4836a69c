package main_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// The server is told to end while people talk: it ends in order, its streams say when
// to come back, and after the next start nothing is lost.
func TestOrderlyEnd(t *testing.T) {
	t.Parallel()
	s := systest.Start(t, repotest.DSN(t))
	b := newBurst(t, s)
	tom := s.As("Tom")
	var devices []*systest.Device
	for i := range 20 {
		p := []systest.Protocol{systest.HTTP1, systest.HTTP2}[i%2]
		devices = append(devices, tom.Over(t, p).Open(t, fmt.Sprint("d", i)))
	}
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		b.flow(50)
		s.Signal(sig)
		if code := s.Exited(15 * time.Second); code != 0 {
			t.Errorf("exit code %d after %v", code, sig)
		}
		if sig == syscall.SIGTERM {
			different := make(map[int]bool)
			for _, d := range devices {
				d.AwaitEnd(t)
				if r := d.Retry(); r < 1000 || r > 10000 {
					t.Errorf("retry after %d ms", r)
				}
				different[d.Retry()] = true
			}
			if len(different) < 5 {
				t.Errorf("all come back at once: %v", different)
			}
		}
		s.Launch()
		s.AwaitReady()
	}
	b.flow(50)
	b.verify()
	for status := range b.status {
		if status != 200 && status != 201 && status != 503 {
			t.Errorf("answers: %v", b.status)
		}
	}
}

// Without DATABASE_URL: what was said is there after kill -9, and PostgreSQL never outlives its server.
func TestPrivateDatabaseRecovers(t *testing.T) {
	t.Parallel()
	folder := systest.Folder(t)
	s := systest.Start(t, "", "PARLEY_DATA_DIR="+folder)
	tom, jerry := s.As("Tom"), s.As("Jerry")
	d := jerry.Open(t, "web")
	id := tom.Create(t, "Jerry")
	tom.Say(t, id, "before")
	d.AwaitText(t, "before")

	// A second one on the same folder is refused with a sentence, and harms nothing.
	second := systest.New(t, "", "PARLEY_DATA_DIR="+folder)
	second.Launch()
	if code := second.Exited(systest.Patience); code == 0 || code == 2 || !strings.Contains(second.Log(), "another parley") {
		t.Errorf("a second start: exit code %d:\n%s", code, second.Log())
	}
	tom.Say(t, id, "still here")

	pid := postmaster(t, folder)
	s.Kill()
	d.AwaitEnd(t)
	s.Launch()
	s.AwaitReady()
	connects(t, d, 200)
	d.AwaitText(t, "still here")
	tom.Say(t, id, "after")
	d.AwaitText(t, "after")
	if got := fmt.Sprint(d.Texts()); got != "[before still here after]" {
		t.Errorf("heard %s", got)
	}
	if got := len(jerry.History(t, id)); got != 3 {
		t.Errorf("%d messages in the history", got)
	}
	if alive(pid) {
		t.Error("the PostgreSQL of the killed server lives on")
	}
	pid = postmaster(t, folder)
	s.Stop()
	if alive(pid) {
		t.Error("PostgreSQL outlives the server")
	}
}

// postmaster is the process id of the private PostgreSQL in a data folder.
func postmaster(t *testing.T, folder string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "postgres", "*", "postmaster.pid"))
	if err != nil || len(found) != 1 {
		t.Fatalf("no PostgreSQL in %s: %v, %v", folder, found, err)
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

// alive reports whether a process runs; one that only waits to be buried does not.
func alive(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		_, state, _ := strings.Cut(string(stat), ") ")
		return !strings.HasPrefix(state, "Z")
	}
	return syscall.Kill(pid, 0) == nil
}

func TestBadStarts(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct {
		name     string
		settings []string
		code     int
		says     []string
	}{
		{"configuration", []string{"PARLEY_LIMIT_SENDS=many", "PARLEY_LOG_FORMAT=xml", "PARLEY_JWT_SECRETS=short", "PARLEY_TLS_CERT=x"}, 2,
			[]string{"PARLEY_LIMIT_SENDS", "PARLEY_LOG_FORMAT", "PARLEY_JWT_SECRETS", "PARLEY_TLS_KEY"}},
		{"port in use", []string{"PARLEY_ADDR=" + l.Addr().String()}, 1, []string{l.Addr().String(), "in use"}},
		{"data folder is a file", []string{"PARLEY_DATA_DIR=/dev/null"}, 1, []string{"/dev/null", "PARLEY_DATA_DIR"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := systest.New(t, "", tt.settings...)
			s.Launch()
			if code := s.Exited(systest.Patience); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, word := range tt.says {
				if !strings.Contains(s.Log(), word) {
					t.Errorf("nothing about %s in:\n%s", word, s.Log())
				}
			}
		})
	}
}

// A server that ends while the database is away ends all the same.
func TestEndWithoutDatabase(t *testing.T) {
	t.Parallel()
	db := repotest.Cluster(t)
	s := systest.Start(t, db.DSN())
	d := s.As("Tom").Open(t, "web")
	db.Kill()
	s.Stop()
	d.AwaitEnd(t)
}
