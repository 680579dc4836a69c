package chat

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"parley/model"
	"parley/repo"
	"parley/sse"
)

type sessionKey struct{ client, id string }

// session is what this node remembers of a session that it was the last to hold, so
// that a reconnect and a send ask the database nothing. What other nodes do to the
// session arrives by the log and drops it from here.
type session struct {
	anonymous  bool
	watches    bool   // it may subscribe to presence; else it does not
	tag        string // empty: none
	remoteAddr string
	stream     *sse.Stream // nil while unconnected
	ackAuto    bool
	endedAt    time.Time // when the last stream ended
	acked      int64     // while unconnected, and by POST /v1/acks
	// What the database has, so that only news is saved.
	savedConnected bool
	savedAcked     int64
	savedAt        time.Time
	// How far receipts have come, see receipt.go.
	owed    int64 // the last message that wants one, as far as is known of streams that ended
	reached int64 // what such streams were not given behind this position is not known
	settled int64 // nothing up to here is owed any more
}

func (e *session) position() int64 {
	if e.stream != nil && e.ackAuto {
		return max(e.acked, e.stream.Delivered())
	}
	return e.acked
}

// sessions are the ones this node remembers.
type sessions struct {
	mu    sync.Mutex
	known map[sessionKey]*session
	bell  chan struct{} // capacity 1: something should be saved soon
	// parted is what was received by sessions that are not remembered here any more, until it is saved.
	parted []repo.Received
	ended  map[string]ended // by client: streams that ended lately
}

func newSessions() *sessions {
	return &sessions{known: make(map[sessionKey]*session), ended: make(map[string]ended), bell: make(chan struct{}, 1)}
}

func (r *sessions) ring() {
	select {
	case r.bell <- struct{}{}:
	default:
	}
}

// has reports whether a session may connect again without asking anybody, its tag,
// and for how long it has been without a stream.
func (r *sessions) has(k sessionKey) (tag string, away time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.known[k]
	if e == nil || e.anonymous {
		return "", 0, false
	}
	if e.stream == nil {
		away = time.Since(e.endedAt)
	}
	return e.tag, away, true
}

// drop forgets sessions, all of a client when ids is nil: they are spent, or another
// node's. It returns those that it knew.
func (r *sessions) drop(client string, ids []string) (known []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ids == nil {
		for k := range r.known {
			if k.client == client {
				known = append(known, k.id)
			}
		}
	}
	for _, id := range ids {
		if r.known[sessionKey{client, id}] != nil {
			known = append(known, id)
		}
	}
	for _, id := range known {
		r.part(sessionKey{client, id})
	}
	return known
}

// opened notes a new stream of a session, which begins behind a position, and reports
// whether the session may subscribe to presence.
func (r *sessions) opened(k sessionKey, st *sse.Stream, q StreamRequest, anonymous bool, in LoginResult, position, acked int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.known[k]
	if e == nil {
		e = &session{savedConnected: true, savedAt: time.Now()} // storeLogins has just saved it
		r.known[k] = e
	}
	if !e.savedConnected {
		r.ring()
	}
	e.begin(position)
	e.anonymous, e.tag, e.remoteAddr, e.stream, e.ackAuto = anonymous, in.Tag, q.RemoteAddr, st, !q.AckClient
	e.acked = max(e.acked, acked)
	e.watches = e.watches || in.Watches
	return e.watches
}

// failed notes that a session logged in, but got no stream: it is as if that had broken off.
func (r *sessions) failed(k sessionKey, q StreamRequest, anonymous bool, in LoginResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.known[k]; e != nil {
		if e.stream == nil {
			e.savedConnected = true // if the database was asked, it says so now
		}
		return
	}
	now := time.Now()
	r.known[k] = &session{
		anonymous: anonymous, watches: in.Watches, tag: in.Tag, remoteAddr: q.RemoteAddr, endedAt: now, acked: in.Acked,
		savedConnected: true, savedAcked: in.Acked, savedAt: now,
	}
}

// subscribed notes that a session may subscribe to presence, and returns its stream, nil if there is none here.
func (r *sessions) subscribed(k sessionKey) *sse.Stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.known[k]
	if e == nil {
		return nil
	}
	e.watches = true
	return e.stream
}

// connected reports whether a session has a stream here.
func (r *sessions) connected(k sessionKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.known[k]
	return e != nil && e.stream != nil
}

// forgotten notes that the database does not know any more which sessions are connected.
func (r *sessions) forgotten() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.known {
		if e.stream != nil {
			e.savedConnected = false
		}
	}
	r.ring()
}

// closed notes that a stream ended, unless the session has another by now.
func (r *sessions) closed(k sessionKey, st *sse.Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.known[k]
	if e == nil || e.stream != st {
		return
	}
	e.finish()
	e.endedAt = time.Now()
	r.remember(k.client, e.acked)
	r.ring()
}

// Connected says whether a session has a stream, given what the database says: this
// node knows its own sessions better, since a break is written a little later.
func (s *Service) Connected(client, id string, stored bool) bool {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	if e := s.sessions.known[sessionKey{client, id}]; e != nil {
		return e.stream != nil
	}
	return stored
}

// acting returns the session that the caller says is calling, empty when it says
// none, or one that does not count: unknown, spent, or lost.
func (s *Service) acting(ctx context.Context, caller model.Caller) (string, error) {
	return s.callingSession(ctx, caller, false)
}

func (s *Service) callingSession(ctx context.Context, caller model.Caller, alsoLost bool) (string, error) {
	if caller.Session == "" || caller.Client == "" {
		return "", nil
	}
	s.sessions.mu.Lock()
	e := s.sessions.known[sessionKey{caller.Client, caller.Session}]
	here := e != nil && (e.stream != nil || !e.anonymous && (alsoLost || time.Since(e.endedAt) < s.Config.ReconnectGrace))
	s.sessions.mu.Unlock()
	if here {
		return caller.Session, nil
	}
	ok, err := s.Store.SessionActs(ctx, caller.Client, caller.Session, s.Config.ReconnectGrace, alsoLost)
	if err != nil || !ok {
		return "", err
	}
	return caller.Session, nil
}

// Ack notes that the calling session has everything up to a position. It fails with
// session_required, and with invalid_request when the position is not one of ours or to come.
func (s *Service) Ack(ctx context.Context, caller model.Caller, position string) error {
	if err := caller.NeedClient(); err != nil {
		return err
	}
	at, ok := model.ParsePosition(s.Hub.Name(), position)
	if ok && at > s.Hub.Position() {
		log, err := s.Store.Log(ctx)
		if err != nil {
			return err
		}
		ok = at <= log.Head
	}
	if !ok {
		return model.Invalid("position", "must be a position of this server's stream, such as the id of an event")
	}
	id, err := s.callingSession(ctx, caller, true)
	if err != nil {
		return err
	}
	if id == "" {
		return model.NewError(model.SessionRequired, "say which session has received: name it in the header Parley-Session")
	}
	s.sessions.mu.Lock()
	e := s.sessions.known[sessionKey{caller.Client, id}]
	if e != nil {
		e.receive(at)
	} else {
		s.sessions.parted = append(s.sessions.parted, repo.Received{ClientID: caller.Client, Position: at})
	}
	s.sessions.mu.Unlock()
	if e != nil {
		return nil // saved with the next heartbeat
	}
	return s.Store.AckSession(ctx, caller.Client, id, at)
}

// Logout ends a session of the caller as planned: its stream ends, presence is
// offline at once, and the id is spent. It fails with session_not_found.
func (s *Service) Logout(ctx context.Context, caller model.Caller, id string) error {
	if err := caller.NeedClient(); err != nil {
		return err
	}
	now := nowMS()
	err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		if err := tx.LockClients(ctx, []string{caller.Client}); err != nil {
			return nil, err
		}
		row, err := tx.Session(ctx, caller.Client, id)
		if errors.Is(err, sql.ErrNoRows) || err == nil && row.SpentAt != nil {
			return nil, errSessionNotFound()
		}
		if err != nil {
			return nil, err
		}
		if err := tx.SpendSession(ctx, caller.Client, id, "", now); err != nil {
			return nil, err
		}
		return []*model.Event{closing(model.SessionsClosed{
			ClientID: caller.Client, Sessions: []string{id}, Event: "session_closed", Spent: true,
			Frame: sse.SessionClosed{Code: "logged_out", At: now},
		}, now)}, nil
	})
	if err == nil {
		s.sessions.drop(caller.Client, []string{id}) // the event comes soon, but this answer must not be overtaken
	}
	return err
}

func errSessionNotFound() error {
	return model.NewError(model.SessionNotFound, "you have no such session")
}

// Kick ends all streams of a client, spends their sessions, and refuses every token
// of the client that was issued up to now. The client need not be known.
func (s *Service) Kick(ctx context.Context, client, reason string) error {
	now := nowMS()
	err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		if err := tx.LockClients(ctx, []string{client}); err != nil {
			return nil, err
		}
		if err := tx.Revoke(ctx, client, now); err != nil {
			return nil, err
		}
		if err := tx.SpendAllSessions(ctx, client, now); err != nil {
			return nil, err
		}
		data, err := json.Marshal(model.ClientRevoked{ClientID: client, Through: now})
		if err != nil {
			return nil, err
		}
		return []*model.Event{
			{Kind: model.EventClientRevoked, Audience: model.ToNobody, Data: data, At: now},
			closing(model.SessionsClosed{
				ClientID: client, Event: "session_closed", Spent: true,
				Frame: sse.SessionClosed{Code: "kicked", LegacyCode: 4115, Reason: reason, At: now},
			}, now),
		}, nil
	})
	if err == nil {
		s.revoked.set(client, now) // the event comes soon, but this answer must not be overtaken
		s.sessions.drop(client, nil)
	}
	return err
}

// closing is the event that ends sessions on whichever node holds them.
func closing(c model.SessionsClosed, now model.Time) *model.Event {
	data, err := json.Marshal(c)
	if err != nil {
		panic("chat: " + err.Error()) // types of ours
	}
	return &model.Event{Kind: model.EventSessionsClosed, Audience: model.ToNobody, Data: data, At: now}
}

// onNodeEvent does what an event asks of the nodes. The hub calls it in the order of the log.
func (s *Service) onNodeEvent(e model.Event) {
	if len(e.Joined) > 0 {
		s.mayNowSee(e.Joined)
	}
	var err error
	switch e.Kind {
	case model.EventSessionsClosed:
		var c struct {
			model.SessionsClosed
			Frame json.RawMessage `json:"frame"`
		}
		if err = json.Unmarshal(e.Data, &c); err == nil {
			held := s.sessions.drop(c.ClientID, c.Sessions)
			told := s.Hub.EndSessions(c.ClientID, c.Sessions, e.Position, sse.EphemeralJSON(c.Event, c.Frame), sse.Told)
			if c.Event == "conflict" && len(held) > 0 && len(told) == 0 {
				go s.noteEviction(c.ClientID, held[0], c.Frame)
			}
			s.presence.hint([]string{c.ClientID})
		}
	case model.EventSessionMoved:
		var m model.SessionMoved
		if err = json.Unmarshal(e.Data, &m); err == nil && m.Node != s.Node {
			s.sessions.drop(m.ClientID, []string{m.Session})
			s.Hub.SessionMoved(m.ClientID, m.Session, e.Position, e.At)
		}
	case model.EventClientRevoked:
		var r model.ClientRevoked
		if err = json.Unmarshal(e.Data, &r); err == nil {
			// Through travels as text to the millisecond, which is all that is compared.
			s.revoked.set(r.ClientID, r.Through)
		}
	}
	if err != nil {
		s.Log.Error("an event for the nodes cannot be read", "position", e.Position, "err", err)
	}
}

// noteEviction: the database took a session for connected whose stream had gone from
// here, so nobody was told of its eviction. It shall be when it returns.
func (s *Service) noteEviction(client, id string, frame []byte) {
	var c Conflict
	if err := json.Unmarshal(frame, &c); err != nil {
		s.Log.Error("a conflict cannot be read", "err", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if err := s.Store.NoteEviction(ctx, client, id, c.SessionID); err != nil {
		s.Log.Warn("an evicted session will not be told so", "err", err)
	}
}

// keepSaving saves what changed about sessions: who is connected within a moment,
// acknowledged positions at most once in ackEvery.
func (s *Service) keepSaving(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.sessions.bell:
			// A reconnect often follows at once, and then nothing need be written.
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s.saveSessions(ctx, false)
	}
}

const (
	ackEvery = 15 * time.Second
	// returnsWithin is how long nothing is written of a stream that broke: most come back at once.
	returnsWithin = time.Second
	// savesAtOnce is how many sessions one statement saves: it holds their rows, and must end in time.
	savesAtOnce = 2000
)

// saveSessions writes the news, all of it when last says that there is no next time. What
// cannot be written is tried again then.
func (s *Service) saveSessions(ctx context.Context, last bool) {
	s.settleReceipts(ctx)
	saves, over := s.sessions.news(time.Now(), s.Config.ReconnectGrace, last)
	for len(saves) > 0 {
		batch := saves[:min(len(saves), savesAtOnce)]
		if err := s.Store.SaveSessions(ctx, s.Node, batch); err != nil {
			s.sessions.unsaved(saves)
			s.logUnlessOver(ctx, "sessions cannot be saved just now", err)
			break
		}
		s.presence.fade(batch, s.Config.ReconnectGrace)
		saves = saves[len(batch):]
	}
	if len(over) > 0 {
		clients, ids := make([]string, len(over)), make([]string, len(over))
		for i, k := range over {
			clients[i], ids[i] = k.client, k.id
		}
		if err := s.Store.DropSessions(ctx, clients, ids); err != nil {
			s.logUnlessOver(ctx, "anonymous sessions cannot be dropped just now", err) // they are forgotten after an hour
		}
	}
}

func (s *Service) logUnlessOver(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		s.Log.Warn(what, "err", err)
	}
}

// news returns what the database does not know yet, taking it for saved, and the
// anonymous sessions that are over, which are forgotten here: not before grace is, for
// their client may come back with another, and was online all the time. last: nothing is
// put off.
func (r *sessions) news(now time.Time, grace time.Duration, last bool) (saves []repo.SessionSave, over []sessionKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetEnded(now)
	for k, e := range r.known {
		connected, acked := e.stream != nil, e.position()
		if !connected && e.anonymous && now.Sub(e.endedAt) >= max(grace, returnsWithin) {
			over = append(over, k)
			r.part(k)
			continue
		}
		moved := connected != e.savedConnected && (connected || last || now.Sub(e.endedAt) >= returnsWithin)
		if moved || acked > e.savedAcked && (last || now.Sub(e.savedAt) >= ackEvery) {
			seen := now
			if !connected {
				seen = e.endedAt
			}
			saves = append(saves, repo.SessionSave{
				ClientID: k.client, ID: k.id, RemoteAddr: e.remoteAddr, Connected: connected, LastSeenAt: seen, Acked: acked,
			})
			e.savedConnected, e.savedAcked, e.savedAt = connected, acked, now
		} else if !connected && now.Sub(e.endedAt) > 10*time.Minute {
			delete(r.known, k) // the database remembers it
		}
	}
	return saves, over
}

// unsaved takes back that saves were written.
func (r *sessions) unsaved(saves []repo.SessionSave) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range saves {
		if e := r.known[sessionKey{v.ClientID, v.ID}]; e != nil {
			e.savedConnected, e.savedAcked = !v.Connected, 0
		}
	}
}
