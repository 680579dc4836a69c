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
// server in resident memory. Each way of holding one gets a server that was
// just started, every stream a connection and a client of its own.
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
	tls := []string{"PARLEY_TLS_CERT=" + cert.certFile, "PARLEY_TLS_KEY=" + cert.keyFile}
	ways := []idleWay{
		{name: "HTTP/1.1 in clear", streams: b.sizes.idleClear, hold: holdClear, bar: atMost(8, 3)},
		{name: "HTTP/2 in clear", streams: b.sizes.idleOther, hold: holdHTTP(clearHTTP2)},
		{name: "HTTP/1.1 over TLS", streams: b.sizes.idleOther, env: tls, hold: holdHTTP(cert.http1)},
		{name: "HTTP/2 over TLS", streams: b.sizes.idleOther, env: tls, hold: holdHTTP(cert.http2)},
	}
	for range b.count {
		for _, w := range ways {
			if err := w.measure(ctx, b, cert); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	return nil
}

// idleWay is one way to hold a stream.
type idleWay struct {
	name    string
	streams int
	env     []string
	// hold opens n streams, waits until all are ready, and returns what closes them.
	hold func(ctx context.Context, s *server, clients []string) (release func(), err error)
	bar  *bar
}

func (w idleWay) measure(ctx context.Context, b *bench, cert *certificate) error {
	var probe *http.Transport
	if len(w.env) > 0 {
		probe = cert.http1()
	}
	s, err := b.serverOver(ctx, probe, w.env...)
	if err != nil {
		return err
	}
	defer s.remove()
	// A few streams come and go first: what the first of its kind costs is not what each costs.
	release, err := w.hold(ctx, s, names("early", 20))
	if err != nil {
		return err
	}
	release()
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	before, err := residentKB(s.pid())
	if err != nil {
		return err
	}
	runtime, err := s.metrics(ctx, memoryMetrics...)
	if err != nil {
		return err
	}
	release, err = w.hold(ctx, s, names("client", w.streams))
	if err != nil {
		return err
	}
	defer release()
	perStream := func(when string) error {
		now, err := residentKB(s.pid())
		if err != nil {
			return err
		}
		b.note(fmt.Sprintf("%s, %s streams, %s", w.name, thousands(int64(w.streams)), when), "KB", float64(now-before)/float64(w.streams), w.bar)
		return w.explain(ctx, b, s, runtime, when)
	}
	if err := perStream("just opened"); err != nil {
		return err
	}
	err = b.during(w.name+": waiting for a collection of garbage", b.sizes.idleWait, func() error { return waitForGC(ctx, s, b.sizes.idleWait) })
	if err != nil {
		return err
	}
	return perStream("later")
}

// waitForGC returns when the server's runtime has collected garbage of its own
// accord, which it does after two minutes at the latest, and had 20 seconds to
// give memory back; or when the time is up.
func waitForGC(ctx context.Context, s *server, limit time.Duration) error {
	first, err := collections(ctx, s)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		if err := pause(ctx, min(5*time.Second, limit)); err != nil {
			return err
		}
		n, err := collections(ctx, s)
		if err != nil {
			return err
		}
		if n > first {
			return pause(ctx, min(20*time.Second, limit))
		}
	}
	return nil
}

// collections reads how often the server collected garbage.
func collections(ctx context.Context, s *server) (int, error) {
	m, err := s.metrics(ctx, "go_gc_duration_seconds_count")
	return int(m[0]), err
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
