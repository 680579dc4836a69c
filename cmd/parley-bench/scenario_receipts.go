package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// runReceipts has all members of a large group read every message of one of them, who must
// hear nothing of it but can ask; and has pairs write and read, whose writers are told of each read.
func runReceipts(ctx context.Context, b *bench) error {
	s, err := b.server(ctx)
	if err != nil {
		return err
	}
	g, err := newReadGroup(ctx, s, names("member", b.sizes.receivers))
	if err != nil {
		return err
	}
	defer g.fleet.cut()
	p, err := newReadPairs(ctx, s, b.sizes.pairs)
	if err != nil {
		return err
	}
	defer p.fleet.cut()
	for range b.count {
		err := b.during("everybody reads", 2*b.window, func() error { return g.round(ctx, b) })
		if err != nil {
			return fmt.Errorf("group: %w", err)
		}
		err = b.during("pairs write and read", b.window, func() error { return p.round(ctx, b) })
		if err != nil {
			return fmt.Errorf("pairs: %w", err)
		}
	}
	for _, fleet := range []*fleet{g.fleet, p.fleet} {
		if err := fleet.err(); err != nil {
			return err
		}
		fleet.cut()
		if err := b.judge(fleet); err != nil {
			return err
		}
	}
	return nil
}

// readGroup is a group of which the first member writes and all others read, each with a stream.
type readGroup struct {
	server  *server
	fleet   *fleet
	path    string // of the conversation
	members []string
	reads   [][]byte     // of each reader
	told    atomic.Int64 // events that the writer's stream got for them
}

func newReadGroup(ctx context.Context, s *server, members []string) (*readGroup, error) {
	a := newAPI(s)
	defer a.close()
	id, err := a.conversation(ctx, members[0], members[1:]...)
	if err != nil {
		return nil, err
	}
	g := &readGroup{server: s, fleet: newFleet(s.addr, s.keys, members, 1), path: "/v1/conversations/" + id, members: members}
	for i, m := range members[1:] {
		g.reads = append(g.reads, s.keys.request("POST", s.addr, m, g.path+"/read", "", "Parley-Session: "+g.fleet.streams[1+i].session))
	}
	writer := g.fleet.streams[0]
	g.fleet.onEvent = func(s *stream, f frame) {
		if s == writer && isReceipt(f) {
			g.told.Add(1)
		}
	}
	_, err = g.fleet.open(ctx, startLimit)
	return g, err
}

func isReceipt(f frame) bool {
	return string(f.event) == "last_read_at_update" || string(f.event) == "last_delivered_at_update"
}

// round writes messages, one after the other, each of which all read once it is at all of them.
func (g *readGroup) round(ctx context.Context, b *bench) error {
	a := newAPI(g.server)
	defer a.close()
	wires, err := dialWires(ctx, g.server.addr, min(setupWorkers, len(g.reads)))
	if err != nil {
		return err
	}
	defer closeWires(wires)
	var last sentMessage
	var reading time.Duration
	reads := 0
	for deadline := time.Now().Add(b.window); reads == 0 || time.Now().Before(deadline); reads += len(g.reads) {
		g.fleet.messages.expect(int64(len(g.members))) // at the writer's too: the request names no session
		if last, err = a.send(ctx, g.members[0], g.path[len("/v1/conversations/"):], json.RawMessage(receiptBody())); err != nil {
			return err
		}
		if _, err := g.fleet.messages.wait(ctx, deliverLimit, "messages arrived"); err != nil {
			return err
		}
		start := time.Now()
		if err := spread(ctx, wires, g.reads); err != nil {
			return err
		}
		reading += time.Since(start)
	}
	b.note(fmt.Sprintf("reads in a group of %d, %d in flight", len(g.members), len(wires)), "/s", float64(reads)/reading.Seconds(), nil)
	b.note("receipt events on the writer's stream, of all those reads", "", float64(g.told.Load()), atMost(0, 0))
	return g.ask(ctx, b, wires[0], last)
}

// ask reads the receipts of a message that all have read.
func (g *readGroup) ask(ctx context.Context, b *bench, w *wire, m sentMessage) error {
	request := g.server.keys.get(g.server.addr, g.members[0], g.path+"/messages/"+m.ID+"/receipts?limit=500")
	h := newHistogram()
	for k := range pageReads + 10 {
		start := time.Now()
		got, err := w.do(request)
		took := time.Since(start)
		if err == nil {
			err = expectAllRead(got, len(g.reads))
		}
		if err != nil {
			return err
		}
		if k >= 10 { // the first few warm up
			_ = h.RecordValue(took.Microseconds())
		}
	}
	b.note(fmt.Sprintf("receipts of a message in a group of %d, p50", len(g.members)), "ms", float64(h.ValueAtQuantile(50))/1000, nil)
	b.note(fmt.Sprintf("receipts of a message in a group of %d, p99", len(g.members)), "ms", float64(h.ValueAtQuantile(99))/1000, nil)
	return ctx.Err()
}

// expectAllRead checks that an answer is the receipts of n members who have read the message.
func expectAllRead(got answer, n int) error {
	if got.status != 200 {
		return got.failure()
	}
	var list struct {
		Items []struct{ Read, Delivered bool }
	}
	if err := json.Unmarshal(got.body, &list); err != nil {
		return err
	}
	read := 0
	for _, r := range list.Items {
		if r.Read && r.Delivered {
			read++
		}
	}
	if read != n {
		return fmt.Errorf("%d of %d have read it: %.200s", read, n, got.body)
	}
	return nil
}

// spread sends each request once, over all connections.
func spread(ctx context.Context, wires []*wire, requests [][]byte) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range wires {
		g.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(requests)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := expectStatus(w, requests[i], 200); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// expectStatus does a request whose answer is of no interest.
func expectStatus(w *wire, request []byte, want int) error {
	got, err := w.do(request)
	if err == nil && got.status != want {
		err = got.failure()
	}
	return err
}

func closeWires(wires []*wire) {
	for _, w := range wires {
		w.close()
	}
}

// readPairs are conversations of two, one of whom writes and the other reads, both with a stream.
type readPairs struct {
	server          *server
	fleet           *fleet
	writes, reads   [][]byte     // of each pair
	delivered, seen atomic.Int64 // events that the writers got
}

func newReadPairs(ctx context.Context, s *server, n int) (*readPairs, error) {
	a := newAPI(s)
	defer a.close()
	p := &readPairs{server: s, writes: make([][]byte, n), reads: make([][]byte, n)}
	writers, readers := names("writer", n), names("reader", n)
	p.fleet = newFleet(s.addr, s.keys, append(writers, readers...), 1)
	p.fleet.onEvent = func(_ *stream, f frame) {
		switch string(f.event) {
		case "last_delivered_at_update":
			p.delivered.Add(1)
		case "last_read_at_update":
			p.seen.Add(1)
		}
	}
	err := each(ctx, n, func(ctx context.Context, i int) error {
		id, err := a.conversation(ctx, writers[i], readers[i])
		const session = "Parley-Session: session-0"
		p.writes[i] = s.keys.post(s.addr, writers[i], messagesPath(id), receiptBody(), session)
		p.reads[i] = s.keys.request("POST", s.addr, readers[i], "/v1/conversations/"+id+"/read", "", session)
		return err
	})
	if err == nil {
		_, err = p.fleet.open(ctx, startLimit)
	}
	return p, err
}

// round has as many pairs at once as there are workers write and read in turns, and waits
// until every writer was told of every read.
func (p *readPairs) round(ctx context.Context, b *bench) error {
	workers := min(setupWorkers, len(p.writes))
	wires, err := dialWires(ctx, p.server.addr, workers)
	if err != nil {
		return err
	}
	defer closeWires(wires)
	delivered, seen := p.delivered.Load(), p.seen.Load()
	var reads atomic.Int64
	start := time.Now()
	g, working := errgroup.WithContext(ctx)
	for worker, w := range wires {
		g.Go(func() error {
			for i := worker; time.Since(start) < b.window && working.Err() == nil; i += workers {
				if i >= len(p.writes) {
					i = worker
				}
				if err := expectStatus(w, p.writes[i], 201); err != nil {
					return err
				}
				if err := expectStatus(w, p.reads[i], 200); err != nil {
					return err
				}
				reads.Add(1)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for p.seen.Load()-seen < reads.Load() {
		if time.Since(start) > b.window+waveLimit {
			return fmt.Errorf("writers were told of %d of %d reads", p.seen.Load()-seen, reads.Load())
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	took := time.Since(start).Seconds()
	b.note(fmt.Sprintf("one-to-one: messages sent and read, %d pairs at once", workers), "/s", float64(reads.Load())/took, nil)
	b.note("one-to-one: watermark events to the writers", "/s", float64(p.seen.Load()-seen+p.delivered.Load()-delivered)/took, nil)
	b.note("one-to-one: reads of which a writer was not told, or twice", "", math.Abs(float64(p.seen.Load()-seen-reads.Load())), atMost(0, 0))
	return nil
}
