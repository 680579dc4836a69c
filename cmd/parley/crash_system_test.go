package main_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// burst is several people who send with keys until told to stop, each message again
// and again until it is answered, while others listen.
type burst struct {
	t       *testing.T
	senders []*systest.Client
	devices []*systest.Device
	room    string
	stop    func() // ends the sending, once what is under way is answered

	mu     sync.Mutex
	stored map[string]systest.Message // by key
	status map[int]int                // how often each
	asked  atomic.Int64
}

// newBurst has people begin to talk in a conversation. Streams go to the servers by turns.
func newBurst(t *testing.T, servers ...*systest.Server) *burst {
	t.Helper()
	b := &burst{t: t, stored: map[string]systest.Message{}, status: map[int]int{}}
	var names []string
	for i := range 6 {
		c := servers[i%len(servers)].As(systest.Unique("p"))
		names = append(names, c.ID)
		b.senders = append(b.senders, c)
		for n := range 2 {
			d := c.Device(fmt.Sprintf("d%d", n), "heartbeat", "5")
			d.Roam = servers
			b.devices = append(b.devices, d)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var following, sending sync.WaitGroup
	for _, d := range b.devices {
		following.Go(func() {
			if err := d.Follow(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); following.Wait() })
	for _, d := range b.devices {
		d.AwaitEvent(t, "ready")
	}
	b.room = b.senders[0].Create(t, names...)
	over := make(chan struct{})
	for i, c := range b.senders {
		sending.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				default:
					b.send(ctx, c, fmt.Sprintf("%d-%d", i, n))
				}
			}
		})
	}
	b.stop = sync.OnceFunc(func() { close(over); sending.Wait() })
	t.Cleanup(func() { cancel(); b.stop() })
	return b
}

// send repeats one message until it is stored.
func (b *burst) send(ctx context.Context, c *systest.Client, key string) {
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, 20*time.Second)
		b.asked.Add(1)
		a, err := c.Try(one, "POST", "/v1/conversations/"+b.room+"/messages", systest.Object{"type": "text", "text": key}, "Idempotency-Key", key)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			b.t.Errorf("a send hangs: %v", err)
			return
		}
		if err == nil && b.answered(key, a) {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (b *burst) answered(key string, a *systest.Answer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status[a.Status]++
	switch {
	case a.Status == 503 && a.Code() == "unavailable" && a.Header.Get("Retry-After") != "":
		return false
	case a.Status != 200 && a.Status != 201:
		b.t.Errorf("a send is answered with %s", a)
		return true
	}
	var m systest.Message
	a.Into(b.t, &m)
	b.stored[key] = m
	return true
}

func (b *burst) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.stored)
}

// flow waits until so many more messages are stored.
func (b *burst) flow(n int) {
	b.t.Helper()
	want := b.count() + n
	systest.Eventually(b.t, "messages flow", func() error {
		if got := b.count(); got < want {
			return fmt.Errorf("%d of %d", got, want)
		}
		return nil
	})
}

// verify ends the sending and compares: what was answered is in the history once, and
// every device got all of the history, in order, nothing twice.
func (b *burst) verify() {
	b.t.Helper()
	b.stop()
	last := b.senders[0].Say(b.t, b.room, "the end")
	history := b.senders[0].History(b.t, b.room)
	times := make(map[string]int)
	for i, m := range history {
		if m.Seq != int64(i+1) {
			b.t.Fatalf("message %d of the history has seq %d", i+1, m.Seq)
		}
		times[m.Text]++
		if was, ok := b.stored[m.Text]; ok && (was.ID != m.ID || was.Seq != m.Seq) {
			b.t.Errorf("answered %+v, stored %+v", was, m)
		}
	}
	for key := range b.stored {
		if times[key] != 1 {
			b.t.Errorf("%s was answered, and is in the history %d times", key, times[key])
		}
	}
	if len(history) != len(b.stored)+1 || history[len(history)-1].ID != last.ID {
		b.t.Errorf("%d messages in the history, %d answered", len(history), len(b.stored)+1)
	}
	for i, d := range b.devices {
		d.AwaitText(b.t, "the end")
		w := watcher{room: b.room, client: d.Client.ID, constant: true, inside: i < 2}
		for _, f := range d.Frames() {
			if err := w.see(f); err != nil {
				b.t.Errorf("%s of %s: %v", d.Session, d.Client.ID, err)
				break
			}
			if f.Event == "reset" {
				b.t.Errorf("%s of %s was reset", d.Session, d.Client.ID)
			}
		}
		if w.seq != last.Seq {
			b.t.Errorf("%s of %s saw %d of %d messages", d.Session, d.Client.ID, w.seq, last.Seq)
		}
		positionsGrow(b.t, d)
	}
	b.t.Logf("%d messages, answers %v", len(history), b.status)
}

// The server is killed again and again while people talk.
func TestServerIsKilled(t *testing.T) {
	t.Parallel()
	s := systest.Start(t, repotest.DSN(t))
	b := newBurst(t, s)
	for range 3 {
		b.flow(100)
		s.Kill()
		s.Launch()
		s.AwaitReady()
	}
	b.flow(100)
	b.verify()
}

// One of two servers is killed: its clients go to the other, and lose nothing.
func TestOneOfTwoServersIsKilled(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	stays, dies := systest.Start(t, dsn), systest.Start(t, dsn)
	b := newBurst(t, stays, dies)
	b.flow(100)
	dies.Kill()
	b.flow(50) // by those who talk to the other one
	dies.Launch()
	dies.AwaitReady()
	b.flow(100)
	b.verify()
}

// PostgreSQL is killed while people talk: sends are refused for a while, streams end
// politely, and all recovers by itself.
func TestDatabaseIsKilled(t *testing.T) {
	t.Parallel()
	db := repotest.Cluster(t)
	s := systest.Start(t, db.DSN())
	b := newBurst(t, s)
	b.flow(100)
	db.Kill()
	awaitStatus(t, s, "/readyz", 503)
	asked := b.asked.Load()
	systest.Eventually(t, "sends are refused", func() error {
		if b.asked.Load() < asked+20 {
			return errors.New("they are still under way")
		}
		return nil
	})
	late := b.senders[0].Device("late")
	if status, err := late.Connect(); err != nil || status != 200 {
		t.Errorf("a stream without a database: %d, %v", status, err)
	} else {
		late.AwaitEnd(t)
		if r := late.Retry(); len(late.Frames()) > 0 || r < 2000 || r > 10000 {
			t.Errorf("a stream without a database: %v, retry %d", late.Frames(), r)
		}
	}
	a := b.senders[0].Do(t, "GET", "/v1/conversations/"+b.room, nil)
	if a.Status != 503 || a.Code() != "unavailable" || a.Header.Get("Retry-After") == "" {
		t.Errorf("a read without a database: %s", a)
	}
	db.Start()
	awaitStatus(t, s, "/readyz", 200)
	b.flow(100)
	b.verify()
	if b.status[http.StatusServiceUnavailable] == 0 {
		t.Error("no send was refused")
	}
}

func awaitStatus(t *testing.T, s *systest.Server, path string, want int) {
	t.Helper()
	systest.Eventually(t, fmt.Sprintf("%s answers %d", path, want), func() error {
		if a := s.Operator().Do(t, "GET", path, nil); a.Status != want {
			return errors.New(a.String())
		}
		return nil
	})
}
