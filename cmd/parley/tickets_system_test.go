package main_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

func ticket(t *testing.T, c *systest.Client) (text string, expires time.Time) {
	t.Helper()
	var v struct {
		Ticket    string
		ExpiresAt time.Time
	}
	c.Want(t, 201, "POST", "/v1/tickets", nil).Into(t, &v)
	if v.Ticket == "" || time.Until(v.ExpiresAt) > 31*time.Second || time.Until(v.ExpiresAt) < 15*time.Second {
		t.Fatalf("ticket: %+v", v)
	}
	return v.Ticket, v.ExpiresAt
}

// stranger comes without a token, as an EventSource does.
func stranger(s *systest.Server, session string, query ...string) *systest.Device {
	c := *s.As("nobody")
	c.Token = ""
	return c.Device(session, query...)
}

func TestTickets(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	tom := here.As("Tom")
	late, lateExpires := ticket(t, tom)

	text, _ := ticket(t, tom)
	connects(t, stranger(here, "", "ticket", text), 401) // the first use must name a session
	d := stranger(here, "page", "ticket", text)
	connects(t, d, 200)
	var ready struct{ ClientID, SessionID string }
	if d.AwaitEvent(t, "ready").Into(t, &ready); ready.ClientID != "Tom" || ready.SessionID != "page" {
		t.Errorf("ready: %+v", ready)
	}
	// It is tied to the session, on every node; a reconnect works as often as need be.
	connects(t, stranger(here, "other", "ticket", text), 401)
	connects(t, stranger(there, "other", "ticket", text), 401)
	jerry := here.As("Jerry")
	d.Cut()
	id := jerry.Create(t, "Tom")
	jerry.Say(t, id, "while you were away")
	d.Client = d.Client.At(there)
	connects(t, d, 200)
	d.AwaitText(t, "while you were away")

	connects(t, stranger(here, "page", "ticket", "invented"), 401)
	if a := stranger(here, "").Client.Do(t, "GET", "/v1/unread?ticket="+text, nil); a.Status != 401 || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("a ticket for anything else: %s %v", a, a.Header)
	}
	asTom := here.Operator()
	var forTom struct{ Ticket string }
	asTom.Want(t, 201, "POST", "/v1/tickets", nil, "Parley-As", "Tom").Into(t, &forTom)
	connects(t, stranger(here, "by operator", "ticket", forTom.Ticket), 401) // no session id
	d2 := stranger(here, "by-operator", "ticket", forTom.Ticket)
	connects(t, d2, 200)
	if d2.AwaitEvent(t, "ready").Into(t, &ready); ready.ClientID != "Tom" {
		t.Errorf("a ticket that an operator asked for: %+v", ready)
	}
	if a := asTom.Do(t, "POST", "/v1/tickets", nil); a.Code() != "acting_client_required" {
		t.Errorf("a ticket for nobody: %s", a)
	}

	// Whoever has not used it within 30 s never will.
	time.Sleep(time.Until(lateExpires) + 100*time.Millisecond)
	connects(t, stranger(here, "late", "ticket", late), 401)
	d.Cut()
	connects(t, d, 200) // the one in use goes on
}

// The token in the query is for the stream alone, and for clients alone.
func TestAccessToken(t *testing.T) {
	t.Parallel()
	s := systest.Start(t, repotest.DSN(t), "PARLEY_LOG_LEVEL=debug")
	token := systest.Token("Tom")
	d := stranger(s, "web", "access_token", token)
	connects(t, d, 200)
	d.AwaitEvent(t, "ready")
	connects(t, stranger(s, "web", "access_token", systest.ServerToken()), 401)
	connects(t, stranger(s, "web", "access_token", "x"+token), 401)
	expired := systest.Token("Tom", func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Minute).Unix() })
	connects(t, stranger(s, "web", "access_token", expired), 401)
	if a := d.Client.Do(t, "GET", "/v1/sessions?access_token="+token, nil); a.Status != 401 || a.Code() != "unauthenticated" {
		t.Errorf("elsewhere: %s", a)
	}
	if strings.Contains(s.Log(), token) {
		t.Error("a token is in the log")
	}
}

// A kick ends everything of a client, everywhere, and refuses all that was issued before.
func TestKick(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	tom, operator := here.As("Tom"), here.Operator()
	near, far := tom.Open(t, "near", "tag", "mobile"), tom.At(there).Open(t, "far")
	unused, _ := ticket(t, tom)
	used, _ := ticket(t, tom)
	byTicket := stranger(here, "page", "ticket", used)
	connects(t, byTicket, 200)
	byTicket.AwaitEvent(t, "ready")
	jerry := here.As("Jerry").Open(t, "web")

	for _, bad := range []systest.Object{{"reason": strings.Repeat("x", 21)}, {"why": "?"}} {
		if a := operator.Do(t, "POST", "/v1/clients/Tom/kick", bad); a.Status != 400 {
			t.Errorf("kick with %v: %s", bad, a)
		}
	}
	if a := tom.Do(t, "POST", "/v1/clients/Jerry/kick", nil); a.Status != 403 || a.Code() != "server_scope_required" {
		t.Errorf("kick by a client: %s", a)
	}
	operator.Want(t, 204, "POST", "/v1/clients/nobody-ever/kick", nil)
	operator.Want(t, 204, "POST", "/v1/clients/Tom/kick", systest.Object{"reason": "spam"})
	if a := tom.Do(t, "GET", "/v1/unread", nil); a.Status != 401 {
		t.Errorf("the old token: %s", a)
	}
	for _, d := range []*systest.Device{near, far, byTicket} {
		f := lastOf(t, d)
		isClosed(t, f, "kicked", 4115)
		var v struct{ Reason string }
		if f.Into(t, &v); v.Reason != "spam" {
			t.Errorf("the reason: %s", f)
		}
		connects(t, d, 401)
	}
	systest.Eventually(t, "the other node refuses too", func() error {
		if a := tom.At(there).Do(t, "GET", "/v1/unread", nil); a.Status != 401 {
			return errors.New(a.String())
		}
		return nil
	})
	for _, s := range []*systest.Server{here, there} {
		connects(t, stranger(s, "other", "ticket", unused), 401)
	}
	if jerry.Ended() {
		t.Error("somebody else was kicked too")
	}

	// With a token issued later he comes back, by a new session.
	later := func(c jwt.MapClaims) { c["iat"] = time.Now().Add(2 * time.Second).Unix() } // within the leeway
	tom.Token = systest.Token("Tom", later)
	near.Client, far.Client = tom, tom.At(there)
	connects(t, near, 204)
	connects(t, far, 204)
	tom.Open(t, "new", "tag", "mobile")
	if s := tom.Sessions(t); len(s) != 1 || !s["new"].Connected {
		t.Errorf("sessions: %+v", s)
	}
	for _, claims := range []func(jwt.MapClaims){func(c jwt.MapClaims) { delete(c, "iat") }, func(c jwt.MapClaims) { c["iat"] = time.Now().Add(-time.Minute).Unix() }} {
		tom.Token = systest.Token("Tom", claims)
		if a := tom.Do(t, "GET", "/v1/unread", nil); a.Status != 401 {
			t.Errorf("a token without iat, or of before: %s", a)
		}
	}
	// It holds over a restart.
	here.Kill()
	here.Launch()
	here.AwaitReady()
	if a := tom.Do(t, "GET", "/v1/unread", nil); a.Status != 401 {
		t.Errorf("after a restart: %s", a)
	}
}

func TestAcks(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	tom := here.As("Tom")
	d := tom.Open(t, "web", "ack", "client")
	here.As("Jerry").Create(t, "Tom")
	position := d.AwaitEvent(t, "invited").ID
	ack := func(at *systest.Server, position any, header ...string) *systest.Answer {
		return tom.At(at).Do(t, "POST", "/v1/acks", systest.Object{"position": position}, header...)
	}
	for _, s := range []*systest.Server{here, there} {
		if a := ack(s, position, "Parley-Session", "web"); a.Status != 204 {
			t.Errorf("ack: %s", a)
		}
		if a := ack(s, position); a.Status != 400 || a.Code() != "session_required" {
			t.Errorf("ack of no session: %s", a)
		}
		if a := ack(s, position, "Parley-Session", "unknown"); a.Status != 400 || a.Code() != "session_required" {
			t.Errorf("ack of an unknown session: %s", a)
		}
		for _, bad := range []any{"", "garbage", position + "000", "-" + position} {
			if a := ack(s, bad, "Parley-Session", "web"); a.Status != 400 || a.Code() != "invalid_request" {
				t.Errorf("ack of %q: %s", bad, a)
			}
		}
	}
	d.Cut() // an ack may come after the stream has gone
	if a := ack(there, position, "Parley-Session", "web"); a.Status != 204 {
		t.Errorf("ack without a stream: %s", a)
	}
	tom.Want(t, 204, "DELETE", "/v1/sessions/web", nil)
	if a := ack(here, position, "Parley-Session", "web"); a.Status != 400 || a.Code() != "session_required" {
		t.Errorf("ack of a spent session: %s", a)
	}
}
