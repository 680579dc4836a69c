package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// tally counts things that happen on many streams and notes when the last of
// an expected number happened. Safe concurrently.
type tally struct {
	n    atomic.Int64
	goal atomic.Int64

	mu      sync.Mutex
	reached chan struct{} // closed when n reaches goal
	at      time.Time     // when it did
}

// expect starts counting anew towards goal.
func (t *tally) expect(goal int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n.Store(0)
	t.reached, t.at = make(chan struct{}), time.Time{}
	t.goal.Store(goal)
	if goal == 0 {
		t.at = time.Now()
		close(t.reached)
	}
}

// add counts n more.
func (t *tally) add(n int64) {
	if n == 0 {
		return
	}
	goal := t.goal.Load()
	if v := t.n.Add(n); goal == 0 || v < goal || v-n >= goal {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at.IsZero() {
		t.at = time.Now()
		close(t.reached)
	}
}

// wait returns when the goal was reached, or an error that says how far it came.
func (t *tally) wait(ctx context.Context, limit time.Duration, what string) (time.Time, error) {
	t.mu.Lock()
	reached := t.reached
	t.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-reached:
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.at, nil
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	case <-timer.C:
		return time.Time{}, fmt.Errorf("after %v only %d of %d %s", limit, t.n.Load(), t.goal.Load(), what)
	}
}
