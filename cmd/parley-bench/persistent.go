package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// persistent are senders that do not give up: each sends a message under an
// Idempotency-Key until it is told that the message is stored.
type persistent struct {
	keys          *keyring
	conversations []string
	members       [][]string

	next    atomic.Int64 // number of the next message
	retries atomic.Int64
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	stored  map[int]place // by the message's number
	failure error
}

// place is where a message was said to be stored.
type place struct {
	conversation int
	seq          int64
}

// giveUp is how long one message is tried.
const giveUp = 90 * time.Second

func newPersistent(keys *keyring) *persistent {
	return &persistent{keys: keys, stored: map[int]place{}}
}

func (p *persistent) start(ctx context.Context, addr string, n int) {
	ctx, p.cancel = context.WithCancel(ctx)
	for worker := range n {
		p.running.Go(func() {
			if err := p.run(ctx, addr, worker); err != nil && ctx.Err() == nil {
				p.fail(err)
			}
		})
	}
}

// stop lets every sender finish the message it is at.
func (p *persistent) stop() {
	p.cancel()
	p.running.Wait()
}

func (p *persistent) run(ctx context.Context, addr string, worker int) error {
	s := persistentSender{p: p, addr: addr, worker: worker}
	defer s.drop()
	for ctx.Err() == nil {
		number := int(p.next.Add(1))
		at := number % len(p.conversations)
		sender := p.members[at][number/len(p.conversations)%len(p.members[at])]
		request := p.keys.post(addr, sender, messagesPath(p.conversations[at]), textBody(number), fmt.Sprintf("Idempotency-Key: key-%d", number))
		seq, err := s.send(request)
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.stored[number] = place{at, seq}
		p.mu.Unlock()
	}
	return nil
}

// persistentSender is one of them and the connection it has, if any.
type persistentSender struct {
	p      *persistent
	addr   string
	worker int
	wire   *wire
}

// send tries until the message is stored. A request that got no answer may
// have been carried out: that is what the key is for.
func (s *persistentSender) send(request []byte) (seq int64, err error) {
	for deadline := time.Now().Add(giveUp); time.Now().Before(deadline); {
		seq, err = s.try(request)
		if err == nil {
			return seq, nil
		}
		s.drop()
		s.p.retries.Add(1)
		time.Sleep(10 * time.Millisecond)
	}
	return 0, fmt.Errorf("no success in %v: %w", giveUp, err)
}

func (s *persistentSender) try(request []byte) (int64, error) {
	if s.wire == nil {
		w, err := dialWire(context.Background(), s.addr, s.worker)
		if err != nil {
			return 0, err
		}
		s.wire = w
	}
	got, err := s.wire.do(request)
	if err != nil {
		return 0, err
	}
	if got.status != 201 && got.status != 200 {
		return 0, got.failure()
	}
	var m sentMessage
	if err := json.Unmarshal(got.body, &m); err != nil {
		return 0, err
	}
	return m.Seq, nil
}

func (s *persistentSender) drop() {
	if s.wire != nil {
		s.wire.close()
		s.wire = nil
	}
}

func (p *persistent) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure == nil {
		p.failure = err
	}
}

func (p *persistent) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure
}

func (p *persistent) promised() int { return len(p.stored) }

// compare holds what was promised against the histories, one per conversation,
// each the numbers of its messages in order of seq.
func (p *persistent) compare(histories [][]int) (missing, doubled int) {
	seen := map[int]int{}
	for _, h := range histories {
		for _, number := range h {
			if seen[number]++; seen[number] > 1 {
				doubled++
			}
		}
	}
	for number, at := range p.stored {
		h := histories[at.conversation]
		if at.seq < 1 || at.seq > int64(len(h)) || h[at.seq-1] != number {
			missing++
		}
	}
	return missing, doubled
}
