package handlers_test

import "testing"

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
