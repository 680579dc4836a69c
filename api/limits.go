package api

import (
	"hash/maphash"
	"strconv"
	"sync"
	"time"

	"parley/model"
)

// Limits are requests per client and minute; 0 is no limit.
type Limits struct {
	Sends int // messages
	Reads int // of each GET pattern, each query, and read
	Other int // of each other method and pattern
}

// class is the kind of limit that a route falls under.
type class int

const (
	unlimited class = iota
	sends
	reads
	others
)

func (c class) String() string { return [...]string{"unlimited", "sends", "reads", "others"}[c] }

const (
	bucketSpan    = time.Minute // a full bucket holds a minute's worth
	limiterShards = 32
	minSweep      = 1024
)

// limiter keeps token buckets, one per client and route. A bucket is a single
// number: the time at which it will be full again. One that is full needs no
// memory, so what is held is bounded by who has called within the last minute.
type limiter struct {
	now    func() time.Duration // since any fixed moment, never backwards
	seed   maphash.Seed
	shards [limiterShards]limiterShard
}

type limiterShard struct {
	mu      sync.Mutex
	fullAt  map[bucketKey]time.Duration
	sweepAt int // number of buckets at which the full ones are forgotten
}

type bucketKey struct {
	client string
	route  *route
}

func newLimiter() *limiter {
	start := time.Now()
	l := &limiter{now: func() time.Duration { return time.Since(start) }, seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i] = limiterShard{fullAt: map[bucketKey]time.Duration{}, sweepAt: minSweep}
	}
	return l
}

// take uses one token of client's bucket for a route with limit per minute. When the bucket is empty it
// returns how long until the next token.
func (l *limiter) take(client string, rt *route, limit int) (wait time.Duration) {
	cost := bucketSpan / time.Duration(limit)
	key, now := bucketKey{client, rt}, l.now()
	s := &l.shards[maphash.String(l.seed, client)%limiterShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	fullAt := max(s.fullAt[key], now) + cost
	// Not bucketSpan: cost was rounded down, which would let one more through.
	if over := fullAt - now - cost*time.Duration(limit); over > 0 {
		return over
	}
	s.fullAt[key] = fullAt
	if len(s.fullAt) >= s.sweepAt {
		s.sweep(now)
	}
	return 0
}

// sweep forgets full buckets, and waits until as many again have come, so that its cost per call stays constant.
func (s *limiterShard) sweep(now time.Duration) {
	for key, fullAt := range s.fullAt {
		if fullAt <= now {
			delete(s.fullAt, key)
		}
	}
	s.sweepAt = max(minSweep, 2*len(s.fullAt))
}

// limit refuses a client that has used up its bucket for the route. Server tokens have none.
func (s *server) limit(w *response, rt *route, caller model.Caller) error {
	n := s.perMinute(rt.class)
	if n <= 0 || caller.Server {
		return nil
	}
	wait := s.limiter.take(caller.Client, rt, n)
	if wait == 0 {
		return nil
	}
	s.metrics.limited(rt.class)
	err := model.NewError(model.RateLimited, "at most %d of these requests per minute", n)
	err.RetryAfter = int((wait + time.Second - 1) / time.Second)
	if rt.class == sends {
		err = err.WithLegacy(4116)
	}
	h := w.Header()
	h["Ratelimit-Limit"] = []string{strconv.Itoa(n)}
	h["Ratelimit-Remaining"] = []string{"0"}
	h["Ratelimit-Reset"] = []string{strconv.Itoa(err.RetryAfter)}
	return err
}

func (s *server) perMinute(c class) int {
	switch c {
	case sends:
		return s.cfg.Limits.Sends
	case reads:
		return s.cfg.Limits.Reads
	case others:
		return s.cfg.Limits.Other
	}
	return 0
}
