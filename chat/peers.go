package chat

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"parley/repo"
)

// peers are the nodes on this database. What one commits the others find in the log
// by themselves; a ring only makes it soon. What is ephemeral travels with the rings.
type peers struct {
	mu     sync.Mutex
	living []string
	bell   chan struct{} // capacity 1
	queue  []whisper
}

// maxWhispers is how many ephemeral events may wait for the other nodes; more are lost.
const maxWhispers = 1024

func (p *peers) alive(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.living, node)
}

// meet notes which nodes live.
func (p *peers) meet(living []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.living = living
}

// ring has the other nodes, if there are any, look at the log soon.
func (p *peers) ring() { p.tell() }

// tell rings, and hands over ephemeral events.
func (p *peers) tell(ws ...whisper) {
	p.mu.Lock()
	alone := len(p.living) < 2
	if !alone && len(p.queue)+len(ws) <= maxWhispers {
		p.queue = append(p.queue, ws...)
	}
	p.mu.Unlock()
	if alone {
		return
	}
	select {
	case p.bell <- struct{}{}:
	default:
	}
}

const (
	beatEvery = 2 * time.Second
	// ringEvery is the debounce: a NOTIFY takes a lock on the whole server at its commit.
	ringEvery = 5 * time.Millisecond
	channel   = "parley"
	// maxPayload is what PostgreSQL takes in one NOTIFY, less what frames it.
	maxPayload = 7900
)

// beat says that this node lives, and learns which others do.
func (s *Service) beat(ctx context.Context) error {
	living, buried, err := s.Store.BeatNode(ctx, s.Node)
	if err != nil {
		return err
	}
	if buried {
		s.sessions.forgotten()
	}
	s.nodes.meet(living)
	others, err := s.Store.BuryNodes(ctx)
	if others {
		s.presence.hintAll()
	}
	return err
}

func (s *Service) keepBeating(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.beat(ctx); err != nil {
				s.logUnlessOver(ctx, "the node cannot say that it lives", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// note is the payload of a NOTIFY: who sends it, and a part of a list of whispers as
// JSON. Parts of one list come one behind the other; an empty list only rings.
type note struct {
	Node string `json:"n"`
	Part string `json:"p,omitempty"`
	More bool   `json:"m,omitempty"`
}

// tellPeers sends rings and whispers to the other nodes, outside every transaction.
func (s *Service) tellPeers(ctx context.Context) {
	for {
		select {
		case <-s.nodes.bell:
		case <-ctx.Done():
			return
		}
		s.nodes.mu.Lock()
		queue := s.nodes.queue
		s.nodes.queue = nil
		s.nodes.mu.Unlock()
		for _, payload := range notes(s.Node, queue) {
			if err := s.Store.Notify(ctx, channel, payload); err != nil {
				s.logUnlessOver(ctx, "the other nodes cannot be rung; they look by themselves every second", err)
				break
			}
		}
		select {
		case <-time.After(ringEvery):
		case <-ctx.Done():
			return
		}
	}
}

// notes cuts whispers into payloads that fit.
func notes(node string, queue []whisper) []string {
	var text string
	if len(queue) > 0 {
		b, err := json.Marshal(queue)
		if err != nil {
			panic("chat: " + err.Error()) // types of ours
		}
		text = string(b)
	}
	// Whispers hold their data in base64, so the text has no quotes to escape but its own: at worst it doubles.
	const part = maxPayload/2 - 64
	var out []string
	for {
		n := min(len(text), part)
		for n < len(text) && !utf8.RuneStart(text[n]) {
			n-- // a part is a string of JSON, which cannot hold half a character
		}
		b, err := json.Marshal(note{Node: node, Part: text[:n], More: len(text) > n})
		if err != nil {
			panic("chat: " + err.Error())
		}
		out = append(out, string(b))
		if text = text[n:]; text == "" {
			return out
		}
	}
}

// listen hears the other nodes.
func (s *Service) listen(ctx context.Context) {
	l := repo.NewListener(s.Config.DSN, nil)
	defer l.Close()
	if err := l.Listen(channel); err != nil {
		s.logUnlessOver(ctx, "the other nodes cannot be heard yet", err) // the listener goes on trying
	}
	parts := make(map[string]string)
	for {
		select {
		case n := <-l.Notify:
			if n == nil { // reconnected: something may have been missed
				clear(parts)
				s.Hub.Look()
				continue
			}
			s.hear(n.Extra, parts)
		case <-ctx.Done():
			return
		}
	}
}

// hear takes one payload; parts keeps what has come of each node's list.
func (s *Service) hear(payload string, parts map[string]string) {
	var n note
	if err := json.Unmarshal([]byte(payload), &n); err != nil || n.Node == s.Node {
		return
	}
	s.Hub.Look()
	if n.Part == "" {
		return
	}
	text := parts[n.Node] + n.Part
	delete(parts, n.Node)
	if n.More {
		parts[n.Node] = text
		return
	}
	var ws []whisper
	if err := json.Unmarshal([]byte(text), &ws); err != nil {
		return // its beginning was missed: it may be lost
	}
	for _, w := range ws {
		s.deliver(w)
	}
}
