package main

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// load is what a closed loop did.
type load struct {
	perSecond float64
	latency   *hdrhistogram.Histogram // of the requests, in microseconds
}

// newHistogram takes microseconds up to a minute, three digits exact.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }

// closedLoop keeps inFlight requests under way for a while: each connection
// sends its next when it has its answer. next gives the request number k of a
// worker; it must stay untouched until the worker asks for another. Any answer
// but the wanted one ends the run.
func closedLoop(ctx context.Context, addr string, inFlight int, d time.Duration, want int, next func(worker, k int) []byte) (load, error) {
	wires, err := dialWires(ctx, addr, inFlight)
	if err != nil {
		return load{}, err
	}
	deadline := time.Now().Add(d)
	histograms := make([]*hdrhistogram.Histogram, inFlight)
	g, ctx := errgroup.WithContext(ctx)
	for worker, w := range wires {
		histograms[worker] = newHistogram()
		g.Go(func() error {
			defer w.close()
			_ = w.conn.SetDeadline(deadline.Add(wireTimeout))
			for k := 0; ctx.Err() == nil; k++ {
				start := time.Now()
				got, err := w.exchange(next(worker, k))
				end := time.Now()
				if err == nil && got.status != want {
					err = got.failure()
				}
				if err != nil {
					return fmt.Errorf("request %d of worker %d: %w", k, worker, err)
				}
				if end.After(deadline) {
					return nil
				}
				_ = histograms[worker].RecordValue(end.Sub(start).Microseconds())
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return load{}, err
	}
	all := newHistogram()
	for _, h := range histograms {
		all.Merge(h)
	}
	return load{perSecond: float64(all.TotalCount()) / d.Seconds(), latency: all}, nil
}

func dialWires(ctx context.Context, addr string, n int) ([]*wire, error) {
	wires := make([]*wire, n)
	for i := range wires {
		w, err := dialWire(ctx, addr, i)
		if err != nil {
			return nil, err
		}
		wires[i] = w
	}
	return wires, nil
}

// mold is what messages are made from: number i is the request i mod their count,
// with its number written into it.
type mold [][]byte

// clone is a copy for one worker to write numbers into.
func (m mold) clone() mold {
	own := make(mold, len(m))
	for i := range m {
		own[i] = bytes.Clone(m[i])
	}
	return own
}

// number makes message i; it is good until the mold makes another.
func (m mold) number(i int) []byte {
	request := m[i%len(m)]
	setIndex(request, i)
	return request
}

// sendMany sends the messages numbered first..first+n-1, inFlight at a time,
// as fast as that goes.
func sendMany(ctx context.Context, addr string, inFlight, first, n int, requests mold) error {
	wires, err := dialWires(ctx, addr, inFlight)
	if err != nil {
		return err
	}
	var taken atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range wires {
		g.Go(func() error {
			defer w.close()
			own := requests.clone()
			for i := taken.Add(1) - 1; i < int64(n) && ctx.Err() == nil; i = taken.Add(1) - 1 {
				if err := sendOne(w, own.number(first+int(i))); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

func sendOne(w *wire, request []byte) error {
	got, err := w.do(request)
	if err == nil && got.status != 201 {
		err = got.failure()
	}
	return err
}

// openLoop sends n messages at a fixed rate, whatever the server does: what is
// due waits for a free connection without holding up what is due next. due
// tells when each should have gone, in Unix nanoseconds, so nobody's waiting is left out.
func openLoop(ctx context.Context, addr string, connections, first, n int, rate float64, requests mold, due []atomic.Int64) error {
	wires, err := dialWires(ctx, addr, connections)
	if err != nil {
		return err
	}
	jobs := make(chan int, n)
	g, ctx := errgroup.WithContext(ctx)
	for source, w := range wires {
		g.Go(func() error {
			defer func() { w.close() }() // the last it had
			own := requests.clone()
			for i := range jobs {
				if w.stale() { // a slow rate comes round to each but seldom
					fresh, err := dialWire(ctx, addr, source)
					if err != nil {
						return err
					}
					w.close()
					w = fresh
				}
				if err := sendOne(w, own.number(i)); err != nil {
					return err
				}
				w.usedAt = time.Now()
			}
			return nil
		})
	}
	start := time.Now()
	for i := range n {
		at := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		time.Sleep(time.Until(at))
		due[first+i].Store(at.UnixNano())
		jobs <- first + i
		if ctx.Err() != nil {
			break
		}
	}
	close(jobs)
	return g.Wait()
}
