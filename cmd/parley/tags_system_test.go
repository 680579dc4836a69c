package main_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// pair is two servers on one database.
func pair(t *testing.T, settings ...string) (here, there *systest.Server) {
	t.Helper()
	dsn := repotest.DSN(t)
	return systest.Start(t, dsn, settings...), systest.Start(t, dsn, settings...)
}

// agree waits until two servers know of the same position.
func agree(t *testing.T, here, there *systest.Server) {
	t.Helper()
	position := func(s *systest.Server) string {
		return s.As("somebody").Want(t, 200, "GET", "/v1/unread", nil).Header.Get("Parley-Position")
	}
	systest.Eventually(t, "the servers agree", func() error {
		if a, b := position(here), position(there); a == "" || a != b {
			return fmt.Errorf("positions %s and %s", a, b)
		}
		return nil
	})
}

// connects checks how a request for a stream is answered.
func connects(t *testing.T, d *systest.Device, want int) {
	t.Helper()
	if status, err := d.Connect(); err != nil || status != want {
		t.Fatalf("%s of %s connects: %d, %v, want %d", d.Session, d.Client.ID, status, err, want)
	}
	t.Cleanup(d.Cut)
}

// lastOf waits for a stream to end and returns its last event.
func lastOf(t *testing.T, d *systest.Device) systest.Frame {
	t.Helper()
	d.AwaitEnd(t)
	frames := d.Frames()
	if len(frames) == 0 {
		t.Fatalf("%s ended without a word", d.Session)
	}
	return frames[len(frames)-1]
}

// isConflict checks the event of an eviction.
func isConflict(t *testing.T, f systest.Frame, by, tag string) {
	t.Helper()
	var v struct {
		SessionID, Tag, Code, At string
		LegacyCode               int
	}
	f.Into(t, &v)
	if f.Event != "conflict" || f.ID != "" || v.SessionID != by || v.Tag != tag || v.Code != "session_conflict" || v.LegacyCode != 4111 || v.At == "" {
		t.Errorf("%s, want a conflict with %s about %s", f, by, tag)
	}
}

// isClosed checks the event that ends a stream.
func isClosed(t *testing.T, f systest.Frame, code string, legacy int) {
	t.Helper()
	var v struct {
		Code, At   string
		LegacyCode int
	}
	f.Into(t, &v)
	if f.Event != "session_closed" || f.ID != "" || v.Code != code || v.LegacyCode != legacy || v.At == "" {
		t.Errorf("%s, want session_closed with %s", f, code)
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	for _, second := range []*systest.Server{here, there} {
		t.Run("", func(t *testing.T) {
			tom := here.As(systest.Unique("Tom"))
			elsewhere := tom.At(second)

			// default and none evict nobody.
			plain := []*systest.Device{tom.Open(t, "a"), elsewhere.Open(t, "b"), tom.Open(t, "c", "tag", "default"), elsewhere.Open(t, "d", "tag", "default")}

			first := tom.Open(t, "first", "tag", "mobile")
			var ready struct{ Tag *string }
			first.AwaitEvent(t, "ready").Into(t, &ready)
			if ready.Tag == nil || *ready.Tag != "mobile" {
				t.Errorf("ready: %s", first.Frames()[0])
			}

			// With reopen nobody is evicted.
			polite := elsewhere.Device("polite", "tag", "mobile", "reopen", "true")
			connects(t, polite, 409)
			if first.Ended() {
				t.Error("reopen evicted the holder")
			}

			other := elsewhere.Open(t, "second", "tag", "mobile")
			isConflict(t, lastOf(t, first), "second", "mobile")
			connects(t, first, 204)
			first.Query.Set("reopen", "true")
			connects(t, first, 409)
			refused := tom.Do(t, "GET", "/v1/events?session=first&reopen=true&tag=mobile", nil)
			var problem struct{ LegacyCode int }
			if refused.Into(t, &problem); refused.Status != 409 || refused.Code() != "session_conflict" || problem.LegacyCode != 4111 {
				t.Errorf("reopen of an evicted session: %s", refused)
			}

			// Evicted while away: told so once, when it returns.
			other.Cut()
			systest.Eventually(t, "the cut is noticed", func() error {
				if tom.Sessions(t)["second"].Connected {
					return errors.New("still connected")
				}
				return nil
			})
			third := tom.Open(t, "third", "tag", "mobile")
			agree(t, here, there)
			n := len(other.Frames())
			connects(t, other, 200)
			other.AwaitEnd(t)
			told := other.Frames()[n:]
			if second == here && len(told) != 1 { // the other server may not have heard yet
				t.Errorf("an evicted session that returns is told %v", told)
			}
			isConflict(t, told[len(told)-1], "third", "mobile")
			systest.Eventually(t, "nothing more is said", func() error {
				if status, err := other.Connect(); err != nil || status != 204 {
					return fmt.Errorf("%d, %v", status, err)
				}
				return nil
			})

			// A reconnect keeps its first tag, and evicts nobody.
			third.Cut()
			third.Query.Set("tag", "desktop")
			n = len(third.Frames())
			connects(t, third, 200)
			f := third.AwaitBehind(t, n, "ready", func(systest.Frame) bool { return true })
			if f.Into(t, &ready); ready.Tag == nil || *ready.Tag != "mobile" {
				t.Errorf("a reconnect with another tag: %s", f)
			}
			for _, d := range append(plain, third) {
				if d.Ended() {
					t.Errorf("the stream of %s ended: %v", d.Session, d.Frames())
				}
			}
		})
	}
	if a := here.As("Tom").Do(t, "GET", "/v1/events?tag=mobile", nil); a.Status != 400 || a.Code() != "session_required" {
		t.Errorf("a tag without a session: %s", a)
	}
}

// Of many that want a tag at once on two servers one keeps it; all others are told.
func TestTagRace(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	for range 5 {
		tom := here.As(systest.Unique("Tom"))
		var devices []*systest.Device
		var logins sync.WaitGroup
		for i := range 12 {
			d := tom.At([]*systest.Server{here, there}[i%2]).Device(fmt.Sprint("s", i), "tag", "mobile")
			devices = append(devices, d)
			t.Cleanup(d.Cut)
			logins.Go(func() {
				if status, err := d.Connect(); err != nil || status != 200 {
					t.Errorf("%s: %d, %v", d.Session, status, err)
				}
			})
		}
		logins.Wait()
		systest.Eventually(t, "one of many keeps the tag", func() error {
			sessions := tom.Sessions(t)
			var open []string
			for _, d := range devices {
				if !d.Ended() {
					open = append(open, d.Session)
				}
			}
			if len(sessions) != 1 || len(open) != 1 || !sessions[open[0]].Connected {
				return fmt.Errorf("open are %v, and the sessions are %v", open, sessions)
			}
			return nil
		})
		for _, d := range devices {
			if frames := d.Frames(); d.Ended() && (len(frames) == 0 || frames[len(frames)-1].Event != "conflict") {
				t.Errorf("%s ended with %v", d.Session, frames)
			}
		}
	}
}

// A second connection of one session takes over; nothing is lost between the two.
func TestTakeover(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	for _, second := range []*systest.Server{here, there} {
		t.Run("", func(t *testing.T) {
			tom, jerry := here.As(systest.Unique("Tom")), here.As(systest.Unique("Jerry"))
			old := jerry.Open(t, "tab")
			id := tom.Create(t, jerry.ID)
			tom.Say(t, id, "one")
			old.AwaitText(t, "one")
			young := jerry.At(second).Device("tab", "lastEventId", old.Last())
			connects(t, young, 200)
			isClosed(t, lastOf(t, old), "replaced", 0)
			tom.Say(t, id, "two")
			young.AwaitText(t, "two")
			if got := fmt.Sprint(old.Texts(), young.Texts()); got != "[one] [two]" {
				t.Errorf("the two streams got %s", got)
			}
			if s := jerry.Sessions(t); len(s) != 1 || !s["tab"].Connected {
				t.Errorf("sessions: %+v", s)
			}
			// The id is not spent.
			connects(t, old, 200)
			isClosed(t, lastOf(t, young), "replaced", 0)
		})
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	for _, second := range []*systest.Server{here, there} {
		t.Run("", func(t *testing.T) {
			tom := here.As(systest.Unique("Tom"))
			d, other := tom.Open(t, "phone", "tag", "mobile"), tom.Open(t, "laptop")
			tom.At(second).Want(t, 204, "DELETE", "/v1/sessions/phone", nil)
			isClosed(t, lastOf(t, d), "logged_out", 0)
			connects(t, d, 204)
			if s := tom.Sessions(t); len(s) != 1 || !s["laptop"].Connected {
				t.Errorf("sessions: %+v", s)
			}
			if other.Ended() {
				t.Error("the other session ended too")
			}
			for _, id := range []string{"phone", "nobody"} {
				if a := tom.Do(t, "DELETE", "/v1/sessions/"+id, nil); a.Status != 404 || a.Code() != "session_not_found" {
					t.Errorf("logout of %s: %s", id, a)
				}
			}
			tom.Open(t, "new", "tag", "mobile") // the tag is free
		})
	}
}

func TestTooManyStreams(t *testing.T) {
	t.Parallel()
	s := systest.Start(t, repotest.DSN(t), "PARLEY_LIMIT_STREAMS=3")
	tom := s.As("Tom")
	var devices []*systest.Device
	for i := range 3 {
		devices = append(devices, tom.Open(t, fmt.Sprint("d", i)))
	}
	devices = append(devices, tom.Open(t, "d3"))
	isClosed(t, lastOf(t, devices[0]), "too_many_streams", 0)
	connects(t, devices[3], 200) // a takeover is no further stream
	for _, d := range devices[1:] {
		if d.Ended() {
			t.Errorf("%s ended: %v", d.Session, d.Frames())
		}
	}
	connects(t, devices[0], 200) // the id is not spent
	isClosed(t, lastOf(t, devices[1]), "too_many_streams", 0)
}

// Sessions are listed, with what is known of them; those without a name are not kept.
func TestSessions(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	tom := here.As("Tom")
	phone := tom.Open(t, "phone", "tag", "mobile")
	tom.At(there).Open(t, "laptop")
	nameless := tom.Open(t, "")
	var ready struct{ SessionID string }
	nameless.AwaitEvent(t, "ready").Into(t, &ready)
	if ready.SessionID == "" {
		t.Errorf("the server names no session: %v", nameless.Frames())
	}
	phone.Cut()
	nameless.Cut()
	systest.Eventually(t, "the sessions", func() error {
		for _, at := range []*systest.Server{here, there} {
			s := tom.At(at).Sessions(t)
			if len(s) != 2 || s["phone"].Connected || !s["laptop"].Connected || s["phone"].Tag == nil || *s["phone"].Tag != "mobile" || s["laptop"].Tag != nil {
				return fmt.Errorf("%+v", s)
			}
		}
		return nil
	})
	var page struct{ Items []map[string]any }
	tom.Want(t, 200, "GET", "/v1/sessions", nil).Into(t, &page)
	for _, item := range page.Items {
		for _, field := range []string{"id", "tag", "connected", "openedAt", "lastSeenAt", "remoteAddr"} {
			if _, ok := item[field]; !ok || len(item) != 6 {
				t.Errorf("no %s, or more than there should be: %v", field, item)
			}
		}
	}
	if s := here.As("Jerry").Sessions(t); len(s) != 0 {
		t.Errorf("sessions of somebody else: %+v", s)
	}
}

// A session that broke off is offline only after the grace; then it does not act any more.
func TestGrace(t *testing.T) {
	t.Parallel()
	here, there := pair(t, "PARLEY_RECONNECT_GRACE=1s")
	tom, jerry := here.As("Tom"), here.As("Jerry")
	phone := jerry.Open(t, "phone")
	id := tom.Create(t, "Jerry")
	online := func(at *systest.Server) bool {
		var page struct {
			Items []struct {
				ClientID string
				Online   *bool
			}
		}
		tom.At(at).Want(t, 200, "GET", "/v1/conversations/"+id+"/members?online=true", nil).Into(t, &page)
		for _, m := range page.Items {
			if m.Online == nil {
				t.Fatal("online is not told")
			}
			if m.ClientID == "Jerry" {
				return *m.Online
			}
		}
		return false
	}
	for _, at := range []*systest.Server{here, there} {
		if !online(at) {
			t.Error("Jerry is offline with a stream open")
		}
	}
	phone.AwaitEvent(t, "invited")
	phone.Cut()
	for _, at := range []*systest.Server{here, there} {
		systest.Eventually(t, "Jerry is offline", func() error {
			if online(at) {
				return errors.New("online")
			}
			return nil
		})
	}
	jerry.Say(t, id, "from a lost session", "Parley-Session", "phone")
	connects(t, phone, 200)
	phone.AwaitText(t, "from a lost session")
	jerry.Say(t, id, "from a connected one", "Parley-Session", "phone")
	jerry.Say(t, id, "from an unknown one", "Parley-Session", "unknown")
	phone.AwaitText(t, "from an unknown one")
	if got := phone.Texts(); len(got) != 2 {
		t.Errorf("the phone heard %q", got)
	}
	if s := jerry.Sessions(t); !s["phone"].Connected {
		t.Errorf("sessions: %+v", s)
	}
	// A planned logout is offline at once.
	jerry.Want(t, 204, "DELETE", "/v1/sessions/phone", nil)
	if online(here) {
		t.Error("online after a logout")
	}
}
