package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// runSends measures durable sends beside what the same server makes of the
// same requests when it stores nothing, and beside what PostgreSQL makes of
// single-row inserts.
//
// There is no request that does nothing, and the server gets none for the
// bench's sake. Two come near: a message of an unknown type, which is refused
// after its token was checked and its body decoded, and a transient message
// to oneself, which goes nowhere. The faster of the two is the yardstick.
func runSends(ctx context.Context, b *bench) error {
	s, err := b.server(ctx)
	if err != nil {
		return err
	}
	r, err := makeSendRequests(ctx, b, s)
	if err != nil {
		return err
	}
	db, err := s.cluster()
	if err != nil {
		return err
	}
	if err := db.preparePgbench(ctx); err != nil {
		return err
	}
	for _, k := range r.kinds() {
		if _, err := closedLoop(ctx, s.addr, 64, b.window/4, k.want, pick(k.requests, 64)); err != nil {
			return fmt.Errorf("warm-up, %s: %w", k.name, err)
		}
	}
	for range b.count {
		for _, inFlight := range []int{64, 256} {
			if err := sendsRound(ctx, b, s, db, r, inFlight); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendRequests are whole requests, one of each kind for each conversation.
type sendRequests struct{ send, refused, transient [][]byte }

type sendKind struct {
	name     string
	requests [][]byte
	want     int // status
}

func (r sendRequests) kinds() []sendKind {
	return []sendKind{{"sends", r.send, 201}, {"refused after decoding", r.refused, 400}, {"transient to oneself", r.transient, 202}}
}

// makeSendRequests makes conversations of two, each with a sender of its own,
// and conversations of that sender alone.
func makeSendRequests(ctx context.Context, b *bench, s *server) (sendRequests, error) {
	n := b.sizes.conversations
	r := sendRequests{make([][]byte, n), make([][]byte, n), make([][]byte, n)}
	a := newAPI(s)
	defer a.close()
	advance, done := b.step("making conversations", n)
	defer done()
	return r, each(ctx, n, func(ctx context.Context, i int) error {
		defer advance(1)
		sender := fmt.Sprintf("sender-%d", i)
		pair, err := a.conversation(ctx, sender, fmt.Sprintf("receiver-%d", i))
		if err != nil {
			return err
		}
		alone, err := a.conversation(ctx, sender)
		if err != nil {
			return err
		}
		r.send[i] = s.keys.post(s.addr, sender, messagesPath(pair), textBody(i))
		r.refused[i] = s.keys.post(s.addr, sender, messagesPath(pair), refusedBody())
		r.transient[i] = s.keys.post(s.addr, sender, messagesPath(alone), transientBody())
		return nil
	})
}

// pick lets the workers walk through the requests without meeting.
func pick(requests [][]byte, inFlight int) func(worker, k int) []byte {
	return func(worker, k int) []byte { return requests[(worker+k*inFlight)%len(requests)] }
}

func sendsRound(ctx context.Context, b *bench, s *server, db cluster, r sendRequests, inFlight int) error {
	at := fmt.Sprintf(" at %d", inFlight)
	rates := map[string]float64{}
	for _, k := range r.kinds() {
		before := cpuNow(s, db)
		var l load
		err := b.during(k.name+at, b.window, func() (err error) {
			l, err = closedLoop(ctx, s.addr, inFlight, b.window, k.want, pick(k.requests, inFlight))
			return err
		})
		if err != nil {
			return fmt.Errorf("%s%s: %w", k.name, at, err)
		}
		rates[k.name] = l.perSecond
		b.note(k.name+at, "/s", l.perSecond, nil)
		if k.want == 201 {
			b.note("request p50"+at, "ms", float64(l.latency.ValueAtQuantile(50))/1000, nil)
			b.note("request p99"+at, "ms", float64(l.latency.ValueAtQuantile(99))/1000, nil)
			cpuNow(s, db).since(before).note(b, at, l.perSecond*b.window.Seconds())
		}
	}
	nothing := max(rates["refused after decoding"], rates["transient to oneself"])
	clients := min(inFlight, mostPgbench)
	inserts, err := b.pgbench(ctx, s, db, clients)
	if err != nil {
		return err
	}
	b.note(fmt.Sprintf("pgbench inserts with %d clients", clients), "/s", inserts, nil)
	var must, mustInsert *bar
	if inFlight == 64 {
		must, mustInsert = atLeast(0.28, 0.40), atLeast(0.55, 0.9)
	}
	b.note("sends ÷ storing nothing"+at, "×", rates["sends"]/nothing, must)
	b.note(fmt.Sprintf("sends ÷ pgbench with %d clients%s", clients, at), "×", rates["sends"]/inserts, mustInsert)
	return nil
}

// mostPgbench is how many clients pgbench gets: PostgreSQL has 200 connections
// in all, and the server has its own.
const mostPgbench = 128

func (b *bench) pgbench(ctx context.Context, s *server, db cluster, clients int) (rate float64, err error) {
	err = b.during(fmt.Sprintf("pgbench with %d clients", clients), b.window, func() (err error) {
		rate, err = db.pgbench(ctx, s.dir, clients, b.window)
		return err
	})
	return rate, err
}

// cpu is the processor time used so far by those who share the machine.
type cpu struct{ server, postgres, bench time.Duration }

func cpuNow(s *server, db cluster) cpu {
	return cpu{cpuTime(s.pid()), cpuTimeOfChildren(db.pid), cpuTime(os.Getpid())}
}

func (c cpu) since(before cpu) cpu {
	return cpu{c.server - before.server, c.postgres - before.postgres, c.bench - before.bench}
}

// note books the time that each of n sends took.
func (c cpu) note(b *bench, at string, n float64) {
	for _, part := range []struct {
		name string
		used time.Duration
	}{{"server", c.server}, {"PostgreSQL", c.postgres}, {"generator", c.bench}} {
		b.note("processor time of one send"+at+", "+part.name, "µs", float64(part.used.Microseconds())/n, nil)
	}
}
