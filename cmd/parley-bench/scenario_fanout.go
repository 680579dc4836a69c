package main

import (
	"context"
	"fmt"
	"time"
)

// framesPerWrite is what the bare write loop puts into one write.
const framesPerWrite = 32

// deliverLimit is how long a burst may take to arrive everywhere.
const deliverLimit = 2 * time.Minute

// runFanout sends bursts into one conversation with many streams, and has a
// bare write loop send the very same frames to as many sockets with the same readers.
func runFanout(ctx context.Context, b *bench) error {
	s, err := b.server(ctx)
	if err != nil {
		return err
	}
	// A conversation has at most 500 members, so each has two sessions.
	members := names("member", b.sizes.fanStreams/2)
	request, err := sendRequestFor(ctx, s, members)
	if err != nil {
		return err
	}
	fleet := newFleet(s.addr, s.keys, members, 2)
	recorder := &recording{stream: fleet.streams[0]}
	fleet.onMessage = recorder.take
	if _, err := fleet.open(ctx, startLimit); err != nil {
		return err
	}
	defer fleet.cut()
	sent := 0
	burst := func(n int) (float64, error) {
		recorder.frames = recorder.frames[:0]
		fleet.messages.expect(int64(n * len(fleet.streams)))
		start := time.Now()
		if err := sendMany(ctx, s.addr, 64, sent, n, request); err != nil {
			return 0, err
		}
		sent += n
		return b.deliveries(ctx, fleet, start)
	}
	if _, err := burst(b.sizes.burst / 4); err != nil { // warm-up
		return err
	}
	for range b.count {
		rate, err := burst(b.sizes.burst)
		if err != nil {
			return err
		}
		bare, err := b.bareRound(ctx, s.dir, recorder.frames)
		if err != nil {
			return fmt.Errorf("bare write loop: %w", err)
		}
		b.note("deliveries", "/s", rate, nil)
		b.note(fmt.Sprintf("bare write loop, %d frames a write", framesPerWrite), "/s", bare, nil)
		b.note("deliveries ÷ bare", "×", rate/bare, atLeast(0.35, 0.6))
	}
	fleet.cut()
	return b.judge(fleet)
}

// sendRequestFor makes a conversation of the members and the request with
// which the first of them sends to it.
func sendRequestFor(ctx context.Context, s *server, members []string) (mold, error) {
	a := newAPI(s)
	defer a.close()
	id, err := a.conversation(ctx, members[0], members[1:]...)
	if err != nil {
		return nil, err
	}
	return mold{s.keys.post(s.addr, members[0], messagesPath(id), textBody(0))}, nil
}

// deliveries waits until the fleet has all messages it expects and returns how many a second that were.
func (b *bench) deliveries(ctx context.Context, fleet *fleet, start time.Time) (float64, error) {
	n := fleet.messages.goal.Load()
	var at time.Time
	err := b.during(fmt.Sprintf("%s deliveries", thousands(n)), 2*time.Second, func() (err error) {
		at, err = fleet.messages.wait(ctx, deliverLimit, "messages arrived")
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%w (%v)", err, fleet.err())
	}
	return float64(n) / at.Sub(start).Seconds(), nil
}

// judge notes what the streams of a fleet were shown wrongly, and fails when
// there is any of it: figures of a run that lost something are worth nothing.
func (b *bench) judge(fleet *fleet) error {
	v := fleet.verdict()
	b.note("lost", "", float64(v.lost), atMost(0, 0))
	b.note("twice or out of order", "", float64(v.twice), atMost(0, 0))
	return v.first
}

// recording keeps the frames that one stream gets, as they were on the wire.
type recording struct {
	stream *stream
	frames [][]byte
}

func (r *recording) take(s *stream, f frame) {
	if s == r.stream {
		r.frames = append(r.frames, append([]byte(nil), f.raw...))
	}
}
