package main

import (
	"context"
	"fmt"
	"time"
)

// missedEach is how many messages every client misses in the waves in which they miss some.
const missedEach = 20

// reconnectMembers is how many members each conversation has.
const reconnectMembers = 50

// waveLimit is how long a wave may take before it counts as failed.
const waveLimit = 60 * time.Second

// runReconnect cuts all streams and resumes them at once: with nothing missed,
// with some missed, and after the server was restarted. It counts the SQL
// statements that the waves cost.
func runReconnect(ctx context.Context, b *bench) error {
	s, err := b.server(ctx)
	if err != nil {
		return err
	}
	if err := countStatements(ctx, s); err != nil {
		return err
	}
	w, err := b.makeWaves(ctx, s)
	if err != nil {
		return err
	}
	first, err := w.fleet.open(ctx, waveLimit)
	if err != nil {
		return err
	}
	defer w.fleet.cut()
	b.note(fmt.Sprintf("%s first logins", thousands(int64(len(w.fleet.streams)))), "s", first.Seconds(), nil)
	streams := float64(len(w.fleet.streams))
	for range b.count {
		waves := []struct {
			name       string
			missed     int
			restart    bool
			statements *bar
		}{
			{"nothing missed", 0, false, atMost(0, 0)},
			{"20 missed each", missedEach, false, nil},
			{"after a restart, nothing missed", 0, true, atMost(streams/100, streams/100)},
			{"after a restart, 20 missed each", missedEach, true, nil},
		}
		for _, k := range waves {
			if err := w.wave(ctx, b, k.name, k.missed, k.restart, k.statements); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
		}
	}
	w.fleet.cut()
	return b.judge(w.fleet)
}

// waves is the scene: conversations, a stream for each member, and the
// requests that send to each conversation.
type waves struct {
	server *server
	fleet  *fleet
	sends  [][]byte
	sent   int
}

func (b *bench) makeWaves(ctx context.Context, s *server) (*waves, error) {
	clients := names("client", b.sizes.reconnect)
	w := &waves{server: s, fleet: newFleet(s.addr, s.keys, clients, 1), sends: make([][]byte, len(clients)/reconnectMembers)}
	a := newAPI(s)
	defer a.close()
	return w, each(ctx, len(w.sends), func(ctx context.Context, i int) error {
		members := clients[i*reconnectMembers : (i+1)*reconnectMembers]
		id, err := a.conversation(ctx, members[0], members[1:]...)
		w.sends[i] = s.keys.post(s.addr, members[0], messagesPath(id), textBody(0))
		return err
	})
}

// wave cuts all streams, has each miss some messages, and resumes all.
func (w *waves) wave(ctx context.Context, b *bench, name string, missed int, restart bool, most *bar) error {
	// What the streams saved at their last heartbeat, and how often, is none of the wave's.
	if err := b.during(name+": some quiet seconds", quiet, func() error { return pause(ctx, quiet) }); err != nil {
		return err
	}
	w.fleet.cut()
	for i := range w.sends {
		if err := sendMany(ctx, w.server.addr, 8, w.sent, missed, mold{w.sends[i]}); err != nil {
			return err
		}
		w.sent += missed
	}
	if restart {
		if err := b.restart(ctx, w.server); err != nil {
			return err
		}
	}
	n := len(w.fleet.streams)
	before, err := statements(ctx, w.server)
	if err != nil {
		return err
	}
	w.fleet.messages.expect(int64(n * missed))
	start := time.Now()
	took, err := w.fleet.open(ctx, waveLimit)
	if err != nil {
		return err
	}
	all, err := w.fleet.messages.wait(ctx, waveLimit, "missed messages arrived")
	if err != nil {
		return err
	}
	took = max(took, all.Sub(start))
	after, err := statements(ctx, w.server)
	if err != nil {
		return err
	}
	b.note(fmt.Sprintf("%s streams, %s", thousands(int64(n)), name), "s", took.Seconds(), atMost(1.5, 0.5))
	cost := after.since(before)
	b.note(fmt.Sprintf("%s streams, %s: SQL statements", thousands(int64(n)), name), "", float64(cost.total()), most)
	b.remark("%s: %s", name, cost)
	return w.fleet.err()
}

// quiet is how long nothing happens before a wave.
const quiet = 3 * time.Second

// restart stops the server in order and starts it again.
func (b *bench) restart(ctx context.Context, s *server) error {
	start := time.Now()
	s.stop()
	stopped := time.Now()
	if err := s.start(ctx); err != nil {
		return err
	}
	b.note("stopping the server in order", "s", stopped.Sub(start).Seconds(), nil)
	b.note("starting it until it is ready", "s", time.Since(stopped).Seconds(), nil)
	return nil
}
