package chat

import (
	"context"
	"sync"
)

// Batcher is group commit: one goroutine runs whatever has queued up since its
// previous run, and never waits for more. So a lone request is served at once,
// and under load the cost of a run is shared by all that came during the last.
type Batcher[Q, A any] struct {
	run func([]Q) []Answer[A]
	max int

	mu     sync.Mutex
	queue  []waiting[Q, A]
	spare  []waiting[Q, A]
	closed bool
	bell   chan struct{} // capacity 1
	done   chan struct{}
}

// Answer is the outcome for one of a batch.
type Answer[A any] struct {
	Value A
	Err   error
}

type waiting[Q, A any] struct {
	q      Q
	answer chan Answer[A] // capacity 1: the writer never waits for the asker
}

// NewBatcher starts the goroutine that calls run with up to max questions at a
// time; run answers each, in order. Close ends it.
func NewBatcher[Q, A any](max int, run func([]Q) []Answer[A]) *Batcher[Q, A] {
	b := &Batcher[Q, A]{run: run, max: max, bell: make(chan struct{}, 1), done: make(chan struct{})}
	go b.loop()
	return b
}

// Do queues q and waits for its answer. When ctx ends first, Do returns its error,
// and whether q was done is not known. After Close it fails with unavailable.
func (b *Batcher[Q, A]) Do(ctx context.Context, q Q) (A, error) {
	w := waiting[Q, A]{q, make(chan Answer[A], 1)}
	var none A
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return none, errClosing()
	}
	b.queue = append(b.queue, w)
	b.mu.Unlock()
	select {
	case b.bell <- struct{}{}:
	default: // rung already
	}
	select {
	case a := <-w.answer:
		return a.Value, a.Err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (b *Batcher[Q, A]) loop() {
	defer close(b.done)
	for range b.bell {
		for {
			batch := b.take()
			if len(batch) == 0 {
				break
			}
			b.serve(batch)
		}
		b.mu.Lock()
		closed := b.closed
		b.mu.Unlock()
		if closed {
			return
		}
	}
}

func (b *Batcher[Q, A]) serve(batch []waiting[Q, A]) {
	questions := make([]Q, len(batch))
	for i, w := range batch {
		questions[i] = w.q
	}
	answers := b.run(questions)
	for i, w := range batch {
		w.answer <- answers[i]
	}
}

// take returns what is waiting, at most max, leaving the rest.
func (b *Batcher[Q, A]) take() []waiting[Q, A] {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.queue), b.max)
	b.spare = append(b.spare[:0], b.queue[:n]...)
	rest := copy(b.queue, b.queue[n:])
	clear(b.queue[rest:])
	b.queue = b.queue[:rest]
	return b.spare
}

// Close serves what is queued, refuses what comes later, and returns when all is done.
func (b *Batcher[Q, A]) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	select {
	case b.bell <- struct{}{}:
	default:
	}
	<-b.done
}

// failAll answers a whole batch with one error.
func failAll[A any](n int, err error) []Answer[A] {
	answers := make([]Answer[A], n)
	for i := range answers {
		answers[i].Err = err
	}
	return answers
}
