package chat

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"parley/model"
	"parley/repo"
)

// login is a request to open a stream of a session that this node does not remember.
type login struct {
	caller    model.Caller
	remote    string
	anonymous bool
	model.Login
}

// LoginResult is what became of a login.
type LoginResult struct {
	Outcome model.LoginOutcome
	Tag     string // the session's: its first one
	Acked   int64
	Away    time.Duration // with Reconnected: for how long nobody held its stream
	Watches bool          // it subscribes to presence; one that is remembered here may not say so
	By      string        // with Conflicted, and with Refused for a tag: the session that holds the tag
	AsOf    int64         // the position of the log at which this was so
}

// loginRound decides a batch of logins in one transaction that holds the lock of
// each client, so that a tag has one holder whatever races.
type loginRound struct {
	node  string
	peers *peers
	asOf  int64
	now   model.Time
	known map[sessionKey]*model.KnownSession
	tags  map[sessionKey]*model.KnownSession // by client and tag
	node0 map[sessionKey]string              // who held the stream before
	acked map[sessionKey]int64
	away  map[sessionKey]time.Duration
	watch map[sessionKey]bool
	kicks map[string]model.Time // by client, the last one

	inserts []repo.SessionRow
	holds   []login
	spends  []spend
	events  []*model.Event
}

type spend struct{ client, id, by string }

// storeLogins runs a batch of logins.
func (s *Service) storeLogins(batch []login) []Answer[LoginResult] {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	answers := make([]Answer[LoginResult], len(batch))
	for todo := range rounds(batch) {
		s.storeRound(ctx, batch, todo, answers)
	}
	s.admit(ctx, batch)
	var came []string
	for i, l := range batch {
		if a := answers[i].Value; answers[i].Err == nil && (a.Outcome == model.LoggedIn || a.Outcome == model.Reconnected && a.Away >= s.Config.ReconnectGrace) {
			came = append(came, l.caller.Client)
		}
	}
	s.mayHaveChanged(model.Distinct(came))
	return answers
}

// rounds parts a batch, by index, so that of those who want one tag each comes in a
// round of its own: what one round stores is what the next finds.
func rounds(batch []login) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		todo := make([]int, len(batch))
		for i := range batch {
			todo[i] = i
		}
		for len(todo) > 0 {
			var now, later []int
			wanted := make(map[sessionKey]bool)
			for _, i := range todo {
				tag := sessionKey{batch[i].caller.Client, batch[i].Tag}
				if evicting(tag.id) && wanted[tag] {
					later = append(later, i)
					continue
				}
				wanted[tag] = true
				now = append(now, i)
			}
			if !yield(now) {
				return
			}
			todo = later
		}
	}
}

// storeRound decides and stores those logins of a batch.
func (s *Service) storeRound(ctx context.Context, batch []login, indexes []int, answers []Answer[LoginResult]) {
	logins := make([]login, len(indexes))
	for n, i := range indexes {
		logins[n] = batch[i]
	}
	var r *loginRound
	err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		var err error
		if r, err = s.loadRound(ctx, tx, logins); err != nil {
			return nil, err
		}
		for n, i := range indexes {
			answers[i] = Answer[LoginResult]{Value: r.decide(logins[n])}
		}
		return r.events, r.save(ctx, tx)
	})
	if err != nil {
		for _, i := range indexes {
			answers[i] = Answer[LoginResult]{Err: fmt.Errorf("log in: %w", err)}
		}
		return
	}
	for _, sp := range r.spends {
		s.sessions.drop(sp.client, []string{sp.id}) // the event comes soon, but an answer must not be overtaken
	}
}

// admit has the hub know the clients of a whole batch by one query, where each stream
// would else ask by itself. If it fails they do, and answer for it.
func (s *Service) admit(ctx context.Context, batch []login) {
	clients := make([]string, len(batch))
	for i, l := range batch {
		clients[i] = l.caller.Client
	}
	err := s.Hub.Admit(ctx, clients, func(since int64) (int64, map[string]model.Belongings, error) {
		return s.Store.Belongings(ctx, clients, since)
	})
	if err != nil {
		s.Log.Debug("the belongings of those who log in could not be read at once", "err", err)
	}
}

func (s *Service) loadRound(ctx context.Context, tx *repo.Store, batch []login) (*loginRound, error) {
	r := &loginRound{
		node: s.Node, peers: &s.nodes, now: nowMS(), known: map[sessionKey]*model.KnownSession{},
		tags: map[sessionKey]*model.KnownSession{}, node0: map[sessionKey]string{}, acked: map[sessionKey]int64{}, away: map[sessionKey]time.Duration{},
		watch: map[sessionKey]bool{},
	}
	seen := make(map[string]bool, len(batch))
	var clients, ids []string
	for _, l := range batch {
		if !seen[l.caller.Client] {
			seen[l.caller.Client] = true
			clients = append(clients, l.caller.Client)
		}
		ids = append(ids, l.Session)
	}
	var err error
	if r.kicks, err = tx.SeeClients(ctx, clients, r.now); err != nil {
		return nil, err
	}
	asOf, rows, err := tx.LoginSessions(ctx, clients, ids)
	if err != nil {
		return nil, err
	}
	r.asOf = asOf
	if err := s.meetPeers(ctx, tx, rows); err != nil {
		return nil, err
	}
	for _, row := range rows {
		k := &model.KnownSession{
			ID: row.ID, Tag: row.Tag.String, Connected: row.Node.Valid, Spent: row.SpentAt != nil, EvictedBy: row.EvictedBy.String,
		}
		if row.Node.String == s.Node { // a break is not written at once
			k.Connected = s.Hub.Connected(row.ClientID, row.ID)
		}
		key := sessionKey{row.ClientID, row.ID}
		r.known[key], r.node0[key], r.acked[key], r.watch[key] = k, row.Node.String, row.Acked, row.Watches
		if row.DisconnectedAt != nil && !row.Node.Valid {
			r.away[key] = r.now.Sub(row.DisconnectedAt.Time)
		}
		if evicting(k.Tag) && !k.Spent {
			r.tags[sessionKey{row.ClientID, k.Tag}] = k
		}
	}
	return r, nil
}

// meetPeers asks who lives when sessions are at a node that was not there at the last beat.
func (s *Service) meetPeers(ctx context.Context, tx *repo.Store, rows []repo.SessionRow) error {
	for _, row := range rows {
		if node := row.Node.String; node != "" && node != s.Node && !s.nodes.alive(node) {
			living, err := tx.LivingNodes(ctx)
			if err == nil {
				s.nodes.meet(living)
			}
			return err
		}
	}
	return nil
}

// decide settles one login, and notes what is to be written. Later ones of the batch see it.
func (r *loginRound) decide(l login) LoginResult {
	// The token was good when the request came, but a kick may have overtaken it.
	if at, kicked := r.kicks[l.caller.Client]; kicked && l.caller.Own && model.Revoked(l.caller.IssuedAt, at.Time) {
		return LoginResult{Outcome: model.Barred}
	}
	key := sessionKey{l.caller.Client, l.Session}
	known := r.known[key]
	tag := l.Tag
	if known != nil {
		tag = known.Tag // a reconnect keeps its first tag, whatever it says
	}
	var holder *model.KnownSession
	if evicting(l.Tag) {
		holder = r.tags[sessionKey{l.caller.Client, l.Tag}]
	}
	out := LoginResult{Outcome: model.DecideLogin(l.Login, known, holder), Tag: tag, Acked: r.acked[key], Away: r.away[key], AsOf: r.asOf, Watches: r.watch[key]}
	switch out.Outcome {
	case model.LoggedIn:
		if holder != nil {
			r.evict(l.caller.Client, holder, l.Session)
		}
		k := &model.KnownSession{ID: l.Session, Tag: tag, Connected: true}
		r.known[key], r.node0[key] = k, r.node
		if evicting(tag) {
			r.tags[sessionKey{l.caller.Client, tag}] = k
		}
		row := repo.SessionRow{ClientID: l.caller.Client, ID: l.Session, Anonymous: l.anonymous, RemoteAddr: l.remote}
		row.Tag.String, row.Tag.Valid = tag, tag != ""
		r.inserts = append(r.inserts, row)
	case model.Reconnected:
		if was := r.node0[key]; was != "" && was != r.node && r.peers.alive(was) {
			r.moved(l.caller.Client, l.Session)
		}
		r.node0[key] = r.node
		r.holds = append(r.holds, l)
	case model.Conflicted:
		out.By = known.EvictedBy
		if h := r.tags[sessionKey{l.caller.Client, known.Tag}]; h != nil { // it has gone on to another since
			out.By = h.ID
		}
		known.EvictedBy = ""
		r.spends = append(r.spends, spend{l.caller.Client, l.Session, ""})
	case model.Refused:
		if holder != nil {
			out.By = holder.ID
		}
	}
	return out
}

// evicting reports whether a tag has one holder at a time.
func evicting(tag string) bool { return tag != "" && tag != model.DefaultTag }

// evict spends the session that held a tag. If it is connected its stream is told so
// wherever it is, else it is told when it returns.
func (r *loginRound) evict(client string, holder *model.KnownSession, by string) {
	key := sessionKey{client, holder.ID}
	holder.Spent = true
	delete(r.tags, sessionKey{client, holder.Tag})
	connected := holder.Connected && (r.node0[key] == r.node || r.peers.alive(r.node0[key]))
	if !connected {
		holder.EvictedBy = by
	}
	r.spends = append(r.spends, spend{client, holder.ID, holder.EvictedBy})
	r.events = append(r.events, closing(model.SessionsClosed{
		ClientID: client, Sessions: []string{holder.ID}, Event: "conflict", Spent: true, Frame: conflict(by, holder.Tag, r.now),
	}, r.now))
}

// Conflict is the data of the event that tells a session it was evicted.
type Conflict struct {
	SessionID  string     `json:"sessionId"` // who has the tag now
	Tag        string     `json:"tag"`
	Code       model.Code `json:"code"`
	LegacyCode int        `json:"legacyCode"`
	At         model.Time `json:"at"`
}

func conflict(by, tag string, now model.Time) Conflict {
	return Conflict{SessionID: by, Tag: tag, Code: model.SessionConflict, LegacyCode: 4111, At: now}
}

// moved tells the node that held a session's stream that it is here now.
func (r *loginRound) moved(client, id string) {
	data, err := json.Marshal(model.SessionMoved{ClientID: client, Session: id, Node: r.node})
	if err != nil {
		panic("chat: " + err.Error()) // types of ours
	}
	r.events = append(r.events, &model.Event{Kind: model.EventSessionMoved, Audience: model.ToNobody, Data: data, At: r.now})
}

// save writes what was decided. Spending comes first: a tag's index has room for one holder.
func (r *loginRound) save(ctx context.Context, tx *repo.Store) error {
	for _, sp := range r.spends {
		if err := tx.SpendSession(ctx, sp.client, sp.id, sp.by, r.now); err != nil {
			return err
		}
	}
	if len(r.inserts) > 0 {
		if err := tx.InsertSessions(ctx, r.node, r.inserts, r.now); err != nil {
			return err
		}
		clients := make([]string, len(r.inserts))
		for i, row := range r.inserts {
			clients[i] = row.ClientID
		}
		if err := tx.ForgetOldest(ctx, clients, model.MaxSessions); err != nil {
			return err
		}
	}
	if len(r.holds) == 0 {
		return nil
	}
	clients, ids, addrs := make([]string, len(r.holds)), make([]string, len(r.holds)), make([]string, len(r.holds))
	for i, l := range r.holds {
		clients[i], ids[i], addrs[i] = l.caller.Client, l.Session, l.remote
	}
	return tx.HoldSessions(ctx, r.node, clients, ids, addrs, r.now)
}

// belonging asks for what is known of a client.
type belonging struct {
	client string
	since  int64
}

type belongings struct {
	asOf int64
	model.Belongings
}

// loadBelongings reads a client's stays and seats together with those of all who ask at the moment.
func (s *Service) loadBelongings(ctx context.Context, client string, since int64) (int64, model.Belongings, error) {
	out, err := s.stays.Do(ctx, belonging{client, since})
	return out.asOf, out.Belongings, err
}

func (s *Service) readBelongings(batch []belonging) []Answer[belongings] {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	clients, since := make([]string, len(batch)), batch[0].since
	for i, q := range batch {
		clients[i], since = q.client, min(since, q.since)
	}
	asOf, found, err := s.Store.Belongings(ctx, clients, since)
	if err != nil {
		return failAll[belongings](len(batch), err)
	}
	answers := make([]Answer[belongings], len(batch))
	for i, q := range batch {
		answers[i].Value = belongings{asOf, found[q.client]}
	}
	return answers
}

// Drain ends all streams, and has their clients come back spread over a few seconds.
func (s *Service) Drain(ctx context.Context) {
	s.Hub.Drain(ctx)
}
