package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"parley/api"
	"parley/chat"
	"parley/handlers"
	"parley/repo"
	"parley/sse"
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
	svc := chat.New(chat.Config{
		DSN:              w.dsn,
		ReconnectGrace:   c.reconnectGrace,
		EventRetention:   c.eventRetention,
		MessageRetention: c.messageRetention,
		StreamsPerClient: c.streamsPerClient,
		RequireGrants:    c.requireGrants,
		SeatGrace:        c.seatGrace,
	}, w.store, w.log)
	if err := svc.Start(ctx); err != nil {
		return nil, err
	}
	registry := newRegistry(w.store, svc.Hub)
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
			Log:              w.log,
		}, h),
		metrics: metricsOnly(registry),
		drain:   func() { draining.Store(true); svc.Drain(context.Background()) },
		close:   svc.Close,
	}, nil
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
func newRegistry(store *repo.Store, hub *sse.Hub) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewDBStatsCollector(store.DB(), "parley"),
	)
	stats := &hub.Stats
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
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "parley", Name: "streams", Help: "Streams open now."},
		func() float64 { return float64(stats.Streams.Load()) }))
	return r
}
