package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"
)

// rarePerHistory is how many messages of the rare type a conversation gets, spread evenly.
const rarePerHistory = 40

// pageReads is how often each page is read in a round.
const pageReads = 200

// runHistory reads the same pages in a huge conversation and in a small one.
func runHistory(ctx context.Context, b *bench) error {
	s, err := b.server(ctx)
	if err != nil {
		return err
	}
	small, err := b.fillHistory(ctx, s, b.sizes.historySmall)
	if err != nil {
		return err
	}
	large, err := b.fillHistory(ctx, s, b.sizes.history)
	if err != nil {
		return err
	}
	db, err := s.cluster()
	if err != nil {
		return err
	}
	// What autovacuum would do at a moment of its own choosing.
	if err := db.exec(ctx, serverDatabase, "VACUUM (ANALYZE)"); err != nil {
		return err
	}
	w, err := dialWire(ctx, s.addr, 0)
	if err != nil {
		return err
	}
	defer w.close()
	for range b.count {
		for _, page := range historyPages {
			if err := b.historyPage(s, w, page, large, small); err != nil {
				return fmt.Errorf("%s: %w", page.name, err)
			}
		}
	}
	return nil
}

// filled is a conversation with a history, and its message in the middle.
type filled struct {
	id     string
	size   int
	middle sentMessage
}

// historian reads and writes in both conversations.
const historian = "historian"

// fillHistory makes a conversation of n messages through the API: texts, and
// now and then a location.
func (b *bench) fillHistory(ctx context.Context, s *server, n int) (filled, error) {
	a := newAPI(s)
	defer a.close()
	id, err := a.conversation(ctx, historian, "reader")
	if err != nil {
		return filled{}, err
	}
	f := filled{id: id, size: n}
	texts := s.keys.post(s.addr, historian, messagesPath(id), textBody(0))
	rare := map[string]any{"type": "location", "location": map[string]any{"latitude": 48.2, "longitude": 16.37}}
	advance, done := b.step(fmt.Sprintf("sending %s messages", thousands(int64(n))), n)
	defer done()
	part := n / rarePerHistory
	for i := range rarePerHistory {
		if err := sendMany(ctx, s.addr, 256, i*part, part-1, mold{texts}); err != nil {
			return f, err
		}
		m, err := a.send(ctx, historian, id, rare)
		if err != nil {
			return f, err
		}
		if i == rarePerHistory/2 {
			f.middle = m
		}
		advance(part)
	}
	return f, nil
}

// page is one way to read 20 messages.
type page struct {
	name  string
	query func(filled) string
}

var historyPages = []page{
	{"newest", func(filled) string { return "" }},
	{"from the middle, by message", func(f filled) string { return "&startMessageId=" + url.QueryEscape(f.middle.ID) }},
	{"from the middle, by time", func(f filled) string { return "&startTime=" + url.QueryEscape(f.middle.SentAt) }},
	{"of a common type", func(filled) string { return "&type=text" }},
	{"of a rare type", func(filled) string { return "&type=location" }},
	{"oldest first", func(filled) string { return "&direction=old_to_new" }},
}

// historyPage reads a page in both conversations in turns, so that whatever
// else goes on meets both alike.
func (b *bench) historyPage(s *server, w *wire, p page, large, small filled) error {
	var took [2][]float64
	conversations := []filled{large, small}
	for k := range pageReads + 10 {
		for i, f := range conversations {
			request := s.keys.get(s.addr, historian, messagesPath(f.id)+"?limit=20"+p.query(f))
			start := time.Now()
			got, err := w.do(request)
			d := time.Since(start)
			if err != nil {
				return err
			}
			if err := expectItems(got, 20); err != nil {
				return err
			}
			if k >= 10 { // the first few warm up
				took[i] = append(took[i], millis(d))
			}
		}
	}
	inLarge, inSmall := median(took[0]), median(took[1])
	b.note(fmt.Sprintf("%s, of %s", p.name, thousands(int64(large.size))), "ms", inLarge, nil)
	b.note(fmt.Sprintf("%s, of %s", p.name, thousands(int64(small.size))), "ms", inSmall, nil)
	b.note(p.name+", large ÷ small", "×", inLarge/inSmall, atMost(1.5, 1.1))
	return nil
}

// expectItems checks that an answer is a list of n.
func expectItems(got answer, n int) error {
	if got.status != 200 {
		return got.failure()
	}
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal(got.body, &list); err != nil {
		return err
	}
	if len(list.Items) != n {
		return fmt.Errorf("%d items instead of %d: %.200s", len(list.Items), n, got.body)
	}
	return nil
}
