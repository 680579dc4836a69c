package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/lib/pq"
)

// limits are how long things may take on one connection. The server enforces the
// first three; silence is ours: how long we wait for a byte that is due before
// the connection counts as dead.
type limits struct {
	statement, lock, idleInTx time.Duration
	silence                   time.Duration
	connect                   time.Duration
}

// poolLimits are for what requests do. The silence must outlast the statement,
// so that a slow statement is ended by the server, with a proper error.
var poolLimits = limits{
	statement: 10 * time.Second,
	lock:      5 * time.Second,
	idleInTx:  15 * time.Second,
	silence:   13 * time.Second,
	connect:   5 * time.Second,
}

// migrationLimits leave a migration the time it takes, but not a dead network.
var migrationLimits = limits{silence: time.Hour, connect: 10 * time.Second}

// config reads a DSN, in the form of libpq or a postgres:// URL, and adds to it what every connection of ours
// sets. What the DSN itself says wins. Over a Unix socket TLS is off, as lib/pq does by itself.
func config(dsn string, l limits) (pq.Config, error) {
	cfg, err := pq.NewConfig(dsn)
	if err != nil {
		return pq.Config{}, fmt.Errorf("DATABASE_URL: %w", err)
	}
	if cfg.ApplicationName == "" {
		cfg.ApplicationName = "parley"
	}
	if cfg.SSLMode == "" {
		cfg.SSLMode = pq.SSLModeRequire // lib/pq's default today
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = l.connect
	}
	if cfg.Runtime == nil {
		cfg.Runtime = make(map[string]string)
	}
	for name, d := range map[string]time.Duration{
		"statement_timeout":                   l.statement,
		"lock_timeout":                        l.lock,
		"idle_in_transaction_session_timeout": l.idleInTx,
	} {
		if _, set := cfg.Runtime[name]; !set && d > 0 {
			cfg.Runtime[name] = strconv.FormatInt(d.Milliseconds(), 10)
		}
	}
	return cfg, nil
}

// CheckDSN reports what is wrong with the form of a DSN, without connecting.
func CheckDSN(dsn string) error {
	_, err := pq.NewConfig(dsn)
	return err
}

// dialer makes connections that cannot hang: lib/pq waits for an answer without
// regard to the context, so on a network that swallows packets it would wait for
// ever (lib/pq issue 620).
type dialer struct {
	net.Dialer
	silence time.Duration
	listens bool // for a connection that also speaks unasked
}

// Dial is one of the three methods that lib/pq may ask for.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialTimeout is one of the three methods that lib/pq may ask for.
func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// DialContext is one of the three methods that lib/pq may ask for.
func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, silence: d.silence, listens: d.listens}, nil
}

// conn ends reads and writes after a silence, and keeps two promises that
// database/sql, which repeats a statement on another connection when the first
// was bad, needs to be safe:
//   - before the first byte of a statement it looks whether the server has hung up
//     meanwhile. Such a failure happens before anything was sent: repeating is right;
//   - a connection that ends while an answer is due is no plain EOF, which lib/pq
//     takes for "bad, repeat": the statement may have been executed, and sends would
//     be stored twice.
type conn struct {
	net.Conn
	silence time.Duration
	listens bool      // read and written by two goroutines at once
	sent    bool      // since the last read; unused when it listens
	until   time.Time // while lib/pq connects, the end of its patience; else zero
}

// SetDeadline is called by lib/pq before and after its handshake.
func (c *conn) SetDeadline(t time.Time) error {
	c.until = t
	return nil
}

func (c *conn) deadline() time.Time {
	t := time.Now().Add(c.silence)
	if !c.until.IsZero() && c.until.Before(t) {
		return c.until
	}
	return t
}

func (c *conn) Read(b []byte) (int, error) {
	if !c.listens {
		c.sent = false
	}
	if err := c.SetReadDeadline(c.deadline()); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	if errors.Is(err, io.EOF) {
		err = &net.OpError{Op: "read", Net: "postgres", Addr: c.RemoteAddr(), Err: io.ErrUnexpectedEOF}
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if !c.listens && !c.sent {
		if err := c.idle(); err != nil {
			return 0, err
		}
		c.sent = true
	}
	if err := c.SetWriteDeadline(c.deadline()); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

var errHungUp = errors.New("the server has ended the connection")

// idle fails when the server has hung up or said its farewell: when anything is
// there to read although nothing was asked. It never blocks.
func (c *conn) idle() error {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var peek error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, peek = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	switch {
	case err != nil:
		return err
	case errors.Is(peek, syscall.EAGAIN) || errors.Is(peek, syscall.EINTR):
		return nil
	case peek != nil:
		return os.NewSyscallError("recvfrom", peek)
	}
	return errHungUp // nothing to read: closed; something: the notice that it will be
}
