package handlers_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"parley/api"
	"parley/chat"
	"parley/repo/repotest"
)

// TestKickOvertakesOpening: a kick may come between the moment that a token is found good and the one that its stream
// opens. The front of this site does not know who was kicked, as if it had looked just before.
func TestKickOvertakesOpening(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	old := s.listen("Tom", "session=old")
	s.must("server", "POST", "/v1/clients/Tom/kick", "")
	old.await("that it is closed", named("session_closed"))
	for _, session := range []string{"new", "old"} {
		if got := s.do("Tom", "GET", "/v1/events?session="+session, "").outcome(); got != "401 unauthenticated 4102" {
			t.Errorf("the stream of session %s: %s", session, got)
		}
	}
	if left := s.items("server/Tom", "/v1/sessions"); len(left) != 0 {
		t.Errorf("sessions: %v", left)
	}
	s.listen("server/Tom", "session=new").await("ready", named("ready")) // this token was not Tom's
	s.listen("Jerry", "session=new").await("ready", named("ready"))
}

func named(event string) func(heard) bool { return func(h heard) bool { return h.event == event } }

// TestGoneWhileOpening: who leaves while the login is under way has a session all the same, and it must not count as
// connected for ever.
func TestGoneWhileOpening(t *testing.T) {
	t.Parallel()
	s, _, store := serve(t, chat.Config{DSN: repotest.DSN(t), ReconnectGrace: shortGrace, SeatGrace: time.Minute}, api.Config{})
	busy, err := store.DB().Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Rollback()
	if _, err := busy.Exec(`LOCK TABLE clients IN EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	noticed := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { close(noticed) })
		s.handler.ServeHTTP(w, r)
	}))
	defer srv.Close()
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/v1/events?session=short", nil)
	if err != nil {
		t.Fatal(err)
	}
	as(t, r, "Jerry")
	answered := make(chan error, 1)
	go func() {
		res, err := http.DefaultClient.Do(r)
		if err == nil {
			res.Body.Close()
		}
		answered <- err
	}()
	eventually(t, "the login waits", func() bool {
		var waiting bool
		err := store.DB().QueryRow(`SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting)
		return err == nil && waiting
	})
	leave()
	if err := <-answered; err == nil {
		t.Error("the stream opened")
	}
	<-noticed
	if err := busy.Rollback(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session is lost", func() bool {
		sessions := s.items("Jerry", "/v1/sessions")
		online := s.must("server", "POST", "/v1/presence/query", `{"clientIds":["Jerry"]}`).body["online"]
		return len(sessions) == 1 && sessions[0]["connected"] == false && len(online.([]any)) == 0
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
