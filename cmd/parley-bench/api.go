package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// api calls the server where speed does not matter: to set scenes up and to
// look at what came of them. Safe concurrently.
type api struct {
	addr string
	keys *keyring
	idle chan *wire
}

// setupWorkers is how many requests set a scene up at once.
const setupWorkers = 64

func newAPI(s *server) *api {
	return &api{addr: s.addr, keys: s.keys, idle: make(chan *wire, setupWorkers)}
}

// call sends a request as client and decodes a 2xx answer into out, when that is not nil.
func (a *api) call(ctx context.Context, client, method, path string, body, out any, headers ...string) error {
	text := []byte{}
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	w, err := a.take(ctx)
	if err != nil {
		return err
	}
	got, err := w.do(a.keys.request(method, a.addr, client, path, string(text), headers...))
	if err != nil {
		w.close()
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer a.put(w)
	if got.status/100 != 2 {
		return fmt.Errorf("%s %s: %w", method, path, got.failure())
	}
	if out == nil || len(got.body) == 0 {
		return nil
	}
	return json.Unmarshal(got.body, out)
}

func (a *api) take(ctx context.Context) (*wire, error) {
	for {
		select {
		case w := <-a.idle:
			if !w.stale() {
				return w, nil
			}
			w.close()
		default:
			return dialWire(ctx, a.addr, 0)
		}
	}
}

func (a *api) put(w *wire) {
	w.usedAt = time.Now()
	select {
	case a.idle <- w:
	default:
		w.close()
	}
}

// close drops the connections; the next call makes new ones.
func (a *api) close() {
	for {
		select {
		case w := <-a.idle:
			w.close()
		default:
			return
		}
	}
}

// conversation makes an ordinary conversation and returns its id.
func (a *api) conversation(ctx context.Context, creator string, members ...string) (string, error) {
	var made struct{ ID string }
	err := a.call(ctx, creator, "POST", "/v1/conversations", map[string]any{"members": members}, &made)
	return made.ID, err
}

// sentMessage is what the bench needs to know of a stored message.
type sentMessage struct {
	ID             string
	ConversationID string
	Seq            int64
	SentAt         string
	Text           string
	Type           string
}

// send stores a message.
func (a *api) send(ctx context.Context, client, conversation string, body any) (m sentMessage, err error) {
	err = a.call(ctx, client, "POST", messagesPath(conversation), body, &m)
	return m, err
}

func messagesPath(conversation string) string {
	return "/v1/conversations/" + conversation + "/messages"
}

// each runs f for 0..n-1, many at a time, until one fails.
func each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(n, setupWorkers) {
		g.Go(func() error {
			for i := next.Add(1) - 1; i < int64(n) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := f(ctx, int(i)); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// names makes n client ids.
func names(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return out
}
