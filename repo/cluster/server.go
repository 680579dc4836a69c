package cluster

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lib/pq"
)

// settings of every cluster. They are given on the command line, so a change here
// reaches databases that exist.
var settings = []string{
	"listen_addresses=",
	"unix_socket_permissions=0700",
	"max_connections=200",
	"shared_buffers=128MB",
	"work_mem=8MB",
	"fsync=on",
	"synchronous_commit=on",
	"max_wal_size=2GB", // fewer checkpoints, which cost the sends beside them the most
	"min_wal_size=256MB",
	"checkpoint_timeout=15min",
	"checkpoint_completion_target=0.9",
	"jit=off",                           // our queries are short: compiling costs more than it gains
	"max_parallel_workers_per_gather=0", // likewise
	"random_page_cost=1.1",
	"log_line_prefix=%m [%p] ",
	"logging_collector=off",
}

// fast settings come on top for tests: a crash of the machine may destroy everything.
var fast = []string{
	"fsync=off",
	"synchronous_commit=off",
	"full_page_writes=off",
	"wal_level=minimal",
	"max_wal_senders=0",
	"checkpoint_timeout=1h",
	"shared_buffers=64MB",
}

// server keeps one postgres running.
type server struct {
	c *Cluster

	mu       sync.Mutex
	process  *process
	stopping bool
	closing  chan struct{} // closed when stopping is set
	done     chan struct{} // closed when nothing runs any more
}

// process is one run of postgres.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	since  int64 // size of the log when it started
}

func newServer(c *Cluster) *server {
	return &server{c: c, closing: make(chan struct{}), done: make(chan struct{})}
}

// start returns when the server answers.
func (s *server) start(ctx context.Context) error {
	p, err := s.run(ctx)
	if err != nil {
		return err
	}
	go s.keepRunning(p)
	return nil
}

// run starts a process and waits until it answers.
func (s *server) run(ctx context.Context) (*process, error) {
	// The workers of a killed server take a moment to notice, and hold its shared memory until then.
	for deadline := time.Now().Add(15 * time.Second); ; {
		p, err := s.launch()
		if err != nil {
			return nil, err
		}
		err = s.ready(ctx, p)
		if err == nil {
			return p, nil
		}
		_ = syscall.Kill(p.cmd.Process.Pid, syscall.SIGQUIT)
		<-p.exited
		if !errors.Is(err, errTooSoon) || time.Now().After(deadline) {
			return nil, err
		}
		if !s.pause(ctx, 100*time.Millisecond) {
			return nil, err
		}
	}
}

// launch starts a process. The thread that does is kept until the process ends:
// on Linux its end is what tells the child of ours.
func (s *server) launch() (*process, error) {
	logFile, size, err := s.openLog()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: s.command(logFile), exited: make(chan struct{}), since: size}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil, errors.Join(errors.New("stopping"), logFile.Close())
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := p.cmd.Start()
		started <- errors.Join(err, logFile.Close())
		if err == nil {
			_ = p.cmd.Wait() // how it ended is in its log
		}
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start PostgreSQL: %w", err)
	}
	s.process = p
	return p, nil
}

func (s *server) command(logFile *os.File) *exec.Cmd {
	args := []string{"-D", s.c.data, "-c", "unix_socket_directories=" + s.c.sockets}
	list := settings
	if s.c.opts.Fast {
		list = append(list[:len(list):len(list)], fast...)
	}
	for _, setting := range list {
		args = append(args, "-c", setting)
	}
	cmd := exec.Command(s.c.bin.path("postgres"), args...)
	cmd.Dir = s.c.data
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = dyingWithUs(s.c.user, s.c.opts.Fast)
	return cmd
}

// maxLog is the size at which the log becomes log.old at the next start.
const maxLog = 16 << 20

func (s *server) openLog() (*os.File, int64, error) {
	path := s.c.logPath()
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		_ = os.Rename(path, path+".old") // else it grows on
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot write %s (%w): start parley as the user that owns it, or choose another PARLEY_DATA_DIR", path, reason(err))
	}
	size, err := f.Seek(0, io.SeekEnd)
	return f, size, err
}

// errTooSoon: the predecessor has not let go of everything.
var errTooSoon = errors.New("an earlier PostgreSQL is still ending")

// ready waits until p answers. After a crash it first recovers, which takes the time it takes.
func (s *server) ready(ctx context.Context, p *process) error {
	connector, err := pq.NewConnector(s.c.DSN())
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	slow := time.Now().Add(10 * time.Second)
	for {
		if db.PingContext(ctx) == nil {
			return nil
		}
		if time.Now().After(slow) {
			slow = slow.Add(10 * time.Second)
			s.c.opts.Log.Info("PostgreSQL is still starting, after a crash it recovers first", "log", s.c.logPath())
		}
		select {
		case <-p.exited:
			return s.failure(p)
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closing:
			return errors.New("stopping")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// failure says why a process ended before it answered, as its log tells.
func (s *server) failure(p *process) error {
	said, err := os.ReadFile(s.c.logPath())
	if err != nil {
		return err
	}
	said = said[min(p.since, int64(len(said))):]
	for _, sign := range []string{"pre-existing shared memory block", "lock file \"postmaster.pid\" already exists", "lock file \"" + s.c.sockets} {
		if bytes.Contains(said, []byte(sign)) {
			return errTooSoon
		}
	}
	why := "it said nothing"
	for line := range strings.Lines(string(said)) {
		if _, message, ok := strings.Cut(line, "FATAL:"); ok {
			why = strings.TrimSpace(message)
		}
	}
	return fmt.Errorf("PostgreSQL does not start on %s: %s: see %s", s.c.data, why, s.c.logPath())
}

// keepRunning starts the server again whenever it ends by itself.
func (s *server) keepRunning(p *process) {
	defer close(s.done)
	for {
		<-p.exited
		for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
			if !s.pause(context.Background(), wait) {
				return
			}
			s.c.opts.Log.Warn("PostgreSQL has ended by itself, starting it again", "log", s.c.logPath())
			next, err := s.run(context.Background())
			if err == nil {
				p = next
				break
			}
			s.c.opts.Log.Error("cannot start PostgreSQL again", "err", err)
		}
	}
}

// pause reports whether to go on after a while.
func (s *server) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-s.closing:
		return false
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (s *server) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process.cmd.Process.Pid
}

// stop asks for a fast shutdown, then an immediate one, then insists.
func (s *server) stop() {
	p := s.close()
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, 4 * time.Second}, {syscall.SIGQUIT, 2 * time.Second}, {syscall.SIGKILL, time.Second}} {
		s.signal(p, step.signal)
		select {
		case <-p.exited:
			<-s.done
			return
		case <-time.After(step.wait):
		}
	}
}

func (s *server) kill() {
	p := s.close()
	s.signal(p, syscall.SIGKILL)
	<-p.exited
	<-s.done
}

// signal reaches p unless it has ended, when its id may be another's.
func (s *server) signal(p *process, signal syscall.Signal) {
	select {
	case <-p.exited:
	default:
		_ = p.cmd.Process.Signal(signal) // fails when it has just ended
	}
}

func (s *server) close() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.stopping = true
		close(s.closing)
	}
	return s.process
}
