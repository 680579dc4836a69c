package sse

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/model"
)

// memoryLog is a log in memory that a hub reads as it would the database.
type memoryLog struct {
	mu     sync.Mutex
	events []model.Event // position i+1 at i
}

func (l *memoryLog) append(e model.Event) model.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Position = int64(len(l.events) + 1)
	l.events = append(l.events, e)
	return e
}

func (l *memoryLog) snapshot() []model.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// staysOf computes the stays of a client from the log.
func staysOf(events []model.Event, client string) []model.Stay {
	var out []model.Stay
	for _, e := range events {
		if slices.Contains(e.Joined, client) {
			out = append(out, model.Stay{ConversationID: e.ConversationID, From: e.Position - 1, To: model.Forever})
		}
		if slices.Contains(e.Departed, client) {
			for i := range out {
				if out[i].ConversationID == e.ConversationID && out[i].To == model.Forever {
					out[i].To = e.Position
				}
			}
		}
	}
	return out
}

func (l *memoryLog) source() Source {
	return Source{
		Events: func(_ context.Context, after int64, limit int) ([]model.Event, error) {
			all := l.snapshot()
			all = all[min(int(after), len(all)):]
			return all[:min(limit, len(all))], nil
		},
		ClientEvents: func(_ context.Context, client string, _ *model.Seat, after, upto int64, limit int) ([]model.Event, error) {
			all := l.snapshot()
			stays := staysOf(all, client)
			var out []model.Event
			for _, e := range all {
				if e.Position > after && e.Position <= upto && hears(client, stays, &e) && len(out) < limit {
					out = append(out, e)
				}
			}
			return out, nil
		},
		Belongings: func(_ context.Context, client string, since int64) (int64, model.Belongings, error) {
			all := l.snapshot()
			var out []model.Stay
			for _, s := range staysOf(all, client) {
				if s.To > since {
					out = append(out, s)
				}
			}
			return int64(len(all)), model.Belongings{Stays: out}, nil
		},
	}
}

func newHub(t *testing.T, cfg Config, source Source) *Hub {
	t.Helper()
	h, err := NewHub(cfg, "log", 0, source, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// startHub runs a hub on a log until the test ends, and serves its streams:
// ?client= &session= &after=.
func startHub(t *testing.T, cfg Config, l *memoryLog) (*Hub, *httptest.Server) {
	h := newHub(t, cfg, l.source())
	ctx, cancel := context.WithCancel(context.Background())
	var over sync.WaitGroup
	over.Go(func() { h.Run(ctx) })
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		after, _ := strconv.ParseInt(q.Get("after"), 10, 64)
		_ = h.Serve(r.Context(), w, r, Opening{
			Client: q.Get("client"), Session: q.Get("session"), Heartbeat: 5, After: after,
			Intro: []*Frame{h.Placed("ready", after, struct{}{})}, OnEnd: func(*Stream, End) {},
		})
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(func() {
		h.EndAll()
		srv.CloseClientConnections()
		srv.Close()
		cancel()
		over.Wait()
	})
	return h, srv
}

// reader reads one stream and keeps the positions of what it got but for ready and ping.
type reader struct {
	mu     sync.Mutex
	got    []int64
	last   int64
	events []string
	done   chan struct{}
	cancel context.CancelFunc
}

func (rd *reader) position() int64 {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	return rd.last
}

func (rd *reader) positions() []int64 {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	return slices.Clone(rd.got)
}

func open(t *testing.T, client *http.Client, url string, slow time.Duration) *reader {
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	res, err := client.Do(req)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	rd := &reader{done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(rd.done)
		defer res.Body.Close()
		lines := bufio.NewReader(res.Body)
		var id int64
		for n := 0; ; n++ {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			line = strings.TrimSuffix(line, "\n")
			if v, ok := strings.CutPrefix(line, "id: log-"); ok {
				id, _ = strconv.ParseInt(v, 10, 64)
			}
			if v, ok := strings.CutPrefix(line, "event: "); ok {
				rd.mu.Lock()
				rd.events = append(rd.events, v)
				rd.last = max(rd.last, id)
				if v != "ready" && v != "ping" && id > 0 {
					rd.got = append(rd.got, id)
				}
				id = 0
				rd.mu.Unlock()
			}
			if slow > 0 && n%64 == 0 {
				select { // a reader that is slow on purpose
				case <-time.After(slow):
				case <-ctx.Done():
				}
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-rd.done })
	return rd
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func h2c() *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: tr}
}

// TestEveryStreamHearsAll writes a random log, part of it offered and part found by
// reading, while streams of both kinds open, fall behind, leave and resume. Each
// must get exactly its client's events, in order, whichever way they came.
func TestEveryStreamHearsAll(t *testing.T) {
	for _, cfg := range []Config{
		{}, // room for all
		{TailEntries: 64, QueueFrames: 4, QueueBytes: 1 << 10}, // falls behind, and off the tail, all the time
	} {
		t.Run(fmt.Sprint(cfg.TailEntries), func(t *testing.T) { hearAll(t, cfg) })
	}
}

func hearAll(t *testing.T, cfg Config) {
	l := new(memoryLog)
	h, srv := startHub(t, cfg, l)
	const clients, n = 6, 3000
	for c := range clients { // everybody is in v0 from the beginning
		l.append(model.Event{Kind: model.EventMembersJoined, Audience: model.ToMembers, ConversationID: "v0", Joined: []string{fmt.Sprint("c", c)}, Data: []byte(`{}`)})
	}
	h.Committed(clients)
	type sub struct {
		client, session string
		http            *http.Client
		slow            time.Duration
		got             []int64
		rd              *reader
	}
	var subs []*sub
	for c := range clients {
		for k := range 2 {
			s := &sub{client: fmt.Sprint("c", c), session: fmt.Sprint("s", k), http: http.DefaultClient}
			if k == 1 {
				s.http = h2c()
			}
			if c == 0 {
				s.slow = time.Millisecond
			}
			subs = append(subs, s)
		}
	}
	connect := func(s *sub, after int64) {
		s.rd = open(t, s.http, fmt.Sprintf("%s?client=%s&session=%s&after=%d", srv.URL, s.client, s.session, after), s.slow)
	}
	for _, s := range subs {
		connect(s, 0)
	}
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	in := map[string]bool{}
	for i := range n {
		e := model.Event{Kind: model.EventMessage, Audience: model.ToMembers, ConversationID: fmt.Sprint("v", r.IntN(3)), Seq: int64(i), Data: []byte(`{"x":"` + strings.Repeat("y", r.IntN(100)) + `"}`)}
		who := fmt.Sprint("c", r.IntN(clients))
		switch stay := e.ConversationID + who; {
		case r.IntN(8) == 0 && e.ConversationID != "v0" && !in[stay]:
			e.Kind, e.Joined, in[stay] = model.EventMembersJoined, []string{who}, true
		case r.IntN(8) == 0 && in[stay]:
			e.Kind, e.Departed, in[stay] = model.EventMembersLeft, []string{who}, false
		case r.IntN(8) == 0:
			e.Kind, e.Audience, e.Clients = model.EventInvited, model.ToClients, []string{who}
		case r.IntN(4) == 0:
			e.ExceptClient, e.ExceptSession = who, fmt.Sprint("s", r.IntN(2))
		}
		e = l.append(e)
		switch r.IntN(3) {
		case 0:
			h.Offer([]model.Event{e})
		case 1:
			h.Committed(e.Position)
		}
		if s := subs[r.IntN(len(subs))]; r.IntN(40) == 0 {
			s.rd.cancel()
			<-s.rd.done
			s.got = append(s.got, s.rd.positions()...)
			connect(s, max(s.rd.position(), last(s.got)))
		}
	}
	h.Committed(int64(len(l.events)))
	all := l.snapshot()
	for _, s := range subs {
		var want []int64
		stays := staysOf(all, s.client)
		for _, e := range all {
			if hears(s.client, stays, &e) && !e.Excludes(s.client, s.session) {
				want = append(want, e.Position)
			}
		}
		got := func() []int64 { return append(slices.Clone(s.got), s.rd.positions()...) }
		eventually(t, s.client+"/"+s.session+" hears all", func() bool { return len(got()) >= len(want) })
		if g := got(); !slices.Equal(g, want) {
			for i := range want {
				if i >= len(g) || g[i] != want[i] {
					t.Fatalf("%s/%s: at %d of %d: got %v, want %v", s.client, s.session, i, len(want), g[max(0, i-2):min(len(g), i+5)], want[max(0, i-2):min(len(want), i+5)])
				}
			}
			t.Fatalf("%s/%s got %d events too many", s.client, s.session, len(g)-len(want))
		}
	}
	t.Logf("overflows %d, from memory %d, from the log %d, read %d", h.Stats.Overflows.Load(), h.Stats.FromMemory.Load(), h.Stats.FromLog.Load(), h.Stats.Holes.Load())
	if cfg.TailEntries == 64 && (h.Stats.Overflows.Load() == 0 || h.Stats.FromLog.Load() == 0) {
		t.Error("nobody fell behind: this test has tested nothing")
	}
}

func last(v []int64) int64 {
	if len(v) == 0 {
		return 0
	}
	return v[len(v)-1]
}

// TestReplacedAndTooMany: a second stream of a session ends the first, and one too many ends the oldest.
func TestReplacedAndTooMany(t *testing.T) {
	_, srv := startHub(t, Config{Streams: 2}, new(memoryLog))
	a := open(t, http.DefaultClient, srv.URL+"?client=c&session=a", 0)
	open(t, http.DefaultClient, srv.URL+"?client=c&session=b", 0)
	b := open(t, h2c(), srv.URL+"?client=c&session=b", 0)
	select {
	case <-a.done:
		t.Fatal("two sessions are not too many")
	default:
	}
	open(t, http.DefaultClient, srv.URL+"?client=c&session=c", 0)
	<-a.done
	if !slices.Equal(a.events, []string{"ready", "session_closed"}) {
		t.Errorf("the oldest heard %v", a.events)
	}
	open(t, http.DefaultClient, srv.URL+"?client=c&session=b", 0)
	<-b.done
	if !slices.Equal(b.events, []string{"ready", "session_closed"}) {
		t.Errorf("the replaced one heard %v", b.events)
	}
}

// TestMovedAndBack: a stream that was opened before another server's is replaced; one that was opened
// after that, while this server had not heard of the other's, only has to come again.
func TestMovedAndBack(t *testing.T) {
	h, srv := startHub(t, Config{}, new(memoryLog))
	for _, tt := range []struct {
		there time.Duration // when the other server's was opened, seen from the stream's opening
		want  []string
	}{
		{time.Minute, []string{"ready", "session_closed"}},
		{-time.Minute, []string{"ready"}},
	} {
		s := open(t, http.DefaultClient, srv.URL+"?client=c&session=a", 0)
		h.SessionMoved("c", "a", h.Position(), model.At(time.Now().Add(tt.there)))
		<-s.done
		if !slices.Equal(s.events, tt.want) {
			t.Errorf("moved %v after it opened, it heard %v, want %v", tt.there, s.events, tt.want)
		}
	}
}

// TestNodeEventIsDoneFirst: who sees that the end of a session is dispatched must not find the session still there.
func TestNodeEventIsDoneFirst(t *testing.T) {
	h := newHub(t, Config{}, new(memoryLog).source())
	var at []int64
	h.OnNodeEvent = func(model.Event) { at = append(at, h.Dispatched()) }
	h.dispatch([]model.Event{
		{Position: 1, Kind: model.EventMessage, Audience: model.ToMembers, ConversationID: "c"},
		{Position: 2, Kind: model.EventSessionsClosed, Audience: model.ToNobody},
		{Position: 3, Kind: model.EventClientRevoked, Audience: model.ToNobody},
	})
	if !slices.Equal(at, []int64{1, 2}) || h.Dispatched() != 3 {
		t.Errorf("the events for the node were done at %v, and %d is dispatched", at, h.Dispatched())
	}
}
