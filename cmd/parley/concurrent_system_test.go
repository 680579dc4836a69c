package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// Everything at once on two nodes: people talk, come and go, streams are cut and
// return to either node. What must hold all the same: members hear 1, 2, 3… of a
// conversation for as long as they are in it, strangers nothing, and positions grow.
func TestConcurrentOperations(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	nodes := []*systest.Server{systest.Start(t, dsn), systest.Start(t, dsn)}
	seed := uint64(number("PARLEY_TEST_SEED", int(time.Now().UnixNano()%1e9)))
	t.Logf("PARLEY_TEST_SEED=%d", seed)
	c := &crowd{t: t, nodes: nodes}
	// One who makes the conversations and stays, one who only listens, four who come and go.
	for i, name := range []string{"host", "listener", "a", "b", "c", "d"} {
		client := nodes[i%2].As(systest.Unique(name))
		c.clients = append(c.clients, client)
		for n := range 2 {
			d := client.Device(fmt.Sprintf("d%d", n))
			d.Roam = []*systest.Server{nodes[n%2], nodes[(n+1)%2]}
			c.devices = append(c.devices, d)
		}
	}
	c.follow()
	guests := []string{c.clients[2].ID, c.clients[3].ID, c.clients[4].ID, c.clients[5].ID}
	for range 3 {
		c.rooms = append(c.rooms, c.clients[0].Create(t, append([]string{c.clients[1].ID}, guests...)...))
	}

	busy, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	var working sync.WaitGroup
	for i := range c.clients {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		working.Go(func() { c.work(busy, rng, i) })
	}
	working.Go(func() { c.disturb(busy, rand.New(rand.NewPCG(seed, 100))) })
	working.Wait()
	if t.Failed() {
		return
	}
	for _, room := range c.rooms {
		c.clients[0].Want(t, 200, "POST", "/v1/conversations/"+room+"/members", systest.Object{"clientIds": guests})
		c.clients[0].Say(t, room, "the end")
	}
	for _, d := range c.devices {
		for _, room := range c.rooms {
			d.Await(t, "the end of "+room, func(f systest.Frame) bool {
				return f.Event == "message" && systest.TextOf(f) == "the end" && strings.Contains(string(f.Data), room)
			})
		}
	}
	c.halt()
	c.verify()
}

type crowd struct {
	t       *testing.T
	nodes   []*systest.Server
	clients []*systest.Client
	devices []*systest.Device
	rooms   []string
	halt    func() // ends the streams

	mu   sync.Mutex
	sent map[string]systest.Message // by id: what was answered with 201
}

// follow connects all devices for good.
func (c *crowd) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	for _, d := range c.devices {
		following.Go(func() {
			if err := d.Follow(ctx); err != nil {
				c.t.Error(err)
			}
		})
	}
	c.halt = func() { cancel(); following.Wait() }
	c.t.Cleanup(c.halt)
	for _, d := range c.devices {
		d.AwaitEvent(c.t, "ready")
	}
}

// work does what a client does, as fast as it is answered.
func (c *crowd) work(ctx context.Context, rng *rand.Rand, i int) {
	client := c.clients[i]
	if i == 1 {
		return // the listener
	}
	for n := 0; ctx.Err() == nil; n++ {
		room := c.rooms[rng.IntN(len(c.rooms))]
		path := "/v1/conversations/" + room
		at := client.At(c.nodes[rng.IntN(len(c.nodes))])
		var a *systest.Answer
		var err error
		guest := c.clients[2+rng.IntN(4)].ID
		switch kind := rng.IntN(12); {
		case kind == 0 && i == 0:
			a, err = at.Try(ctx, "POST", path+"/members", systest.Object{"clientIds": []string{guest, client.ID}})
		case kind == 0:
			a, err = at.Try(ctx, "POST", path+"/members", systest.Object{"clientIds": []string{client.ID}})
		case kind == 1 && i == 0:
			a, err = at.Try(ctx, "DELETE", path+"/members?clientId="+guest, nil)
		case kind == 1:
			a, err = at.Try(ctx, "DELETE", path+"/members?clientId="+client.ID, nil)
		case kind == 2:
			a, err = at.Try(ctx, "PATCH", path, systest.Object{"name": strconv.Itoa(n)})
		case kind == 3:
			a, err = at.Try(ctx, "POST", path+"/read", nil)
		default:
			c.send(ctx, at, room, fmt.Sprintf("%s says %d", client.ID, n))
			continue
		}
		if err != nil {
			if ctx.Err() == nil {
				c.t.Error(err)
			}
			return
		}
		if a.Status != 200 && a.Code() != "not_a_member" {
			c.t.Errorf("%s: %s", client.ID, a)
		}
	}
}

// send speaks with a key, twice at once now and then.
func (c *crowd) send(ctx context.Context, client *systest.Client, room, text string) {
	key := systest.Unique("k")
	var m systest.Message
	a, err := client.Try(ctx, "POST", "/v1/conversations/"+room+"/messages", systest.Object{"type": "text", "text": text}, "Idempotency-Key", key)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			c.t.Error(err)
		}
	case a.Status == 201:
		a.Into(c.t, &m)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.sent == nil {
			c.sent = make(map[string]systest.Message)
		}
		c.sent[m.ID] = m
	case a.Code() != "not_a_member":
		c.t.Errorf("%s sends: %s", client.ID, a)
	}
}

// disturb cuts streams.
func (c *crowd) disturb(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		c.devices[rng.IntN(len(c.devices))].Cut()
		select {
		case <-time.After(time.Duration(rng.IntN(40)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (c *crowd) verify() {
	for _, room := range c.rooms {
		history := c.nodes[0].Operator().History(c.t, room)
		found := 0
		for i, m := range history {
			if m.Seq != int64(i+1) {
				c.t.Fatalf("message %d of the history of %s has seq %d", i+1, room, m.Seq)
			}
			if was, ok := c.sent[m.ID]; ok {
				found++
				if was.Text != m.Text || was.Seq != m.Seq {
					c.t.Errorf("sent %+v, stored %+v", was, m)
				}
			}
		}
		sent := 0
		for _, m := range c.sent {
			if m.ConversationID == room {
				sent++
			}
		}
		if found != sent {
			c.t.Errorf("of %d answered messages of %s, %d are in the history", sent, room, found)
		}
		for n, d := range c.devices {
			w := watcher{room: room, client: d.Client.ID, constant: n < 4, inside: n < 2} // the host is told of no invitation
			for _, f := range d.Frames() {
				if err := w.see(f); err != nil {
					c.t.Fatalf("%s of %s: %v", d.Session, d.Client.ID, err)
				}
			}
			if w.constant && w.seq != int64(len(history)) {
				c.t.Errorf("%s of %s saw %d of %d messages of %s", d.Session, d.Client.ID, w.seq, len(history), room)
			}
		}
	}
	for _, d := range c.devices {
		positionsGrow(c.t, d)
	}
	c.t.Logf("%d messages, %d frames to the listener", len(c.sent), len(c.devices[2].Frames()))
}

// watcher follows one conversation on one stream.
type watcher struct {
	room, client string
	constant     bool // the client never leaves
	inside       bool
	seq          int64 // of the last message; 0: none yet in this stay
}

func (w *watcher) see(f systest.Frame) error {
	var v struct {
		ConversationID string
		Members        []string
		Message        systest.Message
	}
	if !f.Durable() || json.Unmarshal(f.Data, &v) != nil || v.ConversationID != w.room {
		return nil
	}
	me := slices.Contains(v.Members, w.client)
	switch {
	case f.Event == "invited", f.Event == "members_joined" && me:
		if w.inside {
			return fmt.Errorf("entered twice: %s", f)
		}
		w.inside = true
		if !w.constant {
			w.seq = 0
		}
		return nil
	case !w.inside && f.Event != "unread_messages_count_update": // a read may be told after a kick that it raced
		return fmt.Errorf("hears what is not for it: %s", f)
	case f.Event == "kicked", f.Event == "members_left" && me:
		w.inside = false
	case f.Event == "message":
		if (w.seq != 0 || w.constant) && v.Message.Seq != w.seq+1 {
			return fmt.Errorf("behind message %d: %s", w.seq, f)
		}
		w.seq = v.Message.Seq
	}
	return nil
}

// positionsGrow checks that no frame of the log comes twice or out of order.
func positionsGrow(t *testing.T, d *systest.Device) {
	t.Helper()
	last := int64(0)
	for _, f := range d.Durable() {
		_, digits, _ := strings.Cut(f.ID, "-")
		at, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || at <= last {
			t.Fatalf("%s of %s: behind position %d comes %s", d.Session, d.Client.ID, last, f)
		}
		last = at
	}
}
