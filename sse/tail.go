package sse

import (
	"slices"

	"parley/model"
)

// tail remembers the end of the log: a contiguous run of its last entries, found
// by position, and chained backwards by whom they are for, so that what one client
// missed is collected without looking at anything else. Entries must be added in
// order of position. Not safe for concurrent use.
type tail struct {
	maxEntries int
	maxBytes   int

	ring  []entry // entry of position p is ring[p % len(ring)]
	first int64   // position of the oldest entry kept
	next  int64   // position of the entry to come; first == next when empty
	bytes int

	conversations map[string]int64 // position of the last entry for a conversation's members
	clients       map[string]int64 // position of the last entry addressed to a client
	everyone      int64
}

type entry struct {
	position int64
	kind     model.EventKind
	audience model.Audience
	shed     model.Shed
	// stale marks the frame of a message that was changed since: a replay must ask the database.
	stale         bool
	conversation  string
	seq           int64
	frame         *Frame // nil: nothing to show
	exceptClient  string
	exceptSession string
	prev          int64   // the entry before it for the same conversation or for everyone; may be gone
	details       *detail // nil for most
}

type detail struct {
	clients, joined, departed []string
	prev                      []int64 // for each of clients
	seat                      *model.SeatTaken
}

// newTail returns a tail that begins behind a position.
func newTail(maxEntries, maxBytes int, after int64) *tail {
	return &tail{
		maxEntries: maxEntries, maxBytes: maxBytes, ring: make([]entry, min(1024, maxEntries)), first: after + 1, next: after + 1,
		conversations: map[string]int64{}, clients: map[string]int64{},
	}
}

// start is the position behind which every entry is kept.
func (t *tail) start() int64 { return t.first - 1 }

// at returns the entry of a position, nil when it is not kept.
func (t *tail) at(position int64) *entry {
	if position < t.first || position >= t.next {
		return nil
	}
	return &t.ring[position%int64(len(t.ring))]
}

// add appends the entry of e, which must be the next position.
func (t *tail) add(e *model.Event, f *Frame) *entry {
	n := int(t.next - t.first)
	if n == len(t.ring) && n < t.maxEntries {
		t.grow()
	}
	for int(t.next-t.first) >= len(t.ring) || (t.bytes > t.maxBytes && t.next > t.first) {
		t.drop()
	}
	en := &t.ring[e.Position%int64(len(t.ring))]
	*en = entry{
		position: e.Position, kind: e.Kind, audience: e.Audience, shed: e.Shed, conversation: e.ConversationID, seq: e.Seq, frame: f,
		exceptClient: e.ExceptClient, exceptSession: e.ExceptSession,
	}
	if len(e.Clients)+len(e.Joined)+len(e.Departed) > 0 || e.Seat != nil {
		en.details = &detail{clients: e.Clients, joined: e.Joined, departed: e.Departed, seat: e.Seat}
	}
	t.next = e.Position + 1
	if f != nil {
		t.bytes += len(f.Bytes)
	}
	t.chain(en)
	return en
}

func (t *tail) chain(en *entry) {
	switch en.audience {
	case model.ToMembers:
		en.prev = t.conversations[en.conversation]
		t.conversations[en.conversation] = en.position
	case model.ToClients:
		if en.details == nil {
			return
		}
		en.details.prev = make([]int64, len(en.details.clients))
		for i, c := range en.details.clients {
			en.details.prev[i] = t.clients[c]
			t.clients[c] = en.position
		}
	case model.ToEveryone:
		en.prev = t.everyone
		t.everyone = en.position
	}
	switch en.kind {
	case model.EventMessageUpdate, model.EventMessageRecall, model.EventMessageRemoved:
		t.forget(en, func(old *entry) bool { return old.kind.OfMessage() && old.seq == en.seq })
	case model.EventConversationDeleted:
		t.forget(en, func(old *entry) bool { return old.kind.OfMessage() })
	case model.EventMessagesOutlived:
		t.forget(en, func(old *entry) bool { return old.kind.OfMessage() && old.seq <= en.seq })
	case model.EventConversationExpired:
		t.forget(en, func(*entry) bool { return true })
	}
}

// forget marks those frames of messages as stale that an event about their conversation has changed.
func (t *tail) forget(by *entry, changed func(*entry) bool) {
	mark := func(old *entry) {
		if old == by || old.conversation != by.conversation || !changed(old) {
			return
		}
		if old.frame != nil {
			t.bytes -= len(old.frame.Bytes)
		}
		old.stale, old.frame = true, nil
	}
	if by.audience == model.ToMembers && by.kind != model.EventConversationDeleted {
		one := by.kind == model.EventMessageUpdate || by.kind == model.EventMessageRecall
		for en := t.at(by.prev); en != nil; en = t.at(en.prev) {
			mark(en)
			if one && en.kind == model.EventMessage && en.seq <= by.seq {
				return // nothing about a message comes before it
			}
		}
		return
	}
	for p := t.first; p < by.position; p++ { // rare: removed, or of a service, whose messages have many audiences
		mark(t.at(p))
	}
}

// drop forgets the oldest entry.
func (t *tail) drop() {
	en := t.at(t.first)
	if en.frame != nil {
		t.bytes -= len(en.frame.Bytes)
	}
	switch en.audience {
	case model.ToMembers:
		if t.conversations[en.conversation] == en.position {
			delete(t.conversations, en.conversation)
		}
	case model.ToClients:
		if en.details != nil {
			for _, c := range en.details.clients {
				if t.clients[c] == en.position {
					delete(t.clients, c)
				}
			}
		}
	}
	*en = entry{}
	t.first++
}

func (t *tail) grow() {
	ring := make([]entry, min(2*len(t.ring), t.maxEntries))
	for p := t.first; p < t.next; p++ {
		ring[p%int64(len(ring))] = *t.at(p)
	}
	t.ring = ring
}

// seatView is a chatroom as a stream in a seat is to see it.
type seatView struct {
	model.Seat
	shedUpto int64    // see Stream
	shed     [3]int64 // how many of each model.Shed collect left out behind that
}

// collect returns the entries behind a position that are for a client with these
// stays and a session with this seat (nil: none), in order; of what may be shed in
// the room the newest alone. It fails when the tail does not reach back that far, or when
// a frame among them is stale or may be: a temporary conversation ends by the clock.
func (t *tail) collect(client string, stays []model.Stay, seat *seatView, after int64) ([]*entry, bool) {
	if after < t.start() {
		return nil, false
	}
	var found []*entry
	ok := true
	take := func(en *entry) {
		ok = ok && !en.stale && !model.IsTemporary(en.conversation)
		found = append(found, en)
	}
	for _, s := range stays {
		floor := max(after, s.From)
		for en := t.at(t.conversations[s.ConversationID]); en != nil && en.position > floor; en = t.at(en.prev) {
			if en.position <= s.To {
				take(en)
			}
		}
	}
	if seat != nil {
		floor, sheddable := max(after, seat.From), 0
		for en := t.at(t.conversations[seat.ConversationID]); en != nil && en.position > floor; en = t.at(en.prev) {
			if en.shed != model.ShedNever {
				if en.position <= seat.shedUpto {
					continue
				}
				if sheddable++; sheddable > model.ShedReplayed {
					seat.shed[en.shed]++
					continue
				}
			}
			take(en)
		}
	}
	for en := t.at(t.clients[client]); en != nil && en.position > after; {
		take(en)
		en = t.at(en.details.prev[slices.Index(en.details.clients, client)])
	}
	for en := t.at(t.everyone); en != nil && en.position > after; en = t.at(en.prev) {
		take(en)
	}
	slices.SortFunc(found, func(a, b *entry) int { return int(a.position - b.position) })
	return found, ok
}
