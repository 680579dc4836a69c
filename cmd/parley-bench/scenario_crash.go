package main

import (
	"context"
	"fmt"
	"math"
	"time"
)

const (
	crashConversations = 20
	crashMembers       = 10
	crashSenders       = 32
)

// runCrash kills the server under load, again and again, and then compares
// what the senders were promised, what the streams were shown and what the
// history holds.
func runCrash(ctx context.Context, b *bench) error {
	s, err := b.server(ctx)
	if err != nil {
		return err
	}
	c, err := makeCrash(ctx, s)
	if err != nil {
		return err
	}
	c.fleet.messages.expect(math.MaxInt64)
	if _, err := c.fleet.open(ctx, startLimit); err != nil {
		return err
	}
	defer c.fleet.cut()
	c.senders.start(ctx, s.addr, crashSenders)
	defer c.senders.stop()
	for range b.count * b.sizes.crashes {
		if err := b.during("sending", b.window/2, func() error { return pause(ctx, b.window/2) }); err != nil {
			return err
		}
		if err := c.crash(ctx, b, s); err != nil {
			return err
		}
	}
	if err := pause(ctx, b.window/2); err != nil {
		return err
	}
	c.senders.stop()
	return c.judge(ctx, b)
}

// crashScene is who talks, who listens, and where.
type crashScene struct {
	api           *api
	fleet         *fleet
	conversations []string
	members       [][]string
	senders       *persistent
}

func makeCrash(ctx context.Context, s *server) (*crashScene, error) {
	clients := names("client", crashConversations*crashMembers)
	c := &crashScene{api: newAPI(s), fleet: newFleet(s.addr, s.keys, clients, 1), senders: newPersistent(s.keys)}
	for i := range crashConversations {
		members := clients[i*crashMembers : (i+1)*crashMembers]
		id, err := c.api.conversation(ctx, members[0], members[1:]...)
		if err != nil {
			return nil, err
		}
		c.conversations, c.members = append(c.conversations, id), append(c.members, members)
	}
	c.senders.conversations, c.senders.members = c.conversations, c.members
	return c, nil
}

// crash kills the server, starts it again and resumes all streams.
func (c *crashScene) crash(ctx context.Context, b *bench, s *server) error {
	c.fleet.cutting.Store(true) // that the streams end now is our doing
	killed := time.Now()
	s.kill()
	c.fleet.cut()
	c.api.close()
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("after kill -9: %w", err)
	}
	ready := time.Now()
	resumed, err := c.fleet.open(ctx, waveLimit)
	if err != nil {
		return fmt.Errorf("after kill -9: %w", err)
	}
	b.note("from kill -9 until ready again", "s", ready.Sub(killed).Seconds(), nil)
	b.note(fmt.Sprintf("until all %d streams resumed", len(c.fleet.streams)), "s", resumed.Seconds(), nil)
	return nil
}

// judge waits until the streams have everything and settles accounts.
func (c *crashScene) judge(ctx context.Context, b *bench) error {
	if err := c.senders.err(); err != nil {
		return fmt.Errorf("a sender gave up: %w", err)
	}
	histories, err := c.histories(ctx)
	if err != nil {
		return err
	}
	var want int64
	for _, h := range histories {
		want += int64(len(h)) * crashMembers
	}
	c.awaitMessages(ctx, want)
	c.fleet.cut()
	v := c.fleet.verdict()
	lost := v.lost
	for i, s := range c.fleet.streams {
		stored := int64(len(histories[i/crashMembers]))
		lost += max(0, stored-(s.ledger.dueIn(c.conversations[i/crashMembers])-1))
	}
	missing, doubled := c.senders.compare(histories)
	b.note("messages promised to senders", "", float64(c.senders.promised()), nil)
	b.note("sends tried again", "", float64(c.senders.retries.Load()), nil)
	b.note("deliveries", "", float64(v.messages), nil)
	b.note("promised, but not in the history", "", float64(missing), atMost(0, 0))
	b.note("sent once, but twice in the history", "", float64(doubled), atMost(0, 0))
	b.note("lost by streams", "", float64(lost), atMost(0, 0))
	b.note("twice or out of order on streams", "", float64(v.twice), atMost(0, 0))
	return v.first
}

// awaitMessages waits until the streams were shown n messages, or no more than
// some come for a while: what is missing then is counted as lost.
func (c *crashScene) awaitMessages(ctx context.Context, n int64) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && c.fleet.messages.n.Load() < n; {
		if pause(ctx, 20*time.Millisecond) != nil {
			return
		}
	}
}

// histories reads every conversation to its end: texts' numbers in order of seq.
func (c *crashScene) histories(ctx context.Context) ([][]int, error) {
	out := make([][]int, len(c.conversations))
	return out, each(ctx, len(c.conversations), func(ctx context.Context, i int) (err error) {
		out[i], err = c.history(ctx, c.members[i][0], c.conversations[i])
		return err
	})
}

func (c *crashScene) history(ctx context.Context, reader, conversation string) ([]int, error) {
	var numbers []int
	query := "?direction=old_to_new&limit=1000"
	for {
		var page struct {
			Items []sentMessage
			Next  *string
		}
		if err := c.api.call(ctx, reader, "GET", messagesPath(conversation)+query, nil, &page); err != nil {
			return nil, err
		}
		for _, m := range page.Items {
			if m.Seq != int64(len(numbers)+1) {
				return nil, fmt.Errorf("history of %s: %d follows %d", conversation, m.Seq, len(numbers))
			}
			n, ok := numberIn(m.Text)
			if !ok {
				return nil, fmt.Errorf("history of %s: not one of our messages: %q", conversation, m.Text)
			}
			numbers = append(numbers, n)
		}
		if page.Next == nil {
			return numbers, nil
		}
		query = "?cursor=" + *page.Next
	}
}
