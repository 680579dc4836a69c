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

// A chatroom's reader that cannot keep up loses what is of low priority, and then what is of
// normal, but nothing of high, nor an edit; the metrics say about how much it lost.
func TestSlowReaderOfARoom(t *testing.T) {
	t.Parallel()
	s := systest.Start(t, repotest.DSN(t))
	tom, jerry := s.As("Tom"), s.As("Jerry")
	slow := jerry.Raw(t, "slow", "", "heartbeat", "60")
	if _, err := slow.Until(time.Now().Add(systest.Patience), func(f systest.Frame) bool { return f.Event == "unread_messages_count_update" }); err != nil {
		t.Fatal(err)
	}
	var room struct{ ID string }
	tom.Want(t, 201, "POST", "/v1/conversations", systest.Object{"kind": "chatroom"}).Into(t, &room)
	path := "/v1/conversations/" + room.ID
	jerry.Want(t, 200, "POST", path+"/members", systest.Object{"clientIds": []string{"Jerry"}}, "Parley-Session", "slow")
	first := tom.Say(t, room.ID, "to be edited")

	priorities := []string{"high", "low", "normal", "low"}
	const n = 6000 // far more bytes than the socket holds
	work := make(chan int)
	var sending sync.WaitGroup
	for range 16 {
		sending.Go(func() {
			for i := range work {
				body := systest.Object{"type": "text", "text": strings.Repeat("x", 1000), "priority": priorities[i%len(priorities)]}
				if a, err := tom.Try(context.Background(), "POST", path+"/messages", body); err != nil || a.Status != 201 {
					t.Errorf("send: %v, %v", a, err)
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	sending.Wait()
	tom.Want(t, 200, "PATCH", path+"/messages/"+first.ID, systest.Object{"type": "text", "text": "edited"})
	tom.Want(t, 201, "POST", path+"/messages", systest.Object{"type": "text", "text": "the end", "priority": "high"})

	frames, err := slow.Until(time.Now().Add(systest.Patience), func(f systest.Frame) bool { return f.Event == "message" && systest.TextOf(f) == "the end" })
	if err != nil {
		t.Fatal(err)
	}
	got, last, edits := map[string]int{}, int64(0), 0
	for _, f := range frames {
		var v struct {
			Message struct {
				Seq      int64
				Priority string
			}
		}
		switch f.Event {
		case "message_update":
			edits++
		case "message":
			f.Into(t, &v)
			if v.Message.Seq <= last {
				t.Fatalf("message %d behind %d", v.Message.Seq, last)
			}
			last = v.Message.Seq
			got[v.Message.Priority]++
		}
	}
	if got["high"] != n/4+1 || edits != 1 {
		t.Errorf("of %d messages of high priority came %d, of one edit %d", n/4+1, got["high"], edits)
	}
	lost := map[string]int{"low": n/2 - got["low"], "normal": n/4 + 1 - got[""]}
	metrics := string(s.Operator().Want(t, 200, "GET", "/metrics", nil).Body)
	for priority, lost := range lost {
		var shed int
		_, line, _ := strings.Cut(metrics, `parley_stream_shed_total{priority="`+priority+`"} `)
		if _, err := fmt.Sscan(line, &shed); err != nil || shed > 2*lost || shed < lost/2 || lost == 0 {
			t.Errorf("of %s priority were lost %d, and counted %d, %v", priority, lost, shed, err)
		}
	}
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
