// Package chat holds the verbs: each method is one thing that a client can ask
// for, which is one transaction and the events it causes. A verb validates,
// begins, locks and loads, decides (the rules are in model), writes rows and
// events, commits, and rings the hub only then. Reads do not pass through here.
//
// A Service is safe for concurrent use.
package chat

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"parley/model"
	"parley/repo"
	"parley/sse"
)

// Config is what an operator can choose about the chat.
type Config struct {
	DSN              string        // of the database, for connections beside the store's
	ReconnectGrace   time.Duration // how long a broken stream may come back before its session counts as lost
	EventRetention   time.Duration // 0: for ever
	MessageRetention time.Duration // 0: for ever
	ConversationIdle time.Duration // how long an ordinary conversation may be idle; 0: for ever
	StreamsPerClient int           // open at once; 0: no limit
	Files            FileConfig

	RequireGrants []model.GrantSwitch // the operations that a client needs a grant for
	SeatGrace     time.Duration       // how long a chatroom's seat outlives its stream
	NoEdits       bool                // clients may not edit messages
	NoRecalls     bool                // nor recall them
}

// Service does what clients ask for.
type Service struct {
	Config Config
	Store  *repo.Store
	Hub    *sse.Hub
	Log    *slog.Logger
	Node   string // names this process among those on one database

	writer    *repo.Writer
	sends     *Batcher[*sending, sent]
	reads     *Batcher[reading, model.ReadState]
	logins    *Batcher[login, LoginResult]
	stays     *Batcher[belonging, belongings]
	seats     *Batcher[repo.SeatRequest, struct{}]
	stats     *Batcher[struct{}, model.Stats]
	posts     *Batcher[*posting, sent]
	news      *Batcher[string, heard]
	sessions  *sessions
	kinds     *otter.Cache[string, model.Kind]
	revoked   revocations
	fileKey   fileKey
	nodes     peers
	presence  *presence
	Removed   Removed // by the cleaner
	cleaning  sync.Mutex
	cleanedTo string // the last client that the cleaner has looked at; guarded by cleaning

	stop    context.CancelFunc
	running sync.WaitGroup
}

// New prepares a service; Start sets it going.
func New(cfg Config, store *repo.Store, log *slog.Logger) *Service {
	s := &Service{Config: cfg, Store: store, Log: log, Node: rand.Text()}
	s.sessions = newSessions()
	s.presence = newPresence()
	s.kinds = otter.Must(&otter.Options[string, model.Kind]{MaximumSize: 100_000})
	s.nodes.bell = make(chan struct{}, 1)
	return s
}

// Start reads the log's end and begins to dispatch. Close ends it.
func (s *Service) Start(ctx context.Context) error {
	log, err := s.Store.Log(ctx)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	if s.writer, err = repo.OpenWriter(s.Config.DSN); err != nil {
		return err
	}
	s.Hub, err = sse.NewHub(sse.Config{Streams: s.Config.StreamsPerClient}, log.Name, log.Head, sse.Source{
		Events:       s.Store.Events,
		ClientEvents: s.Store.ClientEvents,
		Belongings:   s.loadBelongings,
	}, s.Log)
	if err != nil {
		return err
	}
	s.Hub.OnNodeEvent = s.onNodeEvent
	if err := s.loadRevocations(ctx); err != nil {
		return err
	}
	if err := s.Hub.Warm(ctx, log.Trimmed); err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	s.startBatchers()
	var background context.Context
	background, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.beat(ctx); err != nil {
		return err
	}
	for _, loop := range []func(context.Context){s.Hub.Run, s.keepBeating, s.keepSaving, s.keepHouse, s.keepExpiring, s.keepWills, s.keepPresence, s.listen, s.tellPeers} {
		s.running.Go(func() { loop(background) })
	}
	return nil
}

func (s *Service) startBatchers() {
	s.sends = NewBatcher(256, s.storeSends)
	s.reads = NewBatcher(256, s.storeReads)
	s.logins = NewBatcher(1000, s.storeLogins)
	s.seats = NewBatcher(500, s.storeSeats)
	s.stats = NewBatcher(1000, s.count)
	s.stays = NewBatcher(500, s.readBelongings)
	s.posts = NewBatcher(64, s.storePosts)
	s.news = NewBatcher(500, s.readHeard)
}

// Close ends the streams in order, finishes what was asked for, and says goodbye
// to the other nodes. The store stays open.
func (s *Service) Close(ctx context.Context) {
	s.Drain(ctx)
	s.sends.Close()
	s.reads.Close()
	s.logins.Close()
	s.seats.Close()
	s.stats.Close()
	s.stays.Close()
	s.posts.Close()
	s.news.Close()
	s.stop()
	s.running.Wait()
	s.saveSessions(ctx, true)
	if err := s.Store.LeaveNode(ctx, s.Node); err != nil {
		s.Log.Warn("the other nodes will find out by themselves that this one stopped", "err", err)
	}
	if err := s.writer.Close(); err != nil {
		s.Log.Warn("closing the writer's connection", "err", err)
	}
}

// write runs one verb: decide loads, decides and writes rows in a transaction and
// returns the events it causes, which are put at the end of the log under the lock
// of its head. The hub is rung after the commit. decide may run more than once.
func (s *Service) write(ctx context.Context, decide func(tx *repo.Store) ([]*model.Event, error)) error {
	var last int64
	err := s.Store.InTx(ctx, func(tx *repo.Store) error {
		last = 0
		events, err := decide(tx)
		if err != nil || len(events) == 0 {
			return err
		}
		if err := tx.Append(ctx, events...); err != nil {
			return err
		}
		last = events[len(events)-1].Position
		return nil
	})
	if err != nil {
		return err
	}
	if last > 0 {
		s.Hub.Committed(last)
		s.nodes.ring()
	}
	return nil
}

// kindOf is the kind of a conversation, which never changes; 0 when there is none.
func (s *Service) kindOf(ctx context.Context, id string) (model.Kind, error) {
	if k, ok := s.kinds.GetIfPresent(id); ok {
		return k, nil
	}
	k, err := s.Store.KindOf(ctx, id)
	if err == nil && k != 0 {
		s.kinds.Set(id, k)
	}
	return k, err
}

// nowMS is the server's clock, to the millisecond that clients see.
func nowMS() model.Time { return model.At(time.Now()) }

func errClosing() error {
	e := model.NewError(model.Unavailable, "the server is stopping: try again soon")
	e.RetryAfter = 2
	return e
}

// asError returns the *model.Error in err, nil if there is none.
func asError(err error) *model.Error {
	var e *model.Error
	errors.As(err, &e)
	return e
}
