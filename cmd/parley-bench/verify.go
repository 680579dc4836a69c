package main

import (
	"bytes"
	"fmt"
)

// ledger checks what one session is shown: in every conversation the messages
// 1, 2, 3… each once and in order. It lives as long as the session, over all
// its connections. Not safe concurrently: the reader of the stream owns it.
type ledger struct {
	next map[string]*int64 // the seq expected next, by conversation
	// The conversation of the frame before, kept since most are followed by another of the same.
	last     []byte
	lastNext *int64

	// Where the members were found in the frame before: nearly always they are there again.
	conversationAt, seqAt int

	sheds bool // of a chatroom's stream: a number jumped over is no loss

	messages  int64 // in order
	lost      int64 // numbers jumped over
	twice     int64 // numbers seen before
	malformed int64 // no conversation or no seq to be found
	firstBad  string
}

func newLedger() *ledger { return &ledger{next: map[string]*int64{}} }

// expect sets the number that must come next in a conversation; 1 unless set.
func (l *ledger) expect(conversation string, seq int64) {
	if n, ok := l.next[conversation]; ok {
		*n = seq
		return
	}
	l.next[conversation] = &seq
}

// message books the data of a message event.
func (l *ledger) message(data []byte) {
	conversation, seq, ok := l.read(data)
	if !ok {
		l.malformed++
		l.bad("message without conversation or seq: %.200s", data)
		return
	}
	next := l.nextOf(conversation)
	switch {
	case seq == *next:
		l.messages++
		*next++
	case seq > *next && l.sheds:
		l.messages++
		*next = seq + 1
	case seq > *next:
		l.bad("conversation %s: %d came when %d was due", conversation, seq, *next)
		l.lost += seq - *next
		l.messages++
		*next = seq + 1
	default:
		l.twice++
		l.bad("conversation %s: %d came again when %d was due", conversation, seq, *next)
	}
}

func (l *ledger) nextOf(conversation []byte) *int64 {
	if l.lastNext != nil && bytes.Equal(conversation, l.last) {
		return l.lastNext
	}
	next, ok := l.next[string(conversation)]
	if !ok {
		next = new(int64)
		*next = 1
		l.next[string(conversation)] = next
	}
	l.last = append(l.last[:0], conversation...)
	l.lastNext = next
	return next
}

func (l *ledger) bad(format string, args ...any) {
	if l.firstBad == "" {
		l.firstBad = fmt.Sprintf(format, args...)
	}
}

// err describes what is wrong so far; nil when all is well.
func (l *ledger) err() error {
	if l.firstBad == "" {
		return nil
	}
	return fmt.Errorf("%d lost, %d twice or late, %d malformed; first: %s", l.lost, l.twice, l.malformed, l.firstBad)
}

// read finds the conversation and the seq in the data of a message event.
func (l *ledger) read(data []byte) (conversation []byte, seq int64, ok bool) {
	l.conversationAt = memberAt(data, `"conversationId":"`, l.conversationAt)
	l.seqAt = memberAt(data, `"seq":`, l.seqAt)
	if l.conversationAt == 0 || l.seqAt == 0 {
		return nil, 0, false
	}
	conversation = data[l.conversationAt:]
	end := bytes.IndexByte(conversation, '"')
	seq, ok = leadingInt(data[l.seqAt:])
	if end < 0 || !ok {
		return nil, 0, false
	}
	return conversation[:end], seq, true
}

// memberAt returns where the value of a JSON member begins, trying a guess
// first; 0 when there is none. Name is quoted, with the colon and how the value
// begins. It trusts that the texts the bench itself sends hold no such thing.
func memberAt(data []byte, name string, guess int) int {
	if start := guess - len(name); start >= 0 && guess <= len(data) && string(data[start:guess]) == name {
		return guess
	}
	i := bytes.Index(data, []byte(name))
	if i < 0 {
		return 0
	}
	return i + len(name)
}

// leadingInt reads the digits that b begins with.
func leadingInt(b []byte) (int64, bool) {
	var n int64
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int64(b[i]-'0')
	}
	return n, i > 0
}

// dueIn is the number expected next in a conversation.
func (l *ledger) dueIn(conversation string) int64 {
	if next, ok := l.next[conversation]; ok {
		return *next
	}
	return 1
}
