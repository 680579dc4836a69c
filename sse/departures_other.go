//go:build !linux

package sse

import "context"

// departures notices readers that go away: a goroutine for each waits for it.
type departures struct{}

func newDepartures() (*departures, error) { return &departures{}, nil }

func (*departures) run(context.Context) {}

func (*departures) watch(w *wire) {
	go func() {
		buf := make([]byte, 16)
		for {
			if _, err := w.conn.Read(buf); err != nil { // what it sends is not ours to read
				w.stream.stop(Lost)
				return
			}
		}
	}()
}

func (*departures) forget(*wire) {}
