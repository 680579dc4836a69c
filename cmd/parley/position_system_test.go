package main_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// Who loads state by REST and opens the stream at the position that came with it
// misses nothing, whichever server either was, while messages go by.
func TestStateThenStream(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	tom, jerry := here.As("Tom"), here.As("Jerry")
	id := tom.Create(t, "Jerry")
	ctx, stop := context.WithCancel(t.Context())
	var talking sync.WaitGroup
	for i, s := range []*systest.Server{here, there} {
		talking.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				a, err := tom.At(s).Try(ctx, "POST", "/v1/conversations/"+id+"/messages", systest.Object{"type": "text", "text": fmt.Sprint(i, " ", n)})
				if err == nil && a.Status != 201 {
					t.Errorf("send: %s", a)
				}
			}
		})
	}
	t.Cleanup(func() { stop(); talking.Wait() })
	for n := range 20 {
		rest := jerry.At([]*systest.Server{here, there}[n%2])
		stream := jerry.At([]*systest.Server{here, there}[n/2%2])
		a := rest.Want(t, 200, "GET", "/v1/conversations/"+id+"/messages?limit=1", nil)
		position := a.Header.Get("Parley-Position")
		var page struct{ Items []systest.Message }
		a.Into(t, &page)
		d := stream.Device(fmt.Sprint("d", n))
		d.Resume(position)
		connects(t, d, 200)
		f := d.AwaitEvent(t, "message")
		var v struct{ Message systest.Message }
		f.Into(t, &v)
		if last := lastSeq(page.Items); v.Message.Seq > last+1 {
			t.Errorf("the state ends with message %d, the stream behind %s begins with %d", last, position, v.Message.Seq)
		}
		d.Cut()
	}
}

// A quiet stream's position keeps up: its pings carry it, and it can be resumed.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	d := here.As("Jerry").Open(t, "web", "heartbeat", "5")
	start := time.Now()
	others := here.As("Tom")
	others.Say(t, others.Create(t, "Spike"), "not for Jerry")
	ping := d.AwaitEvent(t, "ping")
	var v struct{ At string }
	if ping.Into(t, &v); v.At == "" || ping.ID == "" {
		t.Errorf("ping: %s", ping)
	}
	if took := time.Since(start); took > 12*time.Second {
		t.Errorf("the first ping took %v", took)
	}
	if ready := d.AwaitEvent(t, "ready"); ready.ID == ping.ID {
		t.Errorf("the ping stands where the stream began: %s, %s", ready, ping)
	}
	d.Cut()
	d.Client = d.Client.At(there)
	n := len(d.Frames())
	connects(t, d, 200)
	var ready struct {
		Resumed          bool
		HeartbeatSeconds int
	}
	d.AwaitBehind(t, n, "ready", func(systest.Frame) bool { return true }).Into(t, &ready)
	if !ready.Resumed || ready.HeartbeatSeconds != 5 {
		t.Errorf("resumed behind a ping: %+v", ready)
	}
	for _, bad := range []string{"heartbeat=4", "heartbeat=61", "heartbeat=x", "session=a%20b", "session=", "offline=some", "ack=perhaps", "reopen=maybe", "lastEventId=a&lastEventId=b"} {
		if a := here.As("Jerry").Do(t, "GET", "/v1/events?"+bad, nil); a.Status != 400 || a.Code() != "invalid_request" {
			t.Errorf("%s: %s", bad, a)
		}
	}
}

// What races on two servers is done once: a unique conversation, a send with a key.
func TestRaces(t *testing.T) {
	t.Parallel()
	here, there := pair(t)
	for n := range 5 {
		names := []string{systest.Unique("Tom"), systest.Unique("Jerry")}
		makers := []*systest.Client{here.As(names[0]), there.As(names[1]), there.As(names[0]), here.As(names[1])}
		id := oneOf(t, 201, func(i int) *systest.Answer {
			return makers[i%4].Do(t, "POST", "/v1/conversations", systest.Object{"members": names, "unique": true})
		})
		path := "/v1/conversations/" + id + "/messages"
		oneOf(t, 201, func(i int) *systest.Answer {
			return makers[i%2*2].Do(t, "POST", path, systest.Object{"type": "text", "text": "once"}, "Idempotency-Key", fmt.Sprint(n))
		})
		if history := makers[0].History(t, id); len(history) != 1 {
			t.Errorf("the history: %+v", history)
		}
	}
}

// oneOf asks many times at once: one answer has the status, the others are 200, and all name the same id, which it returns.
func oneOf(t *testing.T, status int, ask func(i int) *systest.Answer) string {
	t.Helper()
	answers := make([]*systest.Answer, 12)
	var asking sync.WaitGroup
	for i := range answers {
		asking.Go(func() { answers[i] = ask(i) })
	}
	asking.Wait()
	ids := make(map[string]bool)
	first, id := 0, ""
	for _, a := range answers {
		var v struct{ ID string }
		a.Into(t, &v)
		if id = v.ID; id == "" || a.Status != 200 && a.Status != status {
			t.Errorf("answer: %s", a)
		}
		if a.Status == status {
			first++
		}
		ids[id] = true
	}
	if first != 1 || len(ids) != 1 {
		t.Fatalf("%d were first, the ids are %v", first, ids)
	}
	return id
}

// lastSeq is that of the newest message, which comes first; 0 without any.
func lastSeq(newest []systest.Message) int64 {
	if len(newest) == 0 {
		return 0
	}
	return newest[0].Seq
}

// A position that is not of this log resets; none is a fresh start.
func TestReset(t *testing.T) {
	t.Parallel()
	s := systest.Start(t, repotest.DSN(t))
	foreign := systest.Start(t, repotest.EmptyDSN(t)).As("Tom").Open(t, "x").Last() // a clone would have the same log
	tom := s.As("Tom")
	own := tom.Open(t, "web").Last()
	for _, given := range []string{foreign, "garbage", own + "0000", "-1", own + "x"} {
		d := tom.Device(systest.Unique("s"), "lastEventId", given)
		connects(t, d, 200)
		reset := d.AwaitEvent(t, "reset")
		var why struct{ Reason string }
		var ready struct{ Resumed bool }
		reset.Into(t, &why)
		d.Frames()[0].Into(t, &ready)
		if why.Reason != "unknown" || reset.ID == "" || ready.Resumed || d.Frames()[0].ID != "" || d.Frames()[1].Event != "reset" {
			t.Errorf("behind %q: %v", given, d.Frames())
		}
		d.AwaitEvent(t, "unread_messages_count_update")
	}
	d := tom.Device("empty", "lastEventId", "")
	connects(t, d, 200)
	d.AwaitEvent(t, "unread_messages_count_update")
	if f := d.Frames(); f[0].ID == "" || f[1].Event == "reset" {
		t.Errorf("an empty position: %v", f)
	}
	// The header wins over the parameter.
	d = tom.Device("both", "lastEventId", "garbage")
	d.Resume(own)
	connects(t, d, 200)
	var ready struct{ Resumed bool }
	if d.AwaitEvent(t, "ready").Into(t, &ready); !ready.Resumed {
		t.Errorf("the header does not win: %v", d.Frames())
	}
}
