package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"parley/api"
	"parley/chat"
	"parley/files"
	"parley/handlers"
	"parley/repo"
)

// wiring is what there is before the parts are put together.
type wiring struct {
	store     *repo.Store
	dsn       string
	generated bool // the key is one that parley made
	log       *slog.Logger
}

// app is the program put together.
type app struct {
	handler http.Handler
	metrics http.Handler          // for an address of its own
	drain   func()                // ends the streams; requests still work
	close   func(context.Context) // finishes what was asked for, and ends all else
}

// wire puts the parts together and sets them going.
func wire(ctx context.Context, c config, w wiring) (*app, error) {
	keys, err := api.NewKeys(c.keys(w.log))
	if err != nil {
		return nil, err
	}
	store, err := c.openFiles()
	if err != nil {
		return nil, err
	}
	svc := chat.New(chat.Config{
		DSN:              w.dsn,
		ReconnectGrace:   c.reconnectGrace,
		EventRetention:   c.eventRetention,
		MessageRetention: c.messageRetention,
		ConversationIdle: c.conversationIdle,
		StreamsPerClient: c.streamsPerClient,
		Files:            chat.FileConfig{Store: store, MaxBytes: min(int64(c.fileMaxBytes), 1<<50), PublicURL: c.publicURL},
		RequireGrants:    c.requireGrants,
		SeatGrace:        c.seatGrace,
		NoEdits:          !c.messageEdit,
		NoRecalls:        !c.messageRecall,
	}, w.store, w.log)
	if err := svc.Start(ctx); err != nil {
		return nil, err
	}
	registry := newRegistry(w.store, svc)
	var draining atomic.Bool
	h := &handlers.Handlers{Chat: svc, Store: w.store, Config: handlers.Config{MessageMaxBytes: int64(c.messageMaxBytes)}}
	return &app{
		handler: api.New(api.Config{
			Keys:             keys,
			Revoked:          svc.Revoked,
			RedeemTicket:     svc.RedeemTicket,
			Grants:           len(c.requireGrants) > 0,
			Unavailable:      repo.IsUnavailable,
			Ready:            readiness(w.store, &draining),
			AllowedOrigins:   c.origins,
			PublicURL:        c.publicURL,
			LocalHostsOnly:   w.generated,
			TrustedProxies:   c.trustedProxies,
			Limits:           c.limits,
			Metrics:          registry,
			MetricsElsewhere: c.metricsAddr != "",
			Demo:             c.demoPage(w.generated),
			Log:              w.log,
		}, h),
		metrics: metricsOnly(registry),
		drain:   func() { draining.Store(true); svc.Drain(context.Background()) },
		close:   svc.Close,
	}, nil
}

// demoTokenLife is how long a token is good for that the page gets; it asks again before that.
const demoTokenLife = time.Hour

// serveDemo reports whether there is a page at /: unless somebody decided, with the generated key.
func (c *config) serveDemo(generated bool) bool {
	if c.demo != nil {
		return *c.demo
	}
	return generated
}

// demoPage is the page at /. Only with the generated key, which serves this machine alone, everybody may sign in as anybody.
func (c *config) demoPage(generated bool) *api.Demo {
	if !c.serveDemo(generated) {
		return nil
	}
	if !generated {
		return &api.Demo{}
	}
	return &api.Demo{Token: func(client string) (string, error) {
		return c.sign(client, false, demoTokenLife, time.Now())
	}}
}

// openFiles opens the file store.
func (c *config) openFiles() (files.Store, error) {
	if c.fileStore == "disk" {
		return files.OpenDisk(filepath.Join(c.dataDir, "files"))
	}
	s3, err := files.ParseS3(c.fileStore)
	if err != nil {
		return nil, err
	}
	s3.Key, s3.Secret, s3.MaxBytes = c.s3Key, c.s3Secret, int64(c.fileMaxBytes)
	return files.OpenS3(s3)
}

// readiness says whether requests should come here: not while the server stops,
// the database is away, or its schema is older than the program.
func readiness(store *repo.Store, draining *atomic.Bool) func(context.Context) error {
	var migrated atomic.Bool // once is enough: migrations only go forward
	return func(ctx context.Context) error {
		if draining.Load() {
			return errors.New("the server is stopping")
		}
		if migrated.Load() {
			return store.Ping(ctx)
		}
		ok, err := store.Migrated(ctx)
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("migrations are missing")
		}
		migrated.Store(true)
		return nil
	}
}

func metricsOnly(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

// newRegistry holds what the program measures; api adds what it knows of requests.
func newRegistry(store *repo.Store, svc *chat.Service) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewDBStatsCollector(store.DB(), "parley"),
	)
	stats := &svc.Hub.Stats
	for _, m := range []struct {
		name, help string
		value      *atomic.Int64
	}{
		{"frames_total", "Frames written to streams.", &stats.Frames},
		{"writes_total", "Writes to connections that they took.", &stats.Writes},
		{"overflows_total", "Times that a stream fell behind and was to be refilled.", &stats.Overflows},
		{"refills_memory_total", "Refills of streams served from memory.", &stats.FromMemory},
		{"refills_log_total", "Refills of streams read from the database.", &stats.FromLog},
		{"holes_total", "Times that the dispatcher read the log, for what other servers wrote.", &stats.Holes},
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "parley", Subsystem: "stream", Name: m.name, Help: m.help},
			func() float64 { return float64(m.value.Load()) }))
	}
	for priority, value := range map[string]*atomic.Int64{"normal": &stats.ShedNormal, "low": &stats.ShedLow} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "parley", Subsystem: "stream", Name: "shed_total",
			Help:        "Chatroom messages not given to a stream that could not keep up.",
			ConstLabels: prometheus.Labels{"priority": priority},
		}, func() float64 { return float64(value.Load()) }))
	}
	for what, value := range svc.Removed.All() {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "parley", Subsystem: "house", Name: "removed_total",
			Help:        "What this server has removed because its time was over.",
			ConstLabels: prometheus.Labels{"what": what},
		}, func() float64 { return float64(value.Load()) }))
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "parley", Name: "streams", Help: "Streams open now."},
		func() float64 { return float64(stats.Streams.Load()) }))
	return r
}
