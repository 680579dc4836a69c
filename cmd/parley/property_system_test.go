package main_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// Random operations, one at a time, against a small model; streams are open all the
// while on two nodes, break and resume, and now and then a node is stopped or killed. Every
// session must get exactly what the table of events in API.md promises it: once, in
// order, and nothing else. The model is in model_system_test.go, what is special about
// chatrooms, services, receipts and so on in files named after them.
//
// PARLEY_TEST_SEED repeats a run, PARLEY_TEST_SECONDS lengthens it.
func TestRandomOperations(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	nodes := []*systest.Server{
		systest.Start(t, dsn, "PARLEY_RECONNECT_GRACE=1h"), systest.Start(t, dsn, "PARLEY_RECONNECT_GRACE=1h"),
	}
	seed := propertySeed()
	end := time.Now().Add(time.Duration(number("PARLEY_TEST_SECONDS", 15)) * time.Second)
	rounds := 0
	for ; rounds < 2 || time.Now().Before(end); rounds++ {
		round(t, nodes, seed+uint64(rounds))
	}
	t.Logf("%d rounds from seed %d", rounds, seed)
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// propertySeed is that of this run.
func propertySeed() uint64 {
	return uint64(number("PARLEY_TEST_SEED", int(time.Now().UnixNano()%1e9)))
}

// report says how to do it all again when it has gone wrong.
func (w *world) report(seed uint64) {
	if w.t.Failed() {
		w.t.Logf("PARLEY_TEST_SEED=%d does these operations:\n%s", seed, strings.Join(w.ops, "\n"))
	}
}

func round(t *testing.T, nodes []*systest.Server, seed uint64) {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), nodes: nodes}
	defer w.report(seed)
	w.populate()
	defer func() {
		for _, d := range w.devices() {
			d.Cut()
		}
	}()
	operations := []struct {
		weight int
		do     func()
	}{
		{4, w.create}, {5, w.add}, {4, w.remove}, {16, w.send}, {3, w.resend}, {3, w.rename}, {1, w.mute}, {6, w.read}, {5, w.change}, {1, w.destroy},
		{14, w.connect}, {9, w.cut}, {1, w.logOut}, {2, w.lookForPresence}, {2, w.lookAtReceipts}, {5, w.exchange}, {2, w.createTemporary},
		{5, w.sit}, {2, w.leaveRoom}, {8, w.talk}, {2, w.changeTalk}, {1, w.notInChatrooms},
		{4, w.subscribe}, {8, w.post}, {2, w.changePost}, {3, w.readService},
	}
	var bag []func()
	for _, op := range operations {
		for range op.weight {
			bag = append(bag, op.do)
		}
	}
	const steps = 160
	seldom := map[int]func(){} // what takes long is done once a round
	for _, do := range []func(){w.crowd, w.restart, w.expire} {
		seldom[w.rng.IntN(steps)] = do
	}
	for i := range steps {
		if do := seldom[i]; do != nil {
			do()
		}
		pick(w, bag)()
	}
	w.finish()
}

// populate has four people appear, with up to three devices each, and two pairs of them who want receipts.
func (w *world) populate() {
	for i := range 4 {
		p := &person{Client: w.nodes[0].As(systest.Unique(fmt.Sprintf("p%d", i)))}
		for range 1 + w.rng.IntN(3) {
			p.devices = append(p.devices, p.device(w.rng.IntN(2) == 0))
		}
		p.diary = w.idIn(w.ask(w.operator(), 201, "POST", "/v1/conversations", systest.Object{"members": []string{p.ID}}))
		w.people = append(w.people, p)
	}
	for i := range 2 {
		two := idsOf(w.people[2*i : 2*i+2])
		r := &room{members: map[string]*member{}, pair: true}
		r.id = w.idIn(w.ask(w.operator(), 201, "POST", "/v1/conversations", systest.Object{"members": two}))
		r.enter(two)
		w.rooms = append(w.rooms, r)
	}
}

// finish brings all devices back, has one last thing happen to everybody, and compares everything.
func (w *world) finish() {
	w.t.Helper()
	for _, d := range w.devices() {
		if !d.connected {
			w.reconnect(d)
		}
	}
	last := &room{members: map[string]*member{}}
	last.id = w.idIn(w.ask(w.operator(), 201, "POST", "/v1/conversations", systest.Object{"members": idsOf(w.people)}))
	last.enter(idsOf(w.people))
	w.tell(idsOf(w.people), nil, invitedText(last, system))
	w.settle()
	w.checkReceipts()
	w.checkIDs()
	for _, r := range w.rooms {
		if !r.deleted {
			w.checkRoom(r)
		}
	}
	for _, c := range w.chatrooms {
		w.checkChatroom(c)
	}
	for _, s := range w.services {
		w.checkService(s)
		w.checkBroadcastList(s)
	}
	w.closeServices()
}

// checkRoom compares what REST says of a conversation.
func (w *world) checkRoom(r *room) {
	w.t.Helper()
	history := w.operator().At(w.node()).History(w.t, r.id)
	for i, v := range r.said {
		if v.removed {
			continue
		}
		if len(history) == 0 || history[0].Seq != int64(i+1) || history[0].From != v.from || history[0].Text != v.text {
			w.t.Fatalf("the history of %s goes on with %+v, want %d: %+v", r.id, history, i+1, v)
		}
		history = history[1:]
	}
	if len(history) != 0 {
		w.t.Fatalf("the history of %s has more: %+v", r.id, history)
	}
	for id, m := range r.members {
		var v struct {
			Name                *string
			Members             []string
			MemberCount         int
			Muted               bool
			UnreadMessagesCount int
			LastMessageAt       json.RawMessage
		}
		a := w.person(id).At(w.node()).Want(w.t, 200, "GET", "/v1/conversations/"+r.id, nil)
		a.Into(w.t, &v)
		name := ""
		if v.Name != nil {
			name = *v.Name
		}
		if name != r.name || setOf(v.Members) != setOf(r.ids()) || v.MemberCount != len(r.members) || v.Muted != m.muted ||
			v.UnreadMessagesCount != r.unread(id, m.read) || (string(v.LastMessageAt) == "null") != (len(r.said) == 0) {
			w.t.Fatalf("%s for %s: %s, want %+v and %+v", r.id, id, a, r, m)
		}
	}
}
