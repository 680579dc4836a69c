// Package cluster runs a private PostgreSQL for one program: it finds the
// installed programs, makes the database folder, starts the server on a Unix
// socket that nobody else can reach, keeps it running, and stops it with the
// program. Root drops to the user postgres, or without one to nobody.
//
// Its errors are sentences for the person who started the program: they say what
// to do.
package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Options say where and how.
type Options struct {
	// Dir is the folder of the cluster, made when it is missing. In it: pg (the database, or a symbolic link
	// to where it lies), log (what PostgreSQL says), lock.
	Dir string
	// Log is told where the database lies when it is not below Dir, and of restarts. Nil: nobody.
	Log *slog.Logger
	// Fast is for tests: what a crash of the machine would destroy is not worth a sync.
	Fast bool
}

// Cluster is a running PostgreSQL.
type Cluster struct {
	opts    Options
	lock    *os.File
	user    account
	bin     programs
	data    string // where the database really lies
	sockets string // folder of the socket
	server  *server
}

// Start makes the cluster if there is none and starts it. It takes the folder for
// itself: a second Start on it, in whatever process, fails until Stop or the end
// of the process. A server that an earlier, killed process has left behind is
// stopped first. A server that dies is started again. ctx bounds the start only.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, err
	}
	opts.Dir = dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the folder %s (%w): choose another PARLEY_DATA_DIR, or set DATABASE_URL", dir, reason(err))
	}
	c := &Cluster{opts: opts}
	if err := c.takeLock(); err != nil {
		return nil, err
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.lock.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	var err error
	if c.user, err = pickUser(c.link()); err != nil {
		return err
	}
	if c.bin, err = findPrograms(c.link()); err != nil {
		return err
	}
	if err := c.place(); err != nil {
		return err
	}
	if err := c.stopOrphan(ctx); err != nil {
		return err
	}
	if err := c.initdb(ctx); err != nil {
		return err
	}
	if err := c.makeSockets(); err != nil {
		return err
	}
	c.server = newServer(c)
	if err := c.server.start(ctx); err != nil {
		return errors.Join(err, c.removeSockets())
	}
	return nil
}

// DSN is how to connect, in the form of libpq.
func (c *Cluster) DSN() string {
	return fmt.Sprintf("host='%s' user=postgres dbname=postgres sslmode=disable", c.sockets)
}

// PID is the process id of the server; another one after a restart.
func (c *Cluster) PID() int { return c.server.pid() }

// Stop ends the server in order, within about six seconds, and lets go of the
// folder. Connections still open are cut.
func (c *Cluster) Stop() error {
	c.server.stop()
	return errors.Join(c.removeSockets(), c.lock.Close())
}

// Kill ends the server as a crash would and lets go of the folder; for tests.
func (c *Cluster) Kill() error {
	c.server.kill()
	return c.lock.Close()
}

// takeLock is held by the process, so it cannot go stale: it ends with it.
func (c *Cluster) takeLock() error {
	path := filepath.Join(c.opts.Dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write in the folder %s (%w): start parley as the user that owns it, or choose another PARLEY_DATA_DIR", c.opts.Dir, reason(err))
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		var holder int
		_, _ = fmt.Fscan(f, &holder)
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("another parley (process %d) is using the folder %s: stop it, or give this one another PARLEY_DATA_DIR", holder, c.opts.Dir)
		}
		return fmt.Errorf("cannot lock %s: %w", path, err)
	}
	if err := f.Truncate(0); err != nil {
		return errors.Join(err, f.Close())
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		return errors.Join(fmt.Errorf("cannot write %s (%w): make room on the disk", path, reason(err)), f.Close())
	}
	c.lock = f
	return nil
}

// link is the path of the database below Dir; place resolves it to data.
func (c *Cluster) link() string { return filepath.Join(c.opts.Dir, "pg") }

func (c *Cluster) logPath() string { return filepath.Join(c.opts.Dir, "log") }

// maxSocketPath is what fits in a sockaddr_un, the terminating zero excluded; macOS has the smaller one.
const maxSocketPath = 103

// socketPrefix marks the folders that we make below the temporary one.
func socketPrefix() string { return filepath.Join(os.TempDir(), "parley-socket-") }

// makeSockets makes the folder of the socket, open to the server's user alone:
// whoever can reach the socket is trusted. It lies beside the database unless the
// path would be too long.
func (c *Cluster) makeSockets() error {
	c.sockets = filepath.Join(filepath.Dir(c.data), "socket")
	if len(c.sockets)+len("/.s.PGSQL.5432") > maxSocketPath || strings.ContainsAny(c.sockets, `,'\"`) {
		// The name is fixed, so that a restart finds connections' old address valid. Who else could have made it
		// is found out by claiming it.
		sum := sha256.Sum256([]byte(c.data))
		c.sockets = socketPrefix() + hex.EncodeToString(sum[:6])
	}
	if err := os.Mkdir(c.sockets, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cannot make the folder %s for PostgreSQL's socket: %w", c.sockets, reason(err))
	}
	return c.user.claim(c.sockets)
}

func (c *Cluster) removeSockets() error {
	if strings.HasPrefix(c.sockets, socketPrefix()) {
		return os.RemoveAll(c.sockets)
	}
	return nil
}

// stopOrphan ends a server that runs on our database although we hold the lock:
// the process that had started it was killed. On Linux it has been told to end by
// then, and we only wait.
func (c *Cluster) stopOrphan(ctx context.Context) error {
	pid, ok := c.orphan()
	if !ok {
		return nil
	}
	c.opts.Log.Info("waiting for the PostgreSQL of a killed parley to end", "pid", pid)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		_ = syscall.Kill(pid, signal)
		deadline := time.Now().Add(10 * time.Second)
		for time.Now().Before(deadline) {
			if _, ok := c.orphan(); !ok {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return fmt.Errorf("a PostgreSQL (process %d) that an earlier parley left behind on %s does not end: end it with: kill -9 %d", pid, c.data, pid)
}

// orphan reads the pid file of the database. A process of that id that is not a
// server on this database is somebody else's: ids are reused. Then the pid file is
// stale, and in the way if the process is of the same user.
func (c *Cluster) orphan() (pid int, ok bool) {
	path := filepath.Join(c.data, "postmaster.pid")
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	if _, err := fmt.Sscan(string(b), &pid); err != nil || pid <= 1 {
		return 0, false
	}
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return 0, false
	}
	if !serves(pid, c.data) {
		_ = os.Remove(path)
		return 0, false
	}
	return pid, true
}

// reason strips the name of the system call and the path from an error: the sentence around it names them.
func reason(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
