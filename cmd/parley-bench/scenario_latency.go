package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// runLatency measures from the moment a send is due to its arrival at the last
// of all receivers, at a fixed rate that does not wait for anybody.
func runLatency(ctx context.Context, b *bench) error {
	s, err := b.server(ctx)
	if err != nil {
		return err
	}
	members := names("member", b.sizes.receivers)
	request, err := sendRequestFor(ctx, s, members)
	if err != nil {
		return err
	}
	l := newLatencyRig(s, members, request)
	if _, err := l.fleet.open(ctx, startLimit); err != nil {
		return err
	}
	defer l.fleet.cut()
	if _, err := l.run(ctx, 200, b.window/4); err != nil { // warm-up
		return err
	}
	for range b.count {
		if err := l.round(ctx, b); err != nil {
			return err
		}
	}
	l.fleet.cut()
	return b.judge(l.fleet)
}

func (l *latencyRig) round(ctx context.Context, b *bench) error {
	if err := l.at(ctx, b, 200, "at 200/s", atMost(6, 6), nil); err != nil {
		return err
	}
	var most float64
	err := b.during("finding the highest rate that drains", 12*b.window/2, func() (err error) {
		most, err = l.highest(ctx, b.window/2)
		return err
	})
	if err != nil {
		return err
	}
	b.note("highest rate that drains", "/s", most, nil)
	return l.at(ctx, b, most/2, "at half of it", atMost(20, 10), atMost(80, 25))
}

// at takes the figures at one rate down.
func (l *latencyRig) at(ctx context.Context, b *bench, rate float64, name string, p50, p99 *bar) error {
	var got paced
	err := b.during(fmt.Sprintf("%s messages a second", number(rate)), 2*b.window, func() (err error) {
		got, err = l.run(ctx, rate, 2*b.window)
		return err
	})
	if err != nil {
		return err
	}
	ms := func(q float64) float64 { return float64(got.latency.ValueAtQuantile(q)) / 1000 }
	b.note("last of all receivers "+name+", p50", "ms", ms(50), p50)
	b.note("last of all receivers "+name+", p99", "ms", ms(99), p99)
	b.note("last of all receivers "+name+", most", "ms", float64(got.latency.Max())/1000, nil)
	return nil
}

// mostMessages is how many messages one rig can follow.
const mostMessages = 2_000_000

// latencyRig follows numbered messages to the last of their receivers.
type latencyRig struct {
	addr    string
	request mold
	fleet   *fleet
	next    int            // number of the next message
	due     []atomic.Int64 // when message i should have been sent, Unix nanoseconds
	arrived []atomic.Int32 // at how many receivers it is
	last    []atomic.Int64 // when it came to the last of them, Unix nanoseconds
}

func newLatencyRig(s *server, members []string, request mold) *latencyRig {
	l := &latencyRig{
		addr: s.addr, request: request, fleet: newFleet(s.addr, s.keys, members, 1),
		due: make([]atomic.Int64, mostMessages), arrived: make([]atomic.Int32, mostMessages), last: make([]atomic.Int64, mostMessages),
	}
	all := int32(len(members))
	l.fleet.onMessage = func(_ *stream, f frame) {
		i, ok := indexOf(f.data)
		if ok && i < mostMessages && l.arrived[i].Add(1) == all {
			l.last[i].Store(time.Now().UnixNano())
		}
	}
	return l
}

// paced is what a run at a fixed rate came to.
type paced struct {
	latency *hdrhistogram.Histogram // microseconds from due to the last receiver
	drained bool                    // the last message was everywhere soon after it was due
}

// drainLimit is how late everything may be at the end of a run that counts as
// keeping up. A rate a tenth too high is later than that after 3 seconds.
const drainLimit = 250 * time.Millisecond

// pacedConnections is how many sends may be under way; more than ever are, unless the server falls behind.
const pacedConnections = 256

func (l *latencyRig) run(ctx context.Context, rate float64, d time.Duration) (paced, error) {
	first, n := l.next, int(rate*d.Seconds())
	if l.next += n; l.next > mostMessages {
		return paced{}, fmt.Errorf("more than %d messages: use a smaller window or count", mostMessages)
	}
	l.fleet.messages.expect(int64(n * len(l.fleet.streams)))
	if err := openLoop(ctx, l.addr, pacedConnections, first, n, rate, l.request, l.due); err != nil {
		return paced{}, err
	}
	at, err := l.fleet.messages.wait(ctx, deliverLimit, "messages arrived")
	if err != nil {
		return paced{}, fmt.Errorf("%w (%v)", err, l.fleet.err())
	}
	p := paced{latency: newHistogram(), drained: at.UnixNano()-l.due[l.next-1].Load() <= int64(drainLimit)}
	for i := first; i < l.next; i++ {
		_ = p.latency.RecordValue((l.last[i].Load() - l.due[i].Load()) / 1000)
	}
	return p, nil
}

// highest looks for the highest rate that still drains: up by halves, then
// three times into the middle.
func (l *latencyRig) highest(ctx context.Context, step time.Duration) (float64, error) {
	good, bad := 200.0, 0.0
	for rate := 500.0; bad == 0 && rate < 50_000; rate *= 1.5 {
		p, err := l.run(ctx, rate, step)
		if err != nil {
			return 0, err
		}
		if p.drained {
			good = rate
		} else {
			bad = rate
		}
	}
	for range 3 {
		if bad == 0 {
			break // faster than we can tell
		}
		rate := (good + bad) / 2
		p, err := l.run(ctx, rate, step)
		if err != nil {
			return 0, err
		}
		if p.drained {
			good = rate
		} else {
			bad = rate
		}
	}
	return good, nil
}
