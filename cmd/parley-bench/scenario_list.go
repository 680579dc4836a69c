package main

import (
	"context"
	"fmt"
	"time"
)

// listReads is how often each list is read in a round.
const listReads = 50

// messagesPerListed is how many messages, all unread, each listed conversation holds.
const messagesPerListed = 5

// lister is the client with the many conversations.
const lister = "lister"

// runList reads the whole list of a client's conversations, every one with
// unread messages, in one request.
func runList(ctx context.Context, b *bench) error {
	s, err := b.server(ctx)
	if err != nil {
		return err
	}
	n := b.sizes.list
	if err := b.fillList(ctx, s, n); err != nil {
		return err
	}
	db, err := s.cluster()
	if err != nil {
		return err
	}
	if err := db.exec(ctx, serverDatabase, "VACUUM (ANALYZE)"); err != nil {
		return err
	}
	w, err := dialWire(ctx, s.addr, 0)
	if err != nil {
		return err
	}
	defer w.close()
	lists := []struct{ name, path string }{
		{"conversations with unread and last message", fmt.Sprintf("/v1/conversations?include=lastMessage&limit=%d", n)},
		{"unread with last message", fmt.Sprintf("/v1/unread?limit=%d", n)},
	}
	for range b.count {
		for _, l := range lists {
			if err := b.readList(s, w, l.name, l.path, n); err != nil {
				return fmt.Errorf("GET %s: %w", l.path, err)
			}
		}
	}
	return nil
}

// fillList makes conversations of three, in which the other two talk.
func (b *bench) fillList(ctx context.Context, s *server, n int) error {
	a := newAPI(s)
	defer a.close()
	advance, done := b.step("making conversations", n)
	defer done()
	return each(ctx, n, func(ctx context.Context, i int) error {
		defer advance(1)
		talkers := []string{fmt.Sprintf("talker-%d", i%97), fmt.Sprintf("talker-%d", 100+i%89)}
		id, err := a.conversation(ctx, talkers[0], talkers[1], lister)
		if err != nil {
			return err
		}
		for k := range messagesPerListed {
			body := map[string]any{"type": "text", "text": filler}
			if _, err := a.send(ctx, talkers[k%2], id, body); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *bench) readList(s *server, w *wire, name, path string, n int) error {
	request := s.keys.get(s.addr, lister, path)
	var took []float64
	var size int
	for k := range listReads + 5 {
		start := time.Now()
		got, err := w.do(request)
		d := time.Since(start)
		if err != nil {
			return err
		}
		if err := expectItems(got, n); err != nil {
			return err
		}
		if size = len(got.body); k >= 5 { // the first few warm up
			took = append(took, millis(d))
		}
	}
	b.note(fmt.Sprintf("%s %s", thousands(int64(n)), name), "ms", median(took), atMost(20, 8))
	b.note(fmt.Sprintf("%s %s, size of the answer", thousands(int64(n)), name), "KB", float64(size)/1024, nil)
	return nil
}
