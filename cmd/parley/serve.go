package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"parley/repo"
)

// The end has 15 seconds: what is under way, the batches that are being written, and PostgreSQL, which takes at most 7.
const (
	requestsEnd = 5 * time.Second
	serviceEnd  = 3 * time.Second
)

// serve runs the server until ctx ends.
func serve(ctx context.Context, c config, stdout, stderr io.Writer) error {
	log := c.logger(stderr)
	// First of all, for it fails fastest. Who connects already waits until we serve.
	listeners, err := listen(ctx, c.addr)
	if err != nil {
		return err
	}
	defer closeAll(listeners)

	generated, err := c.useGenerated()
	if err != nil {
		return err
	}
	db, err := openDatabase(ctx, c, log)
	if err != nil {
		return startError(ctx, err)
	}
	defer db.close(log)
	store, err := repo.Open(ctx, db.dsn)
	if err != nil {
		return startError(ctx, err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			log.Warn("closing the database", "err", err)
		}
	}()
	a, err := wire(ctx, c, wiring{store: store, dsn: db.dsn, generated: generated, log: log})
	if err != nil {
		return startError(ctx, err)
	}
	s, err := newServers(ctx, c, a, listeners, log)
	if err != nil {
		a.close(ctx)
		return err
	}
	greet(stdout, c, generated, listeners[0].Addr().(*net.TCPAddr))
	return s.run(ctx, a)
}

// startError hides the failures that a signal during the start causes.
func startError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// logger writes to w as configured.
func (c *config) logger(w io.Writer) *slog.Logger {
	format := c.logFormat
	if format == "" {
		format = "json"
		if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			format = "text"
		}
	}
	options := &slog.HandlerOptions{Level: c.logLevel}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// servers are the HTTP server and, on an address of its own, that of the metrics.
type servers struct {
	main      *http.Server
	listeners []net.Listener
	metrics   *http.Server // nil: none
	inside    []net.Listener
	tls       bool
	log       *slog.Logger
}

func newServers(ctx context.Context, c config, a *app, listeners []net.Listener, log *slog.Logger) (*servers, error) {
	s := &servers{listeners: listeners, log: log, main: newServer(a.handler, log)}
	if c.tlsCert != "" {
		cert, err := newCertificate(c.tlsCert, c.tlsKey, log)
		if err != nil {
			return nil, err
		}
		s.main.TLSConfig, s.tls = cert.config(), true
	}
	if c.metricsAddr != "" {
		inside, err := listen(ctx, c.metricsAddr)
		if err != nil {
			return nil, err
		}
		s.metrics, s.inside = newServer(a.metrics, log), inside
	}
	return s, nil
}

func newServer(h http.Handler, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:   h,
		Protocols: &protocols,
		// No ReadTimeout: net/http takes it for the life of a stream as well.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 1000, // a proxy brings the streams of many clients on one connection
			SendPingTimeout:      15 * time.Second,
			PingTimeout:          15 * time.Second,
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // strangers' broken handshakes
	}
}

// run serves until ctx ends or a listener fails, and then ends in order.
func (s *servers) run(ctx context.Context, a *app) error {
	failed := make(chan error, len(s.listeners)+len(s.inside))
	var serving sync.WaitGroup
	for _, l := range s.listeners {
		serving.Go(func() { failed <- s.serve(l) })
	}
	for _, l := range s.inside {
		serving.Go(func() { failed <- s.metrics.Serve(l) })
	}
	var err error
	select {
	case <-ctx.Done():
		s.log.Info("stopping")
	case err = <-failed:
		err = fmt.Errorf("serve: %w", err)
	}
	s.stop(a)
	serving.Wait()
	return err
}

func (s *servers) serve(l net.Listener) error {
	if s.tls {
		return s.main.ServeTLS(l, "", "")
	}
	return s.main.Serve(l)
}

// stop ends what the servers do, last come first gone. ctx has ended already, so
// each step has a time of its own.
func (s *servers) stop(a *app) {
	// Streams end by themselves only when they are told to, and Shutdown waits for them.
	s.main.RegisterOnShutdown(a.drain)
	ctx, cancel := context.WithTimeout(context.Background(), requestsEnd)
	defer cancel()
	if err := s.main.Shutdown(ctx); err != nil {
		if !errors.Is(err, context.DeadlineExceeded) {
			s.log.Warn("stopping the HTTP server", "err", err)
		}
		_ = s.main.Close() // cuts what took too long
	}
	if s.metrics != nil {
		_ = s.metrics.Close()
	}
	ctx, cancel = context.WithTimeout(context.Background(), serviceEnd)
	defer cancel()
	a.close(ctx) // no request can come any more
}
