package sse

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"parley/model"
)

// seated is a hub with one stream in a seat of a chatroom, which is read by hand.
func seated(t *testing.T, cfg Config) (*Hub, *Stream) {
	h := newHub(t, cfg, Source{})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.admit("c", 0, 0, model.Belongings{Seats: []model.Seat{{Session: "s", ConversationID: "room"}}})
	s := &Stream{Session: "s", hub: h, client: h.clients["c"], out: discard{}, state: live}
	s.client.streams = []*Stream{s}
	h.sit(s)
	return h, s
}

// read takes everything that a stream has, and returns the frames' data.
func (s *Stream) read(t *testing.T) (got []string) {
	t.Helper()
	for {
		buf, todo := s.next(nil)
		for line := range strings.Lines(string(buf)) {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				got = append(got, strings.TrimSpace(data))
			}
		}
		switch todo {
		case idle:
			return got
		case write:
			s.wrote()
		default:
			t.Fatalf("a stream in good health wants step %d", todo)
		}
	}
}

// Whatever comes, and whenever the reader gets to read: it has every message of high priority once
// and in order, nothing twice, and what it has not is counted by priority.
func TestSheddingIsCounted(t *testing.T) {
	names := map[model.Shed]string{model.ShedNever: "high", model.ShedSecond: "normal", model.ShedFirst: "low"}
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		h, s := seated(t, Config{QueueFrames: 32})
		highs, sent := 1+random.IntN(9), map[string]int64{}
		var want, all []string
		last := int64(0)
		for range 5 + random.IntN(30) {
			events := make([]model.Event, random.IntN(60))
			for i := range events {
				level := model.ShedNever
				if random.IntN(10) >= highs {
					level = model.ShedSecond + model.Shed(random.IntN(2))
				}
				last++
				name := fmt.Sprintf("%s %04d", names[level], last) // of one length: places compare as text
				if sent[names[level]]++; level == model.ShedNever {
					want = append(want, name)
				}
				events[i] = model.Event{Position: last, Kind: model.EventMessage, Audience: model.ToMembers, ConversationID: "room", Seq: last, Shed: level, Data: []byte(name)}
			}
			h.dispatch(events)
			if random.IntN(3) == 0 {
				all = append(all, s.read(t)...)
			}
		}
		all = append(all, s.read(t)...)
		var got []string
		delivered := map[string]int64{}
		before := ""
		for _, name := range all {
			level, place, _ := strings.Cut(name, " ")
			if place <= before {
				t.Fatalf("seed %d: %s after %s", seed, place, before)
			}
			before = place
			if delivered[level]++; level == "high" {
				got = append(got, name)
			}
		}
		if strings.Join(got, ",") != strings.Join(want, ",") {
			t.Fatalf("seed %d: %d of %d high ones arrived", seed, len(got), len(want))
		}
		if shed := h.Stats.ShedLow.Load(); delivered["low"]+shed != sent["low"] {
			t.Errorf("seed %d: of %d low ones %d arrived, %d were shed", seed, sent["low"], delivered["low"], shed)
		}
		if shed := h.Stats.ShedNormal.Load(); delivered["normal"]+shed != sent["normal"] {
			t.Errorf("seed %d: of %d normal ones %d arrived, %d were shed", seed, sent["normal"], delivered["normal"], shed)
		}
	}
}

// Low ones go first: while half of the queue is free nothing is shed, and no normal one before three quarters are taken.
func TestLowOnesAreShedFirst(t *testing.T) {
	h, s := seated(t, Config{QueueFrames: 32})
	var events []model.Event
	for i := range int64(40) {
		level := model.ShedSecond
		if i%2 == 0 {
			level = model.ShedFirst
		}
		events = append(events, model.Event{Position: i + 1, Kind: model.EventMessage, Audience: model.ToMembers, ConversationID: "room", Shed: level, Data: []byte("x")})
	}
	h.dispatch(events)
	if low, normal := h.Stats.ShedLow.Load(), h.Stats.ShedNormal.Load(); low != 12 || normal != 4 {
		t.Errorf("%d low and %d normal ones were shed", low, normal)
	}
	if n := len(s.read(t)); n != 24 {
		t.Errorf("%d arrived", n)
	}
}
