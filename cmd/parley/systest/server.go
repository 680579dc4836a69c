// Package systest drives parley from outside for the system tests: it builds the
// program, runs it as processes of its own on free ports, calls it over HTTP and
// listens to its streams the way clients do. It knows API.md and nothing of the
// packages that answer.
package systest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Secret signs the tokens of every server here.
const Secret = "k1:correct-horse-battery-staple-0123456789abcdef"

var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Program is the path of parley, built once per test process, with the race detector if the test has it.
func Program(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("/tmp", "parley-program-"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "parley")
		args := []string{"build", "-o", built.path}
		if raced {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, "parley/cmd/parley")...).CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("build parley: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// CleanUp removes what Program made. It is for TestMain.
func CleanUp() {
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
}

// Server is a parley process, or one that was.
type Server struct {
	Addr string // host:port, the same over restarts
	TLS  bool

	t    testing.TB
	env  []string
	args []string
	log  *buffer
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has been waited for
}

// Start runs parley serve until the test ends, and waits until it is ready. dsn empty
// stands for a private database. The settings are "NAME=value" and win over those here.
func Start(t testing.TB, dsn string, settings ...string) *Server {
	t.Helper()
	s := New(t, dsn, settings...)
	s.Launch()
	s.AwaitReady()
	return s
}

// New is Start without starting.
func New(t testing.TB, dsn string, settings ...string) *Server {
	t.Helper()
	s := &Server{Addr: fmt.Sprintf("127.0.0.1:%d", freePort(t)), t: t, log: new(buffer)}
	s.env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GORACE=halt_on_error=1 exitcode=66",
		"PARLEY_ADDR=" + s.Addr, "DATABASE_URL=" + dsn, "PARLEY_DATA_DIR=" + Folder(t), "PARLEY_JWT_SECRETS=" + Secret,
		"PARLEY_LIMIT_SENDS=0", "PARLEY_LIMIT_READS=0", "PARLEY_LIMIT_OTHER=0", "PARLEY_LOG_FORMAT=text", "PARLEY_LOG_LEVEL=warn",
	}, settings...)
	t.Cleanup(func() {
		if s.running() {
			s.Kill()
		}
		if t.Failed() {
			t.Logf("the log of %s ends:\n%s", s.Addr, s.log.tail(6000))
		}
	})
	return s
}

// URL is what clients reach it at.
func (s *Server) URL() string {
	if s.TLS {
		return "https://" + s.Addr
	}
	return "http://" + s.Addr
}

// Log is what it has said on both outputs.
func (s *Server) Log() string { return s.log.String() }

// Launch starts the process.
func (s *Server) Launch() {
	s.t.Helper()
	shared().CloseIdleConnections() // those of a process before this one lead nowhere
	cmd := exec.Command(Program(s.t), append([]string{"serve"}, s.args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, s.log, s.log
	cmd.SysProcAttr = dieWithParent()
	if err := launch(cmd); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	s.cmd, s.done = cmd, done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
}

// launch starts a process from a thread that lives as long as we do: Pdeathsig goes by the thread.
func launch(cmd *exec.Cmd) error {
	launcher.once.Do(func() {
		launcher.orders = make(chan order)
		go func() {
			runtime.LockOSThread()
			for o := range launcher.orders {
				o.err <- o.cmd.Start()
			}
		}()
	})
	o := order{cmd, make(chan error)}
	launcher.orders <- o
	return <-o.err
}

type order struct {
	cmd *exec.Cmd
	err chan error
}

var launcher struct {
	once   sync.Once
	orders chan order
}

// AwaitReady waits for /readyz.
func (s *Server) AwaitReady() {
	s.t.Helper()
	Eventually(s.t, "the server is ready", func() error {
		if !s.running() {
			s.t.Fatalf("the server ended at once, exit code %d:\n%s", s.cmd.ProcessState.ExitCode(), s.log)
		}
		return s.Ready()
	})
}

// Ready is nil when /readyz says 200.
func (s *Server) Ready() error {
	resp, err := probe.Get(s.URL() + "/readyz")
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New("/readyz: " + resp.Status)
	}
	return nil
}

var probe = &http.Client{Timeout: 5 * time.Second, Transport: transport(HTTP1, true)}

func (s *Server) running() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// Kill is kill -9. It returns when the process is gone.
func (s *Server) Kill() {
	s.t.Helper()
	_ = s.cmd.Process.Kill()
	<-s.done
}

// Signal asks it to end.
func (s *Server) Signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Exited waits for the process to end and returns its exit code.
func (s *Server) Exited(within time.Duration) int {
	s.t.Helper()
	select {
	case <-s.done:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		s.t.Fatalf("the server does not end within %v", within)
		return -1
	}
}

// Stop ends it in order, within the 15 seconds that are promised.
func (s *Server) Stop() {
	s.t.Helper()
	s.Signal(syscall.SIGTERM)
	if code := s.Exited(15 * time.Second); code != 0 {
		s.t.Errorf("exit code %d after SIGTERM", code)
	}
}

// ports given out by this process; they lie below those that the kernel hands to clients,
// so that nobody takes the port of a server that is just being restarted.
var ports struct {
	mu    sync.Mutex
	taken map[int]bool
}

func freePort(t testing.TB) int {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	if ports.taken == nil {
		ports.taken = make(map[int]bool)
	}
	for range 1000 {
		p := 20000 + rand.IntN(12000)
		if ports.taken[p] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			continue
		}
		l.Close()
		ports.taken[p] = true
		return p
	}
	t.Fatal("no free port")
	return 0
}

// Folder is like t.TempDir, but short enough for a socket's path and open to the user that PostgreSQL runs as.
func Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "parley-system-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Patience is how long a condition may take to come true: far longer than it does, for busy machines.
const Patience = 40 * time.Second

// Eventually waits until ok returns nil, and fails with the last reason why not.
func Eventually(t testing.TB, what string, ok func() error) {
	t.Helper()
	for deadline := time.Now().Add(Patience); ; time.Sleep(10 * time.Millisecond) {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s: %v", what, err)
		}
	}
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *buffer) tail(n int) string {
	s := b.String()
	return s[max(0, len(s)-n):]
}
