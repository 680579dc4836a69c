package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// runRoom fills one chatroom and looks for the rate of messages at which nearly
// every seat still has nearly every message within a second. Then it asks for
// more than that, at a steady rate and in bursts: what is of low and normal
// priority may be shed, what is of high priority must come to every seat.
func runRoom(ctx context.Context, b *bench) error {
	s, err := b.server(ctx)
	if err != nil {
		return err
	}
	r, err := b.openRoom(ctx, s)
	if err != nil {
		return err
	}
	defer r.fleet.cut()
	if _, err := r.paced(ctx, b.sizes.roomRate, b.window/2); err != nil { // warm-up
		return err
	}
	for range b.count {
		if err := r.round(ctx, b); err != nil {
			return err
		}
	}
	if err := r.fleet.err(); err != nil {
		return err
	}
	r.fleet.cut()
	return b.judge(r.fleet)
}

// mostInRoom is how many messages one room can follow.
const mostInRoom = 500_000

// inTime is how soon a message has to be at a seat.
const inTime = time.Second

// mixed is the priorities of ten messages: of live comments most are normal,
// many worth little, a few must arrive.
var mixed = [10]string{"high", "normal", "low", "normal", "normal", "low", "normal", "low", "normal", "normal"}

// room is a chatroom, a stream for each seat, and what came to them.
type room struct {
	server *server
	fleet  *fleet
	mix    mold // messages of mixed priority
	highs  mold // messages of high priority alone
	next   int  // number of the next message
	due    []atomic.Int64
	high   []atomic.Bool  // message i is of high priority
	sent   int32          // how many of those there were
	got    []atomic.Int32 // how many came to each seat
	delays delays
}

// openRoom opens the streams and seats their sessions.
func (b *bench) openRoom(ctx context.Context, s *server) (*room, error) {
	a := newAPI(s)
	defer a.close()
	var made struct{ ID string }
	if err := a.call(ctx, "host", "POST", "/v1/conversations", map[string]any{"kind": "chatroom"}, &made); err != nil {
		return nil, err
	}
	guests := names("guest", b.sizes.seats)
	r := &room{
		server: s, fleet: newFleet(s.addr, s.keys, guests, 1), got: make([]atomic.Int32, len(guests)),
		due: make([]atomic.Int64, mostInRoom), high: make([]atomic.Bool, mostInRoom),
	}
	post := func(priority string) []byte {
		return s.keys.post(s.addr, "host", messagesPath(made.ID), priorityBody(priority))
	}
	for _, priority := range mixed {
		r.mix = append(r.mix, post(priority))
	}
	r.highs = mold{post("high")}
	r.fleet.onMessage = r.arrived
	for _, stream := range r.fleet.streams {
		stream.ledger.sheds = true
	}
	opened, err := r.fleet.open(ctx, startLimit)
	if err != nil {
		r.fleet.cut()
		return nil, err
	}
	b.note(fmt.Sprintf("%s first logins", thousands(int64(len(guests)))), "s", opened.Seconds(), nil)
	start := time.Now()
	advance, done := b.step("taking seats", len(guests))
	defer done()
	err = each(ctx, len(guests), func(ctx context.Context, i int) error {
		defer advance(1)
		path := "/v1/conversations/" + made.ID + "/members"
		return a.call(ctx, guests[i], "POST", path, map[string]any{"clientIds": guests[i : i+1]}, nil, "Parley-Session: "+r.fleet.streams[i].session)
	})
	b.note(fmt.Sprintf("%s seats taken", thousands(int64(len(guests)))), "s", time.Since(start).Seconds(), nil)
	return r, err
}

// arrived books a message at a seat.
func (r *room) arrived(s *stream, f frame) {
	i, ok := indexOf(f.data)
	if !ok || i >= mostInRoom {
		return
	}
	if r.high[i].Load() {
		r.got[s.number].Add(1)
	}
	r.delays.add(time.Duration(s.at.UnixNano() - r.due[i].Load()))
}

func (r *room) round(ctx context.Context, b *bench) error {
	seats := thousands(int64(len(r.fleet.streams)))
	var most float64
	var held outcome
	err := b.during("finding the highest rate that is in time", 14*b.window, func() (err error) {
		most, held, err = r.highest(ctx, b.sizes.roomRate, b.window)
		return err
	})
	if err != nil {
		return err
	}
	b.note(fmt.Sprintf("%s seats, messages of which 99 %% come within 1 s", seats), "/s", most, nil)
	held.note(b, "at that rate")
	loads := []struct {
		name string
		run  func() (outcome, error)
	}{
		{"at twice that rate", func() (outcome, error) { return r.paced(ctx, 2*most, 2*b.window) }},
		{fmt.Sprintf("a burst of %s", thousands(int64(b.sizes.roomBurst))), func() (outcome, error) { return r.burst(ctx, b.sizes.roomBurst, r.mix) }},
		{fmt.Sprintf("a burst of %s high ones", thousands(int64(b.sizes.roomBurst))), func() (outcome, error) { return r.burst(ctx, b.sizes.roomBurst, r.highs) }},
	}
	for _, l := range loads {
		var o outcome
		err := b.during(l.name, 2*b.window, func() (err error) {
			o, err = l.run()
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		o.note(b, l.name)
	}
	return nil
}

// outcome is what became of some messages at all seats.
type outcome struct {
	due       int64 // messages × seats
	delivered int64
	inTime    int64
	took      time.Duration // from the first message to the last arrival
	p50, p99  float64       // milliseconds
	most      float64
	normal    int64 // shed
	low       int64 // shed
	lost      int64 // of high priority, at all seats together
}

func (o outcome) share(n int64) float64 { return 100 * float64(n) / float64(o.due) }

// kept: nearly every seat had nearly every message in time.
func (o outcome) kept() bool { return o.share(o.inTime) >= 99 }

func (o outcome) note(b *bench, name string) {
	b.note(name+": deliveries", "/s", float64(o.delivered)/o.took.Seconds(), nil)
	b.note(name+": within 1 s", "%", o.share(o.inTime), nil)
	b.note(name+": p50", "ms", o.p50, nil)
	b.note(name+": p99", "ms", o.p99, nil)
	b.note(name+": most", "ms", o.most, nil)
	b.note(name+": low ones shed", "% of all", o.share(o.low), nil)
	b.note(name+": normal ones shed", "% of all", o.share(o.normal), nil)
	b.note(name+": deliveries that are neither made nor counted as shed, or both", "", math.Abs(float64(o.due-o.delivered-o.low-o.normal)), atMost(0, 0))
	b.note(name+": high ones lost", "", float64(o.lost), atMost(0, 0))
}

// paced sends at a fixed rate that does not wait for anybody.
func (r *room) paced(ctx context.Context, rate float64, d time.Duration) (outcome, error) {
	return r.follow(ctx, int(rate*d.Seconds()), r.mix, func(first, n int) error {
		return openLoop(ctx, r.server.addr, pacedConnections, first, n, rate, r.mix, r.due)
	})
}

// burst sends as fast as the server stores; all are due at once.
func (r *room) burst(ctx context.Context, n int, requests mold) (outcome, error) {
	return r.follow(ctx, n, requests, func(first, n int) error {
		now := time.Now().UnixNano()
		for i := first; i < first+n; i++ {
			r.due[i].Store(now)
		}
		return sendMany(ctx, r.server.addr, 64, first, n, requests)
	})
}

// follow has messages sent and waits until they are at every seat, or shed.
func (r *room) follow(ctx context.Context, n int, requests mold, send func(first, n int) error) (o outcome, err error) {
	first := r.next
	if r.next += n; r.next > mostInRoom {
		return o, fmt.Errorf("more than %d messages: use a smaller window or count", mostInRoom)
	}
	for i := first; i < r.next; i++ {
		if len(requests) == 1 || mixed[i%len(mixed)] == "high" {
			r.high[i].Store(true)
			r.sent++
		}
	}
	before, err := r.shed(ctx)
	if err != nil {
		return o, err
	}
	r.delays.reset()
	o.due = int64(n * len(r.fleet.streams))
	start := time.Now()
	if err := send(first, n); err != nil {
		return o, err
	}
	end, after, err := r.settle(ctx, o.due, before)
	if err != nil {
		return o, err
	}
	o.took, o.low, o.normal = end.Sub(start), after[0]-before[0], after[1]-before[1]
	o.delivered, o.inTime = r.delays.total(), r.delays.within(inTime)
	o.p50, o.p99, o.most = r.delays.quantile(0.50), r.delays.quantile(0.99), float64(r.delays.most.Load())
	for i := range r.got {
		o.lost += int64(r.sent - r.got[i].Load())
	}
	return o, r.fleet.err()
}

// shed reads how many deliveries of low and of normal priority were shed so far.
func (r *room) shed(ctx context.Context) ([2]int64, error) {
	m, err := r.server.metrics(ctx, `parley_stream_shed_total{priority="low"}`, `parley_stream_shed_total{priority="normal"}`)
	return [2]int64{int64(m[0]), int64(m[1])}, err
}

// settle returns when the last delivery came, and what has been shed by then: once all
// is accounted for, or nothing has come for some seconds.
func (r *room) settle(ctx context.Context, due int64, before [2]int64) (last time.Time, shed [2]int64, err error) {
	last = time.Now()
	seen := r.delays.total()
	for {
		if shed, err = r.shed(ctx); err != nil {
			return last, shed, err
		}
		if now := r.delays.total(); now != seen {
			seen, last = now, time.Now()
		}
		if seen+shed[0]-before[0]+shed[1]-before[1] >= due || time.Since(last) > 5*time.Second {
			return last, shed, nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return last, shed, err
		}
	}
}

// highest looks for the highest rate that is in time: up by halves, then into the middle,
// then down until it stays in time for longer than a search may take.
func (r *room) highest(ctx context.Context, rate float64, step time.Duration) (float64, outcome, error) {
	var good, bad float64
	for bad == 0 || bad > 1.1*good {
		o, err := r.paced(ctx, rate, step)
		if err != nil {
			return 0, o, err
		}
		if o.kept() {
			good = rate
		} else {
			bad = rate
		}
		switch {
		case bad == 0:
			rate *= 1.5
		case good == 0:
			rate /= 2
		default:
			rate = (good + bad) / 2
		}
	}
	for ; good >= 1; good *= 0.93 {
		o, err := r.paced(ctx, good, 3*step)
		if err != nil || o.kept() {
			return good, o, err
		}
	}
	return 0, outcome{}, errors.New("not even one message a second is in time")
}
