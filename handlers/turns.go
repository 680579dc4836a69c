package handlers

import (
	"context"
	"sync"

	"parley/model"
)

const (
	// maxWaiting bounds how many queries of one client wait for his turn; more than this are not let off a
	// minute's limit of reads at once anyway.
	maxWaiting = 120
	// maxQueries bounds the queries that run at once, so that connections are left for everything else.
	maxQueries = 8
)

// turns lets each client's queries run one at a time, in the order in which they came,
// and not too many of all clients together. The zero value is ready. It is safe for concurrent use.
type turns struct {
	mu      sync.Mutex
	clients map[string]*turn
	running chan struct{}
}

// turn is what the queries of one client wait for.
type turn struct {
	free chan struct{} // holds one while a query runs
	n    int           // queries that run or wait
}

// enter waits until a query may run; the caller calls leave when it has. client is empty for who need
// not wait for his own others. It fails with rate_limited when too many are waiting, and with the context's error.
func (t *turns) enter(ctx context.Context, client string) (leave func(), err error) {
	if client == "" {
		return t.start(ctx)
	}
	mine, err := t.join(client)
	if err != nil {
		return nil, err
	}
	select {
	case mine.free <- struct{}{}:
	case <-ctx.Done():
		t.part(client, mine)
		return nil, ctx.Err()
	}
	end, err := t.start(ctx)
	over := func() {
		<-mine.free
		t.part(client, mine)
	}
	if err != nil {
		over()
		return nil, err
	}
	return func() { end(); over() }, nil
}

func (t *turns) start(ctx context.Context) (end func(), err error) {
	t.mu.Lock()
	if t.running == nil {
		t.running = make(chan struct{}, maxQueries)
	}
	running := t.running
	t.mu.Unlock()
	select {
	case running <- struct{}{}:
		return func() { <-running }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (t *turns) join(client string) (*turn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.clients[client]
	if mine == nil {
		mine = &turn{free: make(chan struct{}, 1)}
		if t.clients == nil {
			t.clients = make(map[string]*turn)
		}
		t.clients[client] = mine
	}
	if mine.n > maxWaiting {
		e := model.NewError(model.RateLimited, "too many of your queries are waiting for one another")
		e.RetryAfter = 2
		return nil, e
	}
	mine.n++
	return mine, nil
}

func (t *turns) part(client string, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.n--; mine.n == 0 {
		delete(t.clients, client)
	}
}
