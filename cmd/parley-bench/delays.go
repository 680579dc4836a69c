package main

import (
	"sync/atomic"
	"time"
)

// delays counts how long things took, to the millisecond, as fast as many
// readers at once need it. Safe concurrently.
type delays struct {
	counts [30_000]atomic.Int64 // by milliseconds; what took longer is in the last
	most   atomic.Int64         // in milliseconds
}

func (d *delays) add(took time.Duration) {
	ms := max(0, took.Milliseconds())
	d.counts[min(ms, int64(len(d.counts)-1))].Add(1)
	for was := d.most.Load(); ms > was && !d.most.CompareAndSwap(was, ms); was = d.most.Load() {
	}
}

func (d *delays) reset() {
	for i := range d.counts {
		d.counts[i].Store(0)
	}
	d.most.Store(0)
}

// within is how many took at most that long.
func (d *delays) within(limit time.Duration) (n int64) {
	for i := range min(int(limit.Milliseconds())+1, len(d.counts)) {
		n += d.counts[i].Load()
	}
	return n
}

func (d *delays) total() int64 { return d.within(time.Hour) }

// quantile is what a share of q took at most, in milliseconds.
func (d *delays) quantile(q float64) float64 {
	left := int64(q * float64(d.total()))
	for i := range d.counts {
		if left -= d.counts[i].Load(); left < 0 {
			return float64(i)
		}
	}
	return float64(d.most.Load())
}
