package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// fleet is a set of event streams of one server, opened, cut and resumed together.
type fleet struct {
	addr    string
	streams []*stream
	// onMessage, when set, is called by the readers for every message event.
	onMessage func(*stream, frame)
	// onEvent is the same for everything that is neither a message nor ready.
	onEvent func(*stream, frame)

	messages tally // message events on all streams
	ready    tally // ready events on all streams

	readers sync.WaitGroup
	cutting atomic.Bool // ends of streams are our own doing
	broken  atomic.Int64
	mu      sync.Mutex
	failure error // the first stream that ended by itself
}

// openers is how many connections are being made at once.
const openers = 64

// newFleet makes streams for the clients, sessions of them each, unopened.
func newFleet(addr string, keys *keyring, clients []string, sessions int) *fleet {
	f := &fleet{addr: addr}
	for i := range sessions {
		for _, c := range clients {
			f.streams = append(f.streams, &stream{
				fleet: f, number: len(f.streams), token: keys.token(c),
				session: fmt.Sprintf("session-%d", i), ledger: newLedger(),
			})
		}
	}
	return f
}

// open connects all streams, those with a position resuming behind it, and
// returns when each has its ready, with the time that took.
func (f *fleet) open(ctx context.Context, limit time.Duration) (time.Duration, error) {
	start := time.Now()
	f.ready.expect(int64(len(f.streams)))
	if err := f.connect(ctx); err != nil {
		return 0, err
	}
	at, err := f.ready.wait(ctx, limit, "streams are ready")
	if err != nil {
		return 0, errors.Join(err, f.err())
	}
	return at.Sub(start), nil
}

// connect sends every stream's request without waiting for answers.
func (f *fleet) connect(ctx context.Context) error {
	f.cutting.Store(false)
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range openers {
		g.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(f.streams)); i = next.Add(1) - 1 {
				if err := f.streams[i].open(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// cut breaks all connections at once and returns when no reader runs any more.
func (f *fleet) cut() {
	f.cutting.Store(true)
	for _, s := range f.streams {
		if s.conn != nil {
			cut(s.conn)
		}
	}
	f.readers.Wait()
}

// ended books the end of a stream.
func (f *fleet) ended(_ *stream, err error) {
	if f.cutting.Load() {
		return
	}
	f.broken.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failure == nil {
		f.failure = fmt.Errorf("a stream ended by itself: %w", err)
	}
}

// err is the first stream that ended without being cut; nil when none did.
func (f *fleet) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failure
}

// verdict adds up what the streams were shown. Only while no reader runs.
func (f *fleet) verdict() (v verdict) {
	for _, s := range f.streams {
		v.messages += s.ledger.messages
		v.lost += s.ledger.lost
		v.twice += s.ledger.twice
		v.malformed += s.ledger.malformed
		if err := s.ledger.err(); err != nil && v.first == nil {
			v.first = fmt.Errorf("session %s (stream %d): %w", s.session, s.number, err)
		}
	}
	return v
}

// verdict is what all ledgers of a fleet say together.
type verdict struct {
	messages, lost, twice, malformed int64
	first                            error // one example; nil when all is well
}
