package sse

import (
	"context"
	"runtime"
	"sync"
)

// runners write to hijacked connections: a few goroutines serve all streams, so
// that an idle stream costs no writer. They never block on a socket.
type runners struct {
	hub   *Hub
	mu    sync.Mutex
	some  *sync.Cond
	queue []*Stream
	over  bool
}

func newRunners(h *Hub) *runners {
	r := &runners{hub: h}
	r.some = sync.NewCond(&r.mu)
	return r
}

func (r *runners) start(ctx context.Context) {
	for range runtime.GOMAXPROCS(0) {
		go r.run(ctx)
	}
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		r.over = true
		r.some.Broadcast()
		r.mu.Unlock()
	})
}

// add schedules streams: each is woken the way its output wants.
func (r *runners) add(streams []*Stream) {
	for _, s := range streams {
		s.out.wake(s)
	}
}

// push queues a stream for the runners.
func (r *runners) push(s *Stream) {
	r.mu.Lock()
	r.queue = append(r.queue, s)
	r.mu.Unlock()
	r.some.Signal()
}

func (r *runners) take(batch []*Stream) []*Stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 && !r.over {
		r.some.Wait()
	}
	n := min(len(r.queue), 16)
	batch = append(batch, r.queue[:n]...)
	rest := copy(r.queue, r.queue[n:])
	clear(r.queue[rest:])
	r.queue = r.queue[:rest]
	return batch
}

func (r *runners) run(ctx context.Context) {
	buf := make([]byte, 0, maxWrite+8<<10)
	var batch []*Stream
	for {
		batch = r.take(batch[:0])
		if len(batch) == 0 {
			return
		}
		for _, s := range batch {
			s.out.(*wire).serve(ctx, s, buf)
		}
		clear(batch)
	}
}
