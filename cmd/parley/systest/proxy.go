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
	cut, mute, down bool
	conns           map[net.Conn]bool // those that are up
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
		p.Drop()
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
func (p *Proxy) Cut() { p.set(func() { p.cut = true }) }

// Mute swallows what the target answers: it hears all that it is asked.
func (p *Proxy) Mute() { p.set(func() { p.mute = true }) }

// Drop ends every connection, with what is on its way, and lets none be made until Heal.
func (p *Proxy) Drop() {
	p.set(func() {
		p.down = true
		for c := range p.conns {
			c.Close()
		}
		clear(p.conns)
	})
}

// Heal is the end of Cut, Mute and Drop.
func (p *Proxy) Heal() { p.set(func() { p.cut, p.mute, p.down = false, false, false }) }

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	change()
	p.mu.Unlock()
	p.flows.Broadcast()
}

// pass waits until bytes that came from a connection may flow; false when it was dropped.
func (p *Proxy) pass(from net.Conn, answers bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for (p.cut || answers && p.mute) && p.conns[from] {
		p.flows.Wait()
	}
	return p.conns[from]
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.down {
		p.conns[c] = true
	}
	return !p.down
}

func (p *Proxy) relay(near net.Conn) {
	defer near.Close()
	if !p.keep(near) || !p.pass(near, false) {
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
	copyOver := func(to, from net.Conn, answers bool) {
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if !p.pass(from, answers) || err != nil {
				break
			}
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		done <- struct{}{}
	}
	go copyOver(far, near, false)
	go copyOver(near, far, true)
	<-done
}
