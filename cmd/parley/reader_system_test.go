package main_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// flood sends n messages of about a kilobyte, several at once, and returns when all are stored.
func flood(t *testing.T, c *systest.Client, room string, n int) {
	t.Helper()
	work := make(chan int)
	var working sync.WaitGroup
	for range 16 {
		working.Go(func() {
			for i := range work {
				text := fmt.Sprintf("%06d %s", i, strings.Repeat("x", 1000))
				a, err := c.Try(context.Background(), "POST", "/v1/conversations/"+room+"/messages", systest.Object{"type": "text", "text": text})
				if err != nil || a.Status != 201 {
					t.Errorf("send: %v, %v", a, err)
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	working.Wait()
}

// complete checks that frames hold the messages first to last of a conversation, once and in order.
func complete(t *testing.T, frames []systest.Frame, first, last int64) {
	t.Helper()
	next := first
	for _, f := range frames {
		if f.Event != "message" {
			continue
		}
		var v struct{ Message systest.Message }
		f.Into(t, &v)
		if v.Message.Seq != next {
			t.Fatalf("message %d where %d should be", v.Message.Seq, next)
		}
		next++
	}
	if next != last+1 {
		t.Errorf("the last message is %d, want %d", next-1, last)
	}
}

// Readers that stop reading while thousands of messages go by: who reads on in time
// gets everything over the same connection, who does not is cut and resumes, and
// nobody else waits.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	s := systest.Start(t, repotest.DSN(t))
	tom, jerry := s.As("Tom"), s.As("Jerry")
	healthy := jerry.Open(t, "healthy")
	slow := jerry.Raw(t, "slow", "", "heartbeat", "60")
	stuck := jerry.Raw(t, "stuck", "", "heartbeat", "5")
	isReady := func(f systest.Frame) bool { return f.Event == "unread_messages_count_update" }
	for _, r := range []*systest.Raw{slow, stuck} {
		if _, err := r.Until(time.Now().Add(systest.Patience), isReady); err != nil {
			t.Fatal(err)
		}
	}
	id := tom.Create(t, "Jerry")
	const n = 6000 // far more bytes than both sockets hold
	flood(t, tom, id, n)
	tom.Say(t, id, "the end")
	start := time.Now()
	healthy.AwaitText(t, "the end")
	if late := time.Since(start); late > 5*time.Second {
		t.Errorf("a healthy reader waited %v for slow ones", late)
	}
	complete(t, healthy.Frames(), 1, n+1)

	// Two heartbeats of five seconds without a byte taken, and the stuck one is cut.
	systest.Eventually(t, "the stuck reader is cut", func() error {
		if jerry.Sessions(t)["stuck"].Connected {
			return fmt.Errorf("still connected after %v", time.Since(start))
		}
		return nil
	})
	if !jerry.Sessions(t)["slow"].Connected {
		t.Error("the slow reader was cut before its time")
	}

	isEnd := func(f systest.Frame) bool { return f.Event == "message" && systest.TextOf(f) == "the end" }
	frames, err := slow.Until(time.Now().Add(systest.Patience), isEnd)
	if err != nil {
		t.Errorf("the slow reader: %v", err)
	}
	complete(t, frames, 1, n+1)

	// What the stuck one still gets ends somewhere; behind that it resumes.
	frames, err = stuck.Until(time.Now().Add(systest.Patience), isEnd)
	if err == nil {
		t.Fatal("the stuck reader got everything by a connection that was cut")
	}
	last := ""
	for _, f := range frames {
		if f.ID != "" {
			last = f.ID
		}
	}
	again := jerry.Raw(t, "stuck", last)
	rest, err := again.Until(time.Now().Add(systest.Patience), isEnd)
	if err != nil {
		t.Errorf("the stuck reader, resumed: %v", err)
	}
	complete(t, append(frames, rest...), 1, n+1)
}

// Over HTTP/2 the window of one stream fills; the others on the connection go on.
func TestSlowStreamOfHTTP2(t *testing.T) {
	t.Parallel()
	s := systest.Start(t, repotest.DSN(t))
	tom := s.As("Tom")
	jerry := s.As("Jerry").Over(t, systest.HTTP2)
	healthy := jerry.Open(t, "healthy")
	slow := jerry.Device("slow", "heartbeat", "60")
	slow.Hold() // reads nothing until it is let go
	connects(t, slow, 200)
	id := tom.Create(t, "Jerry")
	const n = 6000
	flood(t, tom, id, n)
	tom.Say(t, id, "the end")
	healthy.AwaitText(t, "the end")
	complete(t, healthy.Frames(), 1, n+1)
	slow.Go()
	slow.AwaitText(t, "the end")
	complete(t, slow.Frames(), 1, n+1)
}
