package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a Parley server of our own: a subprocess with a data folder that
// nobody else uses, started and stopped as often as a scenario needs. It keeps
// its address over restarts.
type server struct {
	binary string
	dir    string // holds the data folder and the log
	addr   string
	keys   *keyring
	env    []string        // added to the environment
	tls    *http.Transport // how it is reached when it speaks TLS; nil: in clear

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
}

const (
	startLimit = 60 * time.Second
	stopLimit  = 20 * time.Second // the server promises 15
)

// newServer prepares a folder and an address; nothing runs yet.
func newServer(binary, parent string) (*server, error) {
	dir, err := os.MkdirTemp(parent, "parley-bench-")
	if err != nil {
		return nil, err
	}
	// As root the server runs PostgreSQL as another user, who must get in.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return &server{binary: binary, dir: dir, addr: addr, keys: newKeyring()}, nil
}

// freeAddress finds a port below those that outgoing connections get, so that
// none of the bench's own takes it while the server is down.
func freeAddress() (string, error) {
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, l.Close()
		}
	}
	return "", errors.New("no free port on 127.0.0.1")
}

func (s *server) dataDir() string { return filepath.Join(s.dir, "data") }

// start runs the server and returns when it is ready for requests.
func (s *server) start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(s.dir, "server.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(s.binary, "serve")
	s.cmd.Dir = s.dir
	s.cmd.Env = append(cleanEnvironment(), append(s.settings(), s.env...)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = childAttr()
	s.exited, err = startProcess(s.cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.binary, err)
	}
	if err := s.waitReady(ctx); err != nil {
		s.stop()
		return fmt.Errorf("%w\n%s", err, s.logTail())
	}
	return nil
}

// settings are the server's: all limits off, a secret we know.
func (s *server) settings() []string {
	return []string{
		"PARLEY_ADDR=" + s.addr, "PARLEY_DATA_DIR=" + s.dataDir(), "PARLEY_JWT_SECRETS=" + s.keys.secret,
		"PARLEY_LIMIT_SENDS=0", "PARLEY_LIMIT_READS=0", "PARLEY_LIMIT_OTHER=0", "PARLEY_LIMIT_STREAMS=0",
	}
}

// cleanEnvironment is ours without what would configure the server.
func cleanEnvironment() (env []string) {
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PARLEY_") && !strings.HasPrefix(e, "DATABASE_URL=") && !strings.HasPrefix(e, "PG") {
			env = append(env, e)
		}
	}
	return env
}

// startProcess starts a command on a thread that lives until the command ends:
// the kernel's "kill it when the parent dies" means the thread.
func startProcess(cmd *exec.Cmd) (exited chan struct{}, err error) {
	exited = make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in ProcessState
			close(exited)
		}
	}()
	return exited, <-started
}

func (s *server) waitReady(ctx context.Context) error {
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); {
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended: %v", s.cmd.ProcessState)
		default:
		}
		if _, err := s.get(ctx, "/readyz"); err == nil {
			return nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("the server was not ready after %v", startLimit)
}

func (s *server) url(path string) string {
	if s.tls != nil {
		return "https://" + s.addr + path
	}
	return "http://" + s.addr + path
}

// get reads one of the pages that need no token.
func (s *server) get(ctx context.Context, path string) (string, error) {
	t := s.tls
	if t == nil {
		t = &http.Transport{}
	}
	defer t.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", s.url(path), nil)
	if err != nil {
		return "", err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return string(text), err
}

// metrics reads gauges and counters without labels from the server's metrics, in
// the order of the names; all zero with an error when one is missing.
func (s *server) metrics(ctx context.Context, names ...string) ([]float64, error) {
	values := make([]float64, len(names))
	text, err := s.get(ctx, "/metrics")
	if err != nil {
		return values, err
	}
	for i, name := range names {
		_, rest, found := strings.Cut(text, "\n"+name+" ")
		if !found {
			return make([]float64, len(names)), fmt.Errorf("the server's metrics have no %s", name)
		}
		value, _, _ := strings.Cut(rest, "\n")
		if values[i], err = strconv.ParseFloat(value, 64); err != nil {
			return values, fmt.Errorf("the server's metric %s: %w", name, err)
		}
	}
	return values, nil
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// stop ends the server in order, or by force when it does not end in time.
// It may be called at any time, more than once.
func (s *server) stop() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(stopLimit):
		s.kill()
	}
}

// kill is kill -9; it returns when the process is gone.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// remove stops whatever still runs and deletes the folder.
func (s *server) remove() {
	s.stop()
	s.stopPostgres()
	_ = os.RemoveAll(s.dir)
}

// logTail is the end of the server's log, for error messages.
func (s *server) logTail() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "server.log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}
