package repo_test

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"sync"
	"testing"
)

// proxy stands between a store and its database, and can misbehave as networks do.
type proxy struct {
	addr string

	mu    sync.Mutex
	conns []net.Conn
	hole  bool
	open  sync.Cond // hole is false again
}

// newProxy returns a proxy to the server of a DSN that names a Unix socket, and the DSN that leads through it.
func newProxy(t *testing.T, dsn string) (*proxy, string) {
	t.Helper()
	m := regexp.MustCompile(`host='([^']+)'`).FindStringSubmatch(dsn)
	if m == nil {
		t.Fatalf("no Unix socket in %q", dsn)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String()}
	p.open.L = &p.mu
	t.Cleanup(func() { l.Close(); p.heal(); p.cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", m[1]+"/.s.PGSQL.5432")
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			go p.pipe(in, out)
			go p.pipe(out, in)
		}
	}()
	host, port, _ := net.SplitHostPort(p.addr)
	return p, regexp.MustCompile(`host='[^']+'`).ReplaceAllString(dsn, fmt.Sprintf("host=%s port=%s", host, port))
}

func (p *proxy) pipe(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for p.hole {
			p.open.Wait()
		}
		p.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err == io.EOF || err != nil {
			return
		}
	}
}

// swallow makes the network a black hole: connections stay, bytes are accepted, nothing arrives.
func (p *proxy) swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = true
}

func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = false
	p.open.Broadcast()
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}
