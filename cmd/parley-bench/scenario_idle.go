package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// runIdle measures what an open stream on which nothing happens costs the
// server in resident memory, beside what it costs the plainest server that
// net/http allows. Each way of holding one gets servers that were just started,
// every stream a connection and a client of its own.
func runIdle(ctx context.Context, b *bench) error {
	dir, err := os.MkdirTemp(b.dir, "parley-bench-tls-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cert, err := makeCertificate(dir)
	if err != nil {
		return err
	}
	ways := []idleWay{
		{name: "HTTP/1.1 in clear", streams: b.sizes.idleClear, hold: holdClear, bar: atMost(8, 3)},
		{name: "HTTP/2 in clear", streams: b.sizes.idleOther, hold: holdHTTP(clearHTTP2)},
		{name: "HTTP/1.1 over TLS", streams: b.sizes.idleOther, cert: cert, hold: holdHTTP(cert.http1)},
		{name: "HTTP/2 over TLS", streams: b.sizes.idleOther, cert: cert, hold: holdHTTP(cert.http2)},
	}
	for range b.count {
		for _, w := range ways {
			if err := w.measure(ctx, b); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if err := w.measurePlain(ctx, b); err != nil {
				return fmt.Errorf("%s, plain net/http: %w", w.name, err)
			}
		}
	}
	return nil
}

// idleWay is one way to hold a stream.
type idleWay struct {
	name    string
	streams int
	cert    *certificate // nil: in clear
	// hold opens n streams, waits until all are ready, and returns what closes them.
	hold func(ctx context.Context, s *server, clients []string) (release func(), err error)
	bar  *bar
}

// measure takes the figures of Parley.
func (w idleWay) measure(ctx context.Context, b *bench) error {
	var probe *http.Transport
	var env []string
	if w.cert != nil {
		probe = w.cert.http1()
		env = []string{"PARLEY_TLS_CERT=" + w.cert.certFile, "PARLEY_TLS_KEY=" + w.cert.keyFile}
	}
	s, err := b.serverOver(ctx, probe, env...)
	if err != nil {
		return err
	}
	defer s.remove()
	var runtime []float64
	return w.occupy(ctx, b, s, "", w.bar, func(when string) error {
		if when == "" {
			runtime, err = s.metrics(ctx, memoryMetrics...)
			return err
		}
		return w.explain(ctx, b, s, runtime, when)
	})
}

// measurePlain takes those of the yardstick.
func (w idleWay) measurePlain(ctx context.Context, b *bench) error {
	s, err := startPlain(w.cert)
	if err != nil {
		return err
	}
	defer s.stop()
	return w.occupy(ctx, b, s, ", plain net/http", nil, func(string) error { return nil })
}

// occupy opens the streams and notes how much the server's resident memory grows. It
// calls explain before, and when each figure was taken.
func (w idleWay) occupy(ctx context.Context, b *bench, s *server, what string, limit *bar, explain func(when string) error) error {
	// A few streams come and go first: what the first of its kind costs is not what each costs.
	release, err := w.hold(ctx, s, names("early", 20))
	if err != nil {
		return err
	}
	release()
	before, err := settled(ctx, s.pid(), b.sizes.idleWait)
	if err != nil {
		return err
	}
	if err := explain(""); err != nil {
		return err
	}
	name := fmt.Sprintf("%s, %s streams%s", w.name, thousands(int64(w.streams)), what)
	_, done := b.step(name, 1)
	defer done()
	release, err = w.hold(ctx, s, names("client", w.streams))
	if err != nil {
		return err
	}
	defer release()
	note := func(when string, now int64, limit *bar) error {
		b.note(name+", "+when, "KB", float64(now-before)/float64(w.streams), limit)
		return explain(when)
	}
	now, err := residentKB(s.pid())
	if err != nil {
		return err
	}
	if err := note("just opened", now, nil); err != nil {
		return err
	}
	if now, err = settled(ctx, s.pid(), b.sizes.idleWait); err != nil {
		return err
	}
	return note("at rest", now, limit)
}

// settled returns the resident memory of a process once it has not changed by more than
// a fiftieth for five seconds, or when the time is up.
func settled(ctx context.Context, pid int, limit time.Duration) (kb int64, err error) {
	const still = 5 * time.Second
	var base int64
	since := time.Now()
	for deadline := since.Add(limit); ; {
		if kb, err = residentKB(pid); err != nil {
			return 0, err
		}
		if d := kb - base; d > base/50 || -d > base/50 {
			base, since = kb, time.Now()
		}
		if time.Since(since) >= still || time.Now().After(deadline) {
			return kb, nil
		}
		if err := pause(ctx, min(200*time.Millisecond, limit)); err != nil {
			return 0, err
		}
	}
}

// memoryMetrics are what the server's own runtime says its memory went to.
var memoryMetrics = []string{"go_goroutines", "go_memstats_stack_inuse_bytes", "go_memstats_heap_alloc_bytes", "go_memstats_heap_inuse_bytes", "go_memstats_sys_bytes"}

// explain remarks what each stream costs in the runtime's own figures.
func (w idleWay) explain(ctx context.Context, b *bench, s *server, before []float64, when string) error {
	now, err := s.metrics(ctx, memoryMetrics...)
	if err != nil {
		return err
	}
	per := func(i int, unit float64) float64 { return (now[i] - before[i]) / unit / float64(w.streams) }
	b.remark("%s, %s, of each stream: %.1f goroutines, %.1f KB of stacks, %.1f KB of heap (%.1f in use with gaps), %.1f KB taken from the system",
		w.name, when, per(0, 1), per(1, 1024), per(2, 1024), per(3, 1024), per(4, 1024))
	return nil
}

func holdClear(ctx context.Context, s *server, clients []string) (func(), error) {
	fleet := newFleet(s.addr, s.keys, clients, 1)
	if _, err := fleet.open(ctx, startLimit); err != nil {
		fleet.cut()
		return nil, err
	}
	return fleet.cut, nil
}

// holdHTTP holds streams with net/http's client, a transport for each.
func holdHTTP(transport func() *http.Transport) func(context.Context, *server, []string) (func(), error) {
	return func(ctx context.Context, s *server, clients []string) (func(), error) {
		streams, release := context.WithCancel(ctx)
		err := each(ctx, len(clients), func(_ context.Context, i int) error {
			return holdOne(streams, s, transport(), clients[i])
		})
		if err != nil {
			release()
			return nil, err
		}
		return release, nil
	}
}

// holdOne opens a stream, waits for its first frame, and then reads it until ctx ends.
func holdOne(ctx context.Context, s *server, t *http.Transport, client string) error {
	req, err := http.NewRequestWithContext(ctx, "GET", s.url("/v1/events?session=one"), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.keys.token(client))
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return fmt.Errorf("stream refused: %s", resp.Status)
	}
	if _, err := resp.Body.Read(make([]byte, 512)); err != nil {
		return err
	}
	go func() {
		_, _ = io.CopyBuffer(io.Discard, onlyReader{resp.Body}, make([]byte, 512))
		_ = resp.Body.Close()
		t.CloseIdleConnections()
	}()
	return nil
}

// onlyReader hides WriteTo, which would read with a buffer of its own.
type onlyReader struct{ io.Reader }
