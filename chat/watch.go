package chat

import (
	"context"
	"slices"
	"time"

	"parley/model"
	"parley/repo"
	"parley/sse"
)

const (
	presenceEvery  = 5 * time.Second       // how often those who are watched are looked at when nobody says anything
	watchesEvery   = 10 * time.Second      // how often the lists are compared with what is stored
	presenceSettle = 20 * time.Millisecond // changes come in crowds
	presenceBatch  = 2000                  // clients looked at by one statement
	pairsBatch     = 1000                  // pairs of who watches whom, likewise
)

// keepPresence tells the streams of this node of those they watch.
func (s *Service) keepPresence(ctx context.Context) {
	lists := time.Now().Add(watchesEvery)
	for {
		select {
		case <-s.presence.bell:
			select { // what comes in a crowd is asked about at once
			case <-time.After(presenceSettle):
			case <-ctx.Done():
				return
			}
		case <-time.After(s.presence.wait(time.Now(), lists)):
		case <-ctx.Done():
			return
		}
		if now := time.Now(); !now.Before(lists) {
			lists = now.Add(watchesEvery)
			if err := s.compareWatches(ctx); err != nil {
				s.logUnlessOver(ctx, "presence subscriptions cannot be compared just now", err)
			}
		}
		if err := s.watchOnce(ctx); err != nil {
			s.logUnlessOver(ctx, "presence cannot be looked up just now", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
}

// watchOnce does what is due.
func (s *Service) watchOnce(ctx context.Context) error {
	var lost []string
	for _, k := range s.presence.faded(time.Now()) {
		if !s.sessions.connected(k) {
			lost = append(lost, k.client)
		}
	}
	s.mayHaveChanged(model.Distinct(lost))
	if err := s.readWatches(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		ids := s.presence.due(time.Now(), presenceBatch)
		if len(ids) == 0 {
			return nil
		}
		if err := s.lookAt(ctx, ids); err != nil {
			s.presence.putOff(ids, time.Now().Add(time.Second))
			return err
		}
	}
	return nil
}

// compareWatches finds the lists that changed without our hearing of it.
func (s *Service) compareWatches(ctx context.Context) error {
	stored, err := s.Store.HeldSubscriptions(ctx, s.Node)
	if err != nil {
		return err
	}
	for _, sub := range stored {
		k := sessionKey{sub.ClientID, sub.SessionID}
		st := s.sessions.subscribed(k)
		if st == nil {
			continue
		}
		s.presence.mu.Lock()
		w := s.presence.watches[k]
		s.presence.mu.Unlock()
		if w == nil || w.revision != sub.Revision {
			s.presence.read(k, st)
		}
	}
	return nil
}

// readWatches reads the lists that are to be read.
func (s *Service) readWatches(ctx context.Context) error {
	p := s.presence
	p.mu.Lock()
	unread := p.unread
	p.unread = make(map[sessionKey]*sse.Stream)
	p.mu.Unlock()
	if len(unread) == 0 {
		return nil
	}
	clients, ids := make([]string, 0, len(unread)), make([]string, 0, len(unread))
	for k := range unread {
		clients, ids = append(clients, k.client), append(ids, k.id)
	}
	subs, err := s.Store.Subscriptions(ctx, clients, ids)
	if err != nil {
		for k, answered := range unread {
			p.read(k, answered)
		}
		return err
	}
	found := make(map[sessionKey]repo.Subscription, len(subs))
	for _, sub := range subs {
		found[sessionKey{sub.ClientID, sub.SessionID}] = sub
	}
	for k, answered := range unread {
		s.watch(k, found[k], answered)
	}
	return nil
}

// watch has the stream of a session watch those on its list. It is told how all of them
// are, unless it was open already when the request was answered that made the list.
func (s *Service) watch(k sessionKey, sub repo.Subscription, answered *sse.Stream) {
	p := s.presence
	p.mu.Lock()
	defer p.mu.Unlock()
	// Asked under the lock: a stream that ends from now on comes to closed.
	st := s.sessions.subscribed(k)
	old := p.watches[k]
	if st == nil || len(sub.Watched) == 0 {
		if old != nil {
			p.drop(old)
		}
		return
	}
	w := &watch{key: k, stream: st, revision: sub.Revision, anyone: sub.Anyone, clients: sub.Watched, dropped: st.Dropped(), told: map[string]told{}}
	switch {
	case old != nil && old.stream == st && old.revision == sub.Revision:
		return
	case answered == st:
		for _, id := range sub.Watched {
			w.told[id] = told{}
		}
		for _, id := range sub.Online {
			w.told[id] = told{online: true}
		}
	}
	p.put(w, time.Now())
}

// lookAt finds out about clients and tells those who watch them.
func (s *Service) lookAt(ctx context.Context, clients []string) error {
	states, err := s.Store.Presence(ctx, clients, s.Config.ReconnectGrace)
	if err != nil {
		return err
	}
	changes := s.presence.compare(clients, states, time.Now())
	for part := range slices.Chunk(changes, pairsBatch) {
		may, err := s.maySee(ctx, part)
		if err != nil {
			return err
		}
		s.tellChanges(part, may)
	}
	return nil
}

// maySee says which of changes, sorted by who is to be told, may be told. It is asked at
// the moment of telling, since what two share may have ended.
func (s *Service) maySee(ctx context.Context, changes []change) ([]bool, error) {
	may := make([]bool, len(changes))
	var pairs []repo.Watching
	var of []int
	for from := 0; from < len(changes); {
		to := from + 1
		for to < len(changes) && changes[to].w == changes[from].w {
			to++
		}
		switch {
		case changes[from].w.anyone:
			for i := from; i < to; i++ {
				may[i] = true
			}
		case to-from > 20: // one list of acquaintances costs less
			if err := s.acquainted(ctx, changes[from:to], may[from:to]); err != nil {
				return nil, err
			}
		default:
			for i := from; i < to; i++ {
				pairs, of = append(pairs, repo.Watching{Client: changes[i].w.key.client, Watched: changes[i].client}), append(of, i)
			}
		}
		from = to
	}
	if len(pairs) == 0 {
		return may, nil
	}
	seen, err := s.Store.MaySee(ctx, pairs)
	for n, i := range of {
		may[i] = err == nil && seen[n]
	}
	return may, err
}

// acquainted is maySee for the changes of one stream.
func (s *Service) acquainted(ctx context.Context, changes []change, may []bool) error {
	ids := make([]string, len(changes))
	for i, c := range changes {
		ids[i] = c.client
	}
	seen, err := s.Store.Acquainted(ctx, changes[0].w.key.client, ids)
	for i, id := range ids {
		may[i] = seen[id]
	}
	return err
}

// tellChanges tells each stream its changes, which follow each other. What a stream does
// not take counts as untold, and is tried again when the client is looked at next.
func (s *Service) tellChanges(changes []change, may []bool) {
	now := nowMS()
	for from := 0; from < len(changes); {
		w, to := changes[from].w, from
		var news []change
		frame := new(sse.Frame)
		for ; to < len(changes) && changes[to].w == w; to++ {
			c := changes[to]
			if !may[to] {
				t := w.told[c.client]
				t.hidden = now.Add(2 * presenceEvery)
				w.told[c.client] = t
				continue
			}
			news = append(news, c)
			frame.Bytes = append(frame.Bytes, sse.Ephemeral("presence", model.Presence{ClientID: c.client, Online: c.online, At: now}).Bytes...)
		}
		if len(news) > 0 && s.Hub.Tell(w.stream, frame) {
			for _, c := range news {
				w.told[c.client] = told{online: c.online}
			}
		}
		from = to
	}
}
