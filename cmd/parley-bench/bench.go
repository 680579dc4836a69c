package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// options are what the command line says.
type options struct {
	run    []string
	count  int
	binary string
	dir    string
	window time.Duration
	sizes  sizes
	keep   bool
}

// sizes say how much of everything; a quick run is for trying the bench itself.
type sizes struct {
	conversations int           // sends: conversations, and senders
	burst         int           // fan-out: messages of one burst
	fanStreams    int           // fan-out: streams, two of each member
	receivers     int           // latency: members of the conversation
	idleClear     int           // idle: streams in clear
	idleOther     int           // idle: streams over HTTP/2 and TLS
	idleWait      time.Duration // idle: for memory to settle, at most
	history       int           // history: messages of the large conversation
	historySmall  int
	list          int     // list: conversations of the client
	pairs         int     // receipts: conversations of two
	queried       int     // queries: conversations
	asked         int     // queries: how often each is asked, at most
	reconnect     int     // reconnect: streams
	seats         int     // room: seats
	roomBurst     int     // room: messages of one burst
	roomRate      float64 // room: messages a second to begin the search with
	crashes       int
}

var fullSizes = sizes{
	conversations: 1000, burst: 4000, fanStreams: 1000, receivers: 500, idleClear: 10_000, idleOther: 2000, idleWait: 30 * time.Second,
	history: 1_000_000, historySmall: 1000, list: 1000, pairs: 500, queried: 100_000, asked: 300, reconnect: 5000, crashes: 3,
	seats: 15_000, roomBurst: 1000, roomRate: 10,
}

var quickSizes = sizes{
	conversations: 100, burst: 500, fanStreams: 100, receivers: 50, idleClear: 500, idleOther: 100, idleWait: time.Second,
	history: 10_000, historySmall: 1000, list: 100, pairs: 50, queried: 2000, asked: 20, reconnect: 500, crashes: 1,
	seats: 500, roomBurst: 400, roomRate: 500,
}

// bench is one run of one scenario: it starts servers, takes figures down and
// says on the terminal what goes on.
type bench struct {
	options
	scenario string
	out      io.Writer // where progress is shown
	measures []*measure
	remarks  []string
	servers  []*server
	postgres string // version, once one was seen
}

// note takes down a figure of this round. b may be nil: a figure without a bar.
func (b *bench) note(name, unit string, value float64, limit *bar) {
	for _, m := range b.measures {
		if m.Scenario == b.scenario && m.Name == name {
			m.Rounds = append(m.Rounds, value)
			return
		}
	}
	b.measures = append(b.measures, &measure{Scenario: b.scenario, Name: name, Unit: unit, Rounds: []float64{value}, bar: limit})
}

// remark takes down something worth knowing that is not a figure.
func (b *bench) remark(format string, args ...any) {
	b.remarks = append(b.remarks, b.scenario+": "+fmt.Sprintf(format, args...))
}

// server starts a server with an empty database of its own.
func (b *bench) server(ctx context.Context) (*server, error) {
	return b.serverOver(ctx, nil)
}

// serverOver starts one that is reached over another transport than clear
// HTTP/1.1 (nil) and has more in its environment.
func (b *bench) serverOver(ctx context.Context, transport *http.Transport, env ...string) (*server, error) {
	s, err := newServer(b.binary, b.dir)
	if err != nil {
		return nil, err
	}
	s.env, s.tls = env, transport
	b.servers = append(b.servers, s)
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	if c, err := s.cluster(); err == nil && b.postgres == "" {
		b.postgres = c.version(ctx)
	}
	return s, nil
}

// cleanUp ends everything the scenario started.
func (b *bench) cleanUp() {
	for _, s := range b.servers {
		if b.keep {
			s.stop()
			s.stopPostgres()
			fmt.Fprintln(b.out, "kept", s.dir)
			continue
		}
		s.remove()
	}
	b.servers = nil
}

// step shows a bar for n things being done; call the result as they get done.
func (b *bench) step(what string, n int) (advance func(int), done func()) {
	if !isTerminal(b.out) {
		fmt.Fprintf(b.out, "%s: %s\n", b.scenario, what)
		return func(int) {}, func() {}
	}
	p := progressbar.NewOptions(n, progressbar.OptionSetWriter(b.out), progressbar.OptionSetDescription(b.scenario+": "+what),
		progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	return func(k int) { _ = p.Add(k) }, func() { _ = p.Finish() }
}

// during runs f, which takes about d, behind a bar of time.
func (b *bench) during(what string, d time.Duration, f func() error) error {
	const tick = 200 * time.Millisecond
	advance, done := b.step(what, int(d/tick)+1)
	defer done()
	finished := make(chan error, 1)
	go func() { finished <- f() }()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case err := <-finished:
			return err
		case <-ticker.C:
			advance(1)
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// pause waits, unless the run is ended.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// millis is a duration as a figure.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
