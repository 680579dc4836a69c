package chat

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
	"sync"
	"time"

	"parley/repo"
	"parley/sse"
)

// presence is who is watched by streams of this node.
type presence struct {
	mu      sync.Mutex
	unread  map[sessionKey]*sse.Stream // lists to be read, with the stream that has been told by an answer; nil: none
	watches map[sessionKey]*watch
	watched map[string]*watched
	times   times
	fading  []fading      // in the order of their times
	bell    chan struct{} // capacity 1
}

// watch is the subscription of an open stream. Its lists belong to keepPresence's goroutine.
type watch struct {
	key      sessionKey
	stream   *sse.Stream
	revision string
	anyone   bool
	clients  []string
	told     map[string]told // by client; none yet for those it was told nothing of
	dropped  int64           // the stream's count as of then
}

type told struct {
	online bool
	hidden time.Time // until then we do not ask again whether it may be seen, but for news
}

// watched is a client somebody watches.
type watched struct {
	by     map[*watch]struct{}
	next   time.Time // when it is to be looked at
	hinted bool      // since it was last taken
	news   bool      // it was taken because of a hint
}

// fading is a session without a stream, whose client may be offline at a time.
type fading struct {
	key sessionKey
	at  time.Time
}

func newPresence() *presence {
	return &presence{
		unread: map[sessionKey]*sse.Stream{}, watches: map[sessionKey]*watch{}, watched: map[string]*watched{}, bell: make(chan struct{}, 1),
	}
}

func (p *presence) ring() {
	select {
	case p.bell <- struct{}{}:
	default:
	}
}

// read has a session's list read soon. answered is the stream of the session that was
// open when a request was answered with who is online; nil: this is about no request.
func (p *presence) read(k sessionKey, answered *sse.Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before, is := p.unread[k]; is && before != answered {
		answered = nil
	}
	p.unread[k] = answered
	p.ring()
}

// closed forgets what a stream watched.
func (p *presence) closed(k sessionKey, st *sse.Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.watches[k]; w != nil && w.stream == st {
		p.drop(w)
	}
}

func (p *presence) drop(w *watch) {
	delete(p.watches, w.key)
	for _, id := range w.clients {
		d := p.watched[id]
		if delete(d.by, w); len(d.by) == 0 {
			delete(p.watched, id)
		}
	}
}

// put sets a watch going in place of the session's old one.
func (p *presence) put(w *watch, now time.Time) {
	if old := p.watches[w.key]; old != nil {
		p.drop(old)
	}
	p.watches[w.key] = w
	for _, id := range w.clients {
		d := p.watched[id]
		if d == nil {
			d = &watched{by: map[*watch]struct{}{}}
			p.watched[id] = d
		}
		d.by[w] = struct{}{}
		p.hintOne(id, d, now)
	}
}

// hint has clients looked at soon, as far as they are watched.
func (p *presence) hint(clients []string) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range clients {
		if d := p.watched[id]; d != nil {
			p.hintOne(id, d, now)
		}
	}
}

func (p *presence) hintOne(id string, d *watched, now time.Time) {
	if !d.hinted {
		d.hinted = true
		p.schedule(id, d, now)
		p.ring()
	}
}

// review has all looked at whom a session watches.
func (p *presence) review(k sessionKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.watches[k]; w != nil {
		for _, id := range w.clients {
			p.hintOne(id, p.watched[id], time.Now())
		}
	}
}

// hintAll has all who are watched looked at.
func (p *presence) hintAll() {
	p.mu.Lock()
	ids := slices.Collect(maps.Keys(p.watched))
	p.mu.Unlock()
	p.hint(ids)
}

// fade has the clients of sessions that broke off looked at once their grace is over.
func (p *presence) fade(saves []repo.SessionSave, grace time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, v := range saves {
		if v.Connected {
			continue
		}
		at := v.LastSeenAt.Add(grace)
		if at.Before(now) {
			at = now
		}
		p.fading = append(p.fading, fading{sessionKey{v.ClientID, v.ID}, at.Add(presenceSettle)})
	}
	slices.SortFunc(p.fading, func(a, b fading) int { return a.at.Compare(b.at) })
	p.ring()
}

// faded takes the sessions whose grace is over.
func (p *presence) faded(now time.Time) []sessionKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	var over []sessionKey
	for n < len(p.fading) && !p.fading[n].at.After(now) {
		over = append(over, p.fading[n].key)
		n++
	}
	p.fading = slices.Delete(p.fading, 0, n)
	return over
}

// timed is when a client is to be looked at.
type timed struct {
	at time.Time
	id string
}

// times is a heap, the earliest first. Those that were put off since are passed over.
type times []timed

func (t times) Len() int           { return len(t) }
func (t times) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t times) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }

// Push is heap's.
func (t *times) Push(v any) { *t = append(*t, v.(timed)) }

// Pop is heap's.
func (t *times) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
}

func (p *presence) schedule(id string, d *watched, at time.Time) {
	d.next = at
	heap.Push(&p.times, timed{at, id})
}

// due takes the clients that are to be looked at now, at most so many.
func (p *presence) due(now time.Time, most int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []string
	for len(p.times) > 0 && len(ids) < most && !p.times[0].at.After(now) {
		t := heap.Pop(&p.times).(timed)
		if d := p.watched[t.id]; d != nil && d.next.Equal(t.at) {
			d.news, d.hinted = d.hinted, false
			ids = append(ids, t.id)
		}
	}
	return ids
}

// wait is how long there is nothing to do unless somebody rings.
func (p *presence) wait(now, lists time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := lists
	if len(p.times) > 0 && p.times[0].at.Before(next) {
		next = p.times[0].at
	}
	if len(p.fading) > 0 && p.fading[0].at.Before(next) {
		next = p.fading[0].at
	}
	return max(next.Sub(now), presenceSettle)
}

// putOff has clients looked at later who could not be just now.
func (p *presence) putOff(clients []string, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range clients {
		if d := p.watched[id]; d != nil && !d.hinted {
			p.schedule(id, d, until)
		}
	}
}

// change is what a watch is to be told, if it may see the client.
type change struct {
	w      *watch
	client string
	online bool
}

// compare notes when to look at clients again, and returns what is not as it was told.
func (p *presence) compare(clients []string, states map[string]repo.Online, now time.Time) []change {
	p.mu.Lock()
	defer p.mu.Unlock()
	var changes []change
	for _, id := range clients {
		d := p.watched[id]
		if d == nil {
			continue
		}
		state, online := states[id]
		if !d.hinted {
			next := now.Add(presenceEvery)
			if state.Fades > 0 {
				next = now.Add(min(presenceEvery, state.Fades+presenceSettle))
			}
			p.schedule(id, d, next)
		}
		for w := range d.by {
			if n := w.stream.Dropped(); n != w.dropped { // it may have missed anything it was told
				w.dropped = n
				clear(w.told)
				for _, other := range w.clients {
					p.hintOne(other, p.watched[other], now)
				}
			}
			if t, knows := w.told[id]; !(knows && (t.online == online || !d.news && now.Before(t.hidden))) {
				changes = append(changes, change{w, id, online})
			}
		}
	}
	// The changes of one stream go into one write.
	slices.SortFunc(changes, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.w.key.client, b.w.key.client), cmp.Compare(a.w.key.id, b.w.key.id), cmp.Compare(a.client, b.client))
	})
	return changes
}
