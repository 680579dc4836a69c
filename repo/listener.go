package repo

import (
	"net"
	"sync"
	"time"

	"github.com/lib/pq"
)

// listenSilence is after how long without a byte a LISTEN connection counts as
// dead. It is pinged three times as often.
const listenSilence = 15 * time.Second

// Listener is a connection for LISTEN that survives the loss of any: it reconnects
// by itself, also on a network that swallows packets, and then sends nil on Notify,
// for what was missed. Read Notify until it is closed; a reader that stops holds up
// the pings, and so the connection.
type Listener struct {
	*pq.Listener
	closing chan struct{}
	once    sync.Once
}

// NewListener opens one. onEvent, which may be nil, is told of each loss and
// reconnect. The caller closes it.
func NewListener(dsn string, onEvent pq.EventCallbackType) *Listener {
	return newListener(dsn, listenSilence, onEvent)
}

func newListener(dsn string, silence time.Duration, onEvent pq.EventCallbackType) *Listener {
	d := dialer{Dialer: net.Dialer{Timeout: poolLimits.connect}, silence: silence, listens: true}
	l := &Listener{
		Listener: pq.NewDialListener(d, dsn, 100*time.Millisecond, 5*time.Second, onEvent),
		closing:  make(chan struct{}),
	}
	go l.ping(silence / 3)
	return l
}

// ping makes silence mean a dead connection. Its answer is not looked at: a failure
// ends the connection, which is what starts a new one.
func (l *Listener) ping(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = l.Ping()
		case <-l.closing:
			return
		}
	}
}

// Close ends the connection for good; Notify is closed soon after.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closing) })
	return l.Listener.Close()
}
