package systest

import (
	"net"
	"sync"
	"testing"
)

// Proxy is a TCP relay that can swallow everything, as a network does whose cable
// is pulled: nobody is told, and what was on its way comes when it is back.
type Proxy struct {
	Addr string

	network, target string
	mu              sync.Mutex
	flows           *sync.Cond
	cut, closed     bool
	conns           map[net.Conn]bool
}

// NewProxy relays to a target ("tcp" or "unix") until the test ends.
func NewProxy(t testing.TB, network, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), network: network, target: target, conns: map[net.Conn]bool{}}
	p.flows = sync.NewCond(&p.mu)
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.closed = true
		for c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.flows.Broadcast()
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.relay(c)
		}
	}()
	return p
}

// Cut swallows everything from now on; Heal lets it through again.
func (p *Proxy) Cut()  { p.set(true) }
func (p *Proxy) Heal() { p.set(false) }

func (p *Proxy) set(cut bool) {
	p.mu.Lock()
	p.cut = cut
	p.mu.Unlock()
	p.flows.Broadcast()
}

// pass waits until bytes may flow; false when the proxy is over.
func (p *Proxy) pass() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.cut && !p.closed {
		p.flows.Wait()
	}
	return !p.closed
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
	return !p.closed
}

func (p *Proxy) relay(near net.Conn) {
	defer near.Close()
	if !p.keep(near) || !p.pass() {
		return
	}
	far, err := net.Dial(p.network, p.target)
	if err != nil {
		return
	}
	defer far.Close()
	if !p.keep(far) {
		return
	}
	done := make(chan struct{}, 2)
	copyOver := func(to, from net.Conn) {
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if !p.pass() || err != nil {
				break
			}
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		done <- struct{}{}
	}
	go copyOver(far, near)
	go copyOver(near, far)
	<-done
}
