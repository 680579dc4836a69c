package sse

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"parley/model"
)

// randomEvent makes an event of one of a few conversations and clients.
func randomEvent(r *rand.Rand, position int64) model.Event {
	e := model.Event{Position: position, Kind: model.EventMessage, Data: []byte(`{}`)}
	switch r.IntN(10) {
	case 0, 1:
		e.Kind, e.Audience = model.EventInvited, model.ToClients
		for c := range 4 {
			if r.IntN(2) == 0 {
				e.Clients = append(e.Clients, fmt.Sprint("c", c))
			}
		}
	case 2:
		e.Kind, e.Audience, e.Data = model.EventSessionsClosed, model.ToNobody, nil
	case 3:
		e.Kind, e.Audience = model.EventConversationDeleted, model.ToEveryone
	default:
		e.Audience, e.ConversationID, e.Seq = model.ToMembers, fmt.Sprint("v", r.IntN(3)), position
	}
	return e
}

// TestTailCollects compares what the chains find with a look at every event.
func TestTailCollects(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		start := r.Int64N(100)
		tl := newTail(8+r.IntN(64), 1<<20, start)
		tl.ring = make([]entry, 4)
		var all []model.Event
		for i := range 100 {
			e := randomEvent(r, start+1+int64(i))
			all = append(all, e)
			tl.add(&e, &Frame{Position: e.Position, Bytes: []byte("x")})
		}
		stays := []model.Stay{
			{ConversationID: "v0", From: start + r.Int64N(100), To: model.Forever},
			{ConversationID: "v1", From: start + 10, To: start + 10 + r.Int64N(90)},
			{ConversationID: "v1", From: start + 100, To: model.Forever},
		}
		for after := start; after <= start+100; after++ {
			got, ok := tl.collect("c1", stays, nil, after)
			if ok != (after >= tl.start()) {
				t.Fatalf("seed %d: collect behind %d: ok = %v with a tail from %d", seed, after, ok, tl.start())
			}
			if !ok {
				continue
			}
			var want, have []int64
			for _, e := range all {
				if e.Position > after && hears("c1", stays, &e) {
					want = append(want, e.Position)
				}
			}
			for _, en := range got {
				have = append(have, en.position)
			}
			if !slices.Equal(want, have) {
				t.Fatalf("seed %d: behind %d got %v, want %v", seed, after, have, want)
			}
		}
	}
}

func hears(client string, stays []model.Stay, e *model.Event) bool {
	switch e.Audience {
	case model.ToEveryone:
		return true
	case model.ToClients:
		return slices.Contains(e.Clients, client)
	case model.ToMembers:
		return slices.ContainsFunc(stays, func(s model.Stay) bool {
			return s.ConversationID == e.ConversationID && e.Position > s.From && e.Position <= s.To
		})
	}
	return false
}

// TestTailForgets: after a change a message's older frames must come from the
// database, and what is dropped gives its bytes back.
func TestTailForgets(t *testing.T) {
	tl := newTail(1000, 1<<20, 0)
	add := func(kind model.EventKind, audience model.Audience, seq int64) {
		tl.add(&model.Event{Position: tl.next, Kind: kind, Audience: audience, ConversationID: "v", Seq: seq}, &Frame{Bytes: []byte("frame")})
	}
	stays := []model.Stay{{ConversationID: "v", To: model.Forever}}
	for _, change := range []struct {
		kind     model.EventKind
		audience model.Audience
	}{{model.EventMessageRecall, model.ToMembers}, {model.EventMessageUpdate, model.ToMembers}, {model.EventMessageRemoved, model.ToNobody}} {
		first := tl.next - 1
		add(model.EventMessage, model.ToMembers, 7)
		add(model.EventMessage, model.ToMembers, 8)
		if _, ok := tl.collect("c", stays, nil, first); !ok {
			t.Fatal("a fresh tail must answer")
		}
		add(change.kind, change.audience, 7)
		if _, ok := tl.collect("c", stays, nil, first); ok {
			t.Errorf("%v: the old frame of a changed message was replayed from memory", change.kind)
		}
		if _, ok := tl.collect("c", stays, nil, first+1); !ok {
			t.Errorf("%v: messages that did not change must still come from memory", change.kind)
		}
	}
	first := tl.next - 1
	add(model.EventMessage, model.ToMembers, 9)
	add(model.EventConversationDeleted, model.ToMembers, 0)
	if _, ok := tl.collect("c", stays, nil, first); ok {
		t.Error("a message of a deleted conversation was replayed from memory")
	}
}
