package main_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"parley/cmd/parley/systest"
)

// Presence. The rules: a client is online while a session of it is connected, or broke
// off for less than the grace; one that was logged out counts no more at once. A client sees those with whom it
// shares an ordinary or temporary conversation, and itself; the operator sees everybody.
// A session that subscribes is answered with who is online, and then told each change; when it
// comes back it is told how all of them are. It is never told the same twice.

// lookForPresence asks who is online where sessions are not lost.
func (w *world) lookForPresence() {
	by, of := pick(w, w.people), some(w, w.people)
	client, everybody := by.Client, false
	if w.rng.IntN(4) == 0 {
		client, everybody = w.operator(), true
	}
	var want []string
	for _, p := range of {
		online := slices.ContainsFunc(p.devices, func(d *device) bool { return d.known })
		if online && (everybody || w.acquainted(by.ID, p.ID)) {
			want = append(want, p.ID)
		}
	}
	a := w.ask(client, 200, "POST", "/v1/presence/query", systest.Object{"clientIds": idsOf(of)})
	w.areOnline(a, want)
}

func (w *world) areOnline(a *systest.Answer, want []string) {
	w.t.Helper()
	var v struct{ Online []string }
	if a.Into(w.t, &v); v.Online == nil || !slices.Equal(v.Online, want) {
		w.t.Fatalf("online: %v, want %v", v.Online, want)
	}
}

func (w *world) acquainted(one, other string) bool {
	return one == other || slices.ContainsFunc(w.rooms, func(r *room) bool {
		return !r.deleted && r.members[one] != nil && r.members[other] != nil
	})
}

// Random comings and goings with a short grace, each of which has its consequences before
// the next, on two nodes of which one is killed. Everybody watches, and must be told just
// what happens to those who may be seen.
func TestRandomPresence(t *testing.T) {
	t.Parallel()
	here, there := pair(t, "PARLEY_RECONNECT_GRACE=1s")
	seed := propertySeed()
	w := &watchers{world: &world{t: t, rng: rand.New(rand.NewPCG(seed, 2)), nodes: []*systest.Server{here, there}}, of: map[*device]*watch{}}
	defer w.report(seed)
	for i := range 5 {
		p := &person{Client: here.As(systest.Unique(fmt.Sprintf("p%d", i)))}
		for range 1 + w.rng.IntN(2) {
			p.devices = append(p.devices, p.device(false))
		}
		defer func() {
			for _, d := range p.devices {
				d.Cut()
			}
		}()
		w.people = append(w.people, p)
	}
	friends := &room{members: map[string]*member{}} // the last of the five knows nobody
	friends.enter(idsOf(w.people[:4]))
	w.rooms = append(w.rooms, friends)
	w.ask(w.operator(), 201, "POST", "/v1/conversations", systest.Object{"members": friends.ids()})

	bag := []func(){w.come, w.come, w.come, w.come, w.lose, w.blink, w.blink, w.quit, w.subscribe, w.subscribe, w.subscribe}
	const steps, crash = 20, 12
	for i := range steps {
		if i == crash {
			w.crash()
		}
		pick(w.world, bag)()
		w.agree()
	}
}

// watchers is a world in which sessions watch who is online.
type watchers struct {
	*world
	of map[*device]*watch
}

// watch is the subscription of a session, and what its present stream ought to tell of
// each client: "on", "off" by turns. The first is not told when the answer to the request said so.
type watch struct {
	clients []*person
	from    int // the first frame of the present stream
	want    map[string][]string
}

func state(online bool) string {
	if online {
		return "on"
	}
	return "off"
}

func (p *person) online() bool {
	return slices.ContainsFunc(p.devices, func(d *device) bool { return d.connected })
}

// changes has everybody who watches one expect news of him, if there are any.
func (w *watchers) changes(p *person, was bool) {
	for _, d := range w.devices() {
		if s := w.of[d]; s != nil && d.connected && p.online() != was && slices.Contains(s.clients, p) && w.acquainted(d.owner.ID, p.ID) {
			s.want[p.ID] = append(s.want[p.ID], state(p.online()))
		}
	}
}

// come has a device that is away connect, or somebody with a new one.
func (w *watchers) come() {
	if d := w.pickDevice(func(d *device) bool { return !d.connected }); d != nil {
		w.comes(d)
	}
}

func (w *watchers) comes(d *device) {
	was := d.owner.online()
	d.Client = d.owner.At(w.node())
	from := len(d.Frames())
	w.logf("%s of %s connects to %s", d.Session, d.owner.ID, d.Client.Server.Addr)
	if status, err := d.Connect(); err != nil || status != 200 {
		w.t.Fatalf("%s of %s connects: %d, %v", d.Session, d.owner.ID, status, err)
	}
	d.AwaitBehind(w.t, from, "ready", func(f systest.Frame) bool { return f.Event == "ready" })
	d.known, d.connected = true, true
	w.changes(d.owner, was)
	if s := w.of[d]; s != nil {
		s.from, s.want = from, map[string][]string{}
		for _, p := range s.clients {
			if w.acquainted(d.owner.ID, p.ID) {
				s.want[p.ID] = []string{state(p.online())}
			}
		}
	}
}

func (w *watchers) away(d *device) {
	was := d.owner.online()
	d.Cut()
	d.connected = false
	w.changes(d.owner, was)
}

// lose cuts a stream until the session is lost.
func (w *watchers) lose() {
	if d := w.pickDevice(func(d *device) bool { return d.connected }); d != nil {
		w.logf("%s of %s is lost", d.Session, d.owner.ID)
		w.away(d)
	}
}

// blink cuts a stream that comes back within the grace: nobody is told, but the stream itself how all are.
func (w *watchers) blink() {
	if d := w.pickDevice(func(d *device) bool { return d.connected }); d != nil {
		w.logf("%s of %s blinks", d.Session, d.owner.ID)
		d.Cut()
		w.comes(d)
	}
}

// quit logs a session out.
func (w *watchers) quit() {
	d := w.pickDevice(func(d *device) bool { return d.connected })
	if d == nil {
		return
	}
	was := d.owner.online()
	w.ask(d.owner.Client, 204, "DELETE", "/v1/sessions/"+d.Session, nil)
	d.AwaitEnd(w.t)
	d.connected = false
	if !d.owner.online() { // at once, not after the grace
		w.areOnline(w.ask(w.operator(), 200, "POST", "/v1/presence/query", systest.Object{"clientIds": []string{d.owner.ID}}), nil)
	}
	w.changes(d.owner, was)
	d.owner.devices[slices.Index(d.owner.devices, d)] = d.owner.device(false)
}

// subscribe has a session watch others than before.
func (w *watchers) subscribe() {
	d := w.pickDevice(func(d *device) bool { return d.connected })
	if d == nil {
		return
	}
	s := &watch{clients: some(w.world, w.people), from: len(d.Frames()), want: map[string][]string{}}
	path, body := "/v1/presence/subscriptions", systest.Object{"clientIds": idsOf(s.clients)}
	w.refused(w.ask(d.owner.Client, 400, "PUT", path, body), "session_required")
	var want []string
	for _, p := range s.clients {
		if p.online() && w.acquainted(d.owner.ID, p.ID) {
			want = append(want, p.ID)
		}
	}
	// By the node of the stream: another one would tell it a moment later, when it may have gone and come back.
	w.logf("%s of %s watches %v", d.Session, d.owner.ID, idsOf(s.clients))
	w.areOnline(d.Client.Want(w.t, 200, "PUT", path, body, header(d)...), want)
	w.of[d] = s
}

// crash has all come, kills a node and starts it again. Some of its streams go to the
// other one at once, of whom nobody is told anything; the rest are lost.
func (w *watchers) crash() {
	for _, d := range w.devices() {
		if !d.connected {
			w.comes(d)
		}
	}
	w.agree()
	node := w.node()
	w.logf("%s is killed", node.Addr)
	node.Kill()
	rest := slices.DeleteFunc(slices.Clone(w.nodes), func(s *systest.Server) bool { return s == node })
	all := w.nodes
	w.nodes = rest
	var gone []*device
	for _, d := range w.devices() {
		if !d.connected || d.Client.Server != node {
			continue
		}
		d.Cut()
		if w.rng.IntN(2) == 0 {
			gone = append(gone, d)
			continue
		}
		w.comes(d)
	}
	for _, d := range gone {
		w.away(d)
	}
	w.agree()
	node.Launch()
	node.AwaitReady()
	w.nodes = all
}

// agree waits until all nodes and all who watch know who is online, and compares what was told.
func (w *watchers) agree() {
	w.t.Helper()
	var online []string
	for _, p := range w.people {
		if p.online() {
			online = append(online, p.ID)
		}
	}
	query := systest.Object{"clientIds": idsOf(w.people)}
	for _, node := range w.nodes {
		systest.Eventually(w.t, "a node knows who is online", func() error {
			var v struct{ Online []string }
			if node.Operator().Want(w.t, 200, "POST", "/v1/presence/query", query).Into(w.t, &v); !slices.Equal(v.Online, online) {
				return fmt.Errorf("%v, want %v", v.Online, online)
			}
			return nil
		})
	}
	for _, d := range w.devices() {
		if s := w.of[d]; s != nil && d.connected {
			systest.Eventually(w.t, "a session is told who is online", func() error { return s.compare(w.t, d) })
		}
	}
}

// compare fails the test when a stream was told too much, and says what it was not told yet.
func (s *watch) compare(t *testing.T, d *device) error {
	t.Helper()
	got := map[string][]string{}
	for _, f := range d.Frames()[s.from:] {
		var v struct {
			ClientID string
			Online   bool
		}
		if f.Into(t, &v); f.Event == "presence" {
			got[v.ClientID] = append(got[v.ClientID], state(v.Online))
		}
	}
	var missing error
	for client, told := range got {
		want := strings.Join(s.want[client], " ")
		if !strings.HasPrefix(want, strings.Join(told, " ")) {
			t.Fatalf("%s of %s was told of %s %v, want %q", d.Session, d.owner.ID, client, told, want)
		}
	}
	for client, want := range s.want {
		if len(got[client]) < len(want) {
			missing = errors.Join(missing, fmt.Errorf("%s of %s was told of %s %v, want %v", d.Session, d.owner.ID, client, got[client], want))
		}
	}
	return missing
}
