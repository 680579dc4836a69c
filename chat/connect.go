package chat

import (
	"context"
	"crypto/rand"
	mrand "math/rand/v2"
	"time"

	"parley/model"
	"parley/repo"
	"parley/sse"
)

// StreamRequest is what a client asks of its stream.
type StreamRequest struct {
	Session         string // empty: the server names one, for this connection alone
	Tag             string // empty: none
	Reopen          bool
	Position        string // the last event id; empty: a fresh start
	OfflineMessages bool   // a fresh start also delivers unread messages, not the counts alone
	AckClient       bool   // only POST /v1/acks, or a resume, means delivered
	Heartbeat       int    // seconds, 5 to 60
	RemoteAddr      string
}

// Connection is what a request for a stream leads to.
type Connection struct {
	// Stream is to be served; nil when Farewell is the answer.
	Stream *sse.Opening
	// Farewell is all that the stream says before it ends.
	Farewell []*sse.Frame
	// Spent: there is nothing for this session any more (204).
	Spent bool

	// Failed is to be called when Stream could not be served.
	Failed func()
}

// Ready is the data of a stream's first event.
type Ready struct {
	ClientID         string     `json:"clientId"`
	SessionID        string     `json:"sessionId"`
	Tag              *string    `json:"tag"`
	Resumed          bool       `json:"resumed"`
	Position         string     `json:"position"`
	HeartbeatSeconds int        `json:"heartbeatSeconds"`
	At               model.Time `json:"at"`
}

// Reset is the data of the event that tells a client to load its state anew.
type Reset struct {
	Reason string     `json:"reason"` // too_old or unknown
	At     model.Time `json:"at"`
}

// RetryFirst is the first frame of a stream: reconnects are spread, since all clients of a server may lose it at once.
func RetryFirst() *sse.Frame { return sse.Retry(1000 + mrand.IntN(4001)) }

// Connect logs a session in, or back in, and prepares its stream. It fails with
// session_conflict when the request says not to evict, and with unauthenticated when the
// client was kicked since its token was found good.
func (s *Service) Connect(ctx context.Context, caller model.Caller, q StreamRequest) (Connection, error) {
	if err := caller.NeedClient(); err != nil {
		return Connection{}, err
	}
	anonymous := q.Session == ""
	if anonymous {
		q.Session = rand.Text()
	}
	key := sessionKey{caller.Client, q.Session}
	in, err := s.logIn(ctx, caller, q, anonymous)
	if err != nil {
		return Connection{}, err
	}
	switch in.Outcome {
	case model.Spent:
		return Connection{Spent: true}, nil
	case model.Barred:
		return Connection{}, model.ErrRevoked()
	case model.Refused:
		return Connection{}, model.NewError(model.SessionConflict, "another session holds this tag, or this session was ended; with reopen nothing is evicted")
	case model.Conflicted:
		return Connection{Farewell: []*sse.Frame{RetryFirst(), sse.Ephemeral("conflict", conflict(in.By, in.Tag, nowMS()))}}, nil
	}
	c := Connection{Failed: func() { s.sessions.failed(key, q, anonymous, in) }}
	if c.Stream, err = s.prepare(ctx, key, q, anonymous, in); err != nil {
		c.Failed()
		return Connection{}, err
	}
	return c, nil
}

// prepare gathers what a stream begins with.
func (s *Service) prepare(ctx context.Context, key sessionKey, q StreamRequest, anonymous bool, in LoginResult) (*sse.Opening, error) {
	if err := s.lapse(ctx, key, in.Away); err != nil {
		return nil, err
	}
	at, err := s.startingPoint(ctx, q.Position)
	if err != nil {
		return nil, err
	}
	intro, err := s.intro(ctx, key, q, in, at)
	if err != nil {
		return nil, err
	}
	acked := in.Acked
	if at.resumed || !q.AckClient {
		acked = max(acked, at.position)
	}
	return &sse.Opening{
		Client: key.client, Session: q.Session, Heartbeat: q.Heartbeat, After: at.position, AsOf: in.AsOf, Intro: intro,
		Opened: func(st *sse.Stream) {
			if s.sessions.opened(key, st, q, anonymous, in, at.position, acked) {
				s.presence.read(key, nil)
			}
		},
		OnEnd: func(st *sse.Stream, _ sse.End) {
			s.sessions.closed(key, st)
			s.presence.closed(key, st)
		},
	}, nil
}

// logIn settles the session: from memory when this node was the last to hold it.
func (s *Service) logIn(ctx context.Context, caller model.Caller, q StreamRequest, anonymous bool) (LoginResult, error) {
	// One that comes back at the last moment must be seen to have come by all nodes, or it counts as lost.
	soon := max(s.Config.ReconnectGrace/2, s.Config.ReconnectGrace-2*time.Second)
	asOf := s.Hub.Dispatched() // what ends the session behind this is not known here yet
	if tag, away, ok := s.sessions.has(sessionKey{caller.Client, q.Session}); ok && away < soon {
		return LoginResult{Outcome: model.Reconnected, Tag: tag, Away: away, AsOf: asOf}, nil
	}
	// Who leaves meanwhile is logged in all the same: the answer is waited for, so that the session is then lost in order.
	return s.logins.Do(context.WithoutCancel(ctx), login{
		caller: caller, remote: q.RemoteAddr, anonymous: anonymous,
		Login: model.Login{Session: q.Session, Tag: q.Tag, Reopen: q.Reopen},
	})
}

// start is where in the log a stream begins.
type start struct {
	position int64
	resumed  bool
	reset    string // the reason, when a position was given and not found
}

// startingPoint reads the position that a client has reached.
func (s *Service) startingPoint(ctx context.Context, given string) (start, error) {
	now := start{position: s.Hub.Position()}
	if given == "" {
		return now, nil
	}
	at, ok := model.ParsePosition(s.Hub.Name(), given)
	if !ok {
		now.reset = "unknown"
		return now, nil
	}
	if at > now.position || !s.Hub.Remembers(at) {
		// Another node may be ahead of what this one knows, and only the database knows what was trimmed.
		log, err := s.Store.Log(ctx)
		if err != nil {
			return start{}, err
		}
		if at > log.Head {
			now.reset = "unknown"
			return now, nil
		}
		if at < log.Trimmed {
			now.reset = "too_old"
			return now, nil
		}
	}
	return start{position: at, resumed: true}, nil
}

// intro is what a stream says before anything of the log.
func (s *Service) intro(ctx context.Context, key sessionKey, q StreamRequest, in LoginResult, at start) ([]*sse.Frame, error) {
	ready := Ready{
		ClientID: key.client, SessionID: key.id, Resumed: at.resumed, Position: model.Position(s.Hub.Name(), at.position),
		HeartbeatSeconds: q.Heartbeat, At: nowMS(),
	}
	if in.Tag != "" {
		ready.Tag = &in.Tag
	}
	frames := []*sse.Frame{RetryFirst()}
	if at.reset == "" {
		frames = append(frames, s.Hub.Placed("ready", at.position, ready))
	} else {
		// Without an id, so that a cut between the two loses nothing: the client still names its old position.
		frames = append(frames, sse.Ephemeral("ready", ready), s.Hub.Placed("reset", at.position, Reset{at.reset, nowMS()}))
	}
	if at.resumed {
		return frames, nil
	}
	counts, err := s.unreadFrames(ctx, key.client)
	if err != nil {
		return nil, err
	}
	frames = append(frames, counts...)
	var offline []*model.Message
	if q.OfflineMessages {
		if offline, err = s.Store.OfflineMessages(ctx, key.client, offlinePerChat, offlineMessages); err != nil {
			return nil, err
		}
		for _, m := range offline { // as GET would show them
			frames = append(frames, sse.EphemeralJSON("message", model.MessageEventData(m, nil, m.SentAt)))
		}
	}
	broadcasts, err := s.broadcastFrames(ctx, key, at.position, offline)
	return append(frames, broadcasts...), err
}

const (
	countsPerEvent  = 100
	offlinePerChat  = 20
	offlineMessages = 1000
)

// unreadFrames tells all unread counts, a hundred conversations at a time, and at least once.
func (s *Service) unreadFrames(ctx context.Context, client string) ([]*sse.Frame, error) {
	now := nowMS()
	var frames []*sse.Frame
	for place := new(repo.UnreadPlace); place != nil; {
		items, next, err := s.Store.UnreadPage(ctx, client, *place, countsPerEvent)
		if err != nil {
			return nil, err
		}
		frames = append(frames, sse.Ephemeral("unread_messages_count_update",
			model.UnreadCounts{Conversations: items, More: next != nil, At: now}))
		place = next
	}
	return frames, nil
}

// RetryLater is all that a stream says that cannot be served now.
func RetryLater() *sse.Frame { return sse.Retry(2000 + mrand.IntN(8001)) }
