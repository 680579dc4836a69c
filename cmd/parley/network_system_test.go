//go:build linux

package main_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// A client's machine falls asleep: nothing it sends arrives, and it acknowledges
// nothing. The server notices within two heartbeats and a grace; the client misses nothing.
func TestClientFallsSilent(t *testing.T) {
	t.Parallel()
	s := systest.Start(t, repotest.DSN(t), "PARLEY_RECONNECT_GRACE=1s")
	tom, jerry := s.As("Tom"), s.As("Jerry")
	laptop := jerry.Raw(t, "laptop", "", "heartbeat", "5")
	id := tom.Create(t, "Jerry")
	tom.Say(t, id, "before")
	before, err := laptop.Until(time.Now().Add(systest.Patience), func(f systest.Frame) bool { return systest.TextOf(f) == "before" })
	if err != nil {
		t.Fatal(err)
	}
	systest.Deafen(t, laptop.Conn)
	start := time.Now()
	for i := range 20 {
		tom.Say(t, id, fmt.Sprint("asleep ", i))
	}
	systest.Eventually(t, "the server notices", func() error {
		a := tom.Want(t, 200, "GET", "/v1/conversations/"+id+"/members?online=true", nil)
		if strings.Contains(string(a.Body), `"clientId":"Jerry"`) && strings.Count(string(a.Body), `"online":true`) == 0 {
			return nil
		}
		return errors.New(a.String())
	})
	// Two heartbeats since the first message that went unanswered, the grace, and a busy machine.
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("noticed after %v", took)
	}
	again := jerry.Raw(t, "laptop", before[len(before)-1].ID)
	rest, err := again.Until(time.Now().Add(systest.Patience), func(f systest.Frame) bool { return systest.TextOf(f) == "asleep 19" })
	if err != nil {
		t.Fatal(err)
	}
	complete(t, append(before, rest...), 1, 21)
}

// A silent network on a quiet stream, where only heartbeats would be missed, and a
// reconnect of the same session long before the server could know.
func TestReconnectBeforeTheServerKnows(t *testing.T) {
	t.Parallel()
	s := systest.Start(t, repotest.DSN(t))
	proxy := systest.NewProxy(t, "tcp", s.Addr)
	behind := *s
	behind.Addr = proxy.Addr
	tom, jerry := s.As("Tom"), s.As("Jerry")
	far := jerry.At(&behind).Open(t, "laptop")
	id := tom.Create(t, "Jerry")
	tom.Say(t, id, "before")
	far.AwaitText(t, "before")
	proxy.Cut()
	tom.Say(t, id, "swallowed")
	near := jerry.Device("laptop")
	near.Resume(far.Last())
	connects(t, near, 200)
	near.AwaitText(t, "swallowed")
	proxy.Heal() // what was on its way arrives late, by a connection that is over
	isClosed(t, lastOf(t, far), "replaced", 0)
	if got := near.Texts(); len(got) != 1 {
		t.Errorf("the new connection got %q", got)
	}
}

// The network to the database goes silent: requests fail in bounded time with 503,
// streams are never answered with 5xx, and all recovers by itself.
func TestDatabaseFallsSilent(t *testing.T) {
	t.Parallel()
	dsn, proxy := overTCP(t, repotest.Cluster(t).DSN())
	s := systest.Start(t, dsn)
	b := newBurst(t, s)
	b.flow(100)
	proxy.Cut()
	start := time.Now()
	awaitStatus(t, s, "/readyz", 503)
	var asking sync.WaitGroup
	tom := b.senders[0]
	for _, q := range []struct{ method, path string }{
		{"GET", "/v1/conversations/" + b.room}, {"GET", "/v1/conversations/" + b.room + "/messages"}, {"GET", "/v1/unread"},
		{"POST", "/v1/conversations/" + b.room + "/read"}, {"PATCH", "/v1/conversations/" + b.room}, {"POST", "/v1/conversations"},
	} {
		asking.Go(func() {
			var body any
			if q.method == "PATCH" {
				body = systest.Object{"name": "x"}
			}
			a, err := tom.Try(t.Context(), q.method, q.path, body)
			if err != nil || a.Status != 503 || a.Code() != "unavailable" || a.Header.Get("Retry-After") == "" {
				t.Errorf("%s %s: %v, %v", q.method, q.path, a, err)
			}
		})
	}
	for _, session := range []string{"d0", "brand-new"} {
		asking.Go(func() {
			d := tom.Device(session)
			if status, err := d.Connect(); err != nil || status != 200 {
				t.Errorf("a stream of %s: %d, %v", session, status, err)
			}
			d.Cut()
		})
	}
	asking.Wait()
	if took := time.Since(start); took > 25*time.Second {
		t.Errorf("answers took %v", took)
	}
	proxy.Heal()
	awaitStatus(t, s, "/readyz", 200)
	b.flow(50)
	b.verify()
}

// overTCP has a DSN of a Unix socket go through a proxy.
func overTCP(t *testing.T, dsn string) (string, *systest.Proxy) {
	t.Helper()
	host := regexp.MustCompile(`host='([^']*)' `).FindStringSubmatch(dsn)
	if host == nil {
		t.Fatalf("not on a Unix socket: %s", dsn)
	}
	proxy := systest.NewProxy(t, "unix", filepath.Join(host[1], ".s.PGSQL.5432"))
	ip, port, _ := strings.Cut(proxy.Addr, ":")
	return strings.Replace(dsn, host[0], fmt.Sprintf("host=%s port=%s ", ip, port), 1), proxy
}
