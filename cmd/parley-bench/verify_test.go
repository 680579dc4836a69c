package main

import (
	"fmt"
	"testing"
)

func event(conversation string, seq int64) []byte {
	return fmt.Appendf(nil, `{"message":{"id":"x","conversationId":%q,"seq":%d,"text":"hi"},"at":"now"}`, conversation, seq)
}

func TestLedger(t *testing.T) {
	type shown struct {
		conversation string
		seq          int64
	}
	tests := []struct {
		name                        string
		shown                       []shown
		messages, lost, twice, bads int64
	}{
		{"each once, in order", []shown{{"a", 1}, {"b", 1}, {"a", 2}, {"a", 3}, {"b", 2}}, 5, 0, 0, 0},
		{"a gap", []shown{{"a", 1}, {"a", 4}, {"a", 5}}, 3, 2, 0, 0},
		{"a gap at the start", []shown{{"a", 3}}, 1, 2, 0, 0},
		{"one twice", []shown{{"a", 1}, {"a", 1}, {"a", 2}}, 2, 0, 1, 0},
		{"swapped", []shown{{"a", 2}, {"a", 1}, {"a", 3}}, 2, 1, 1, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLedger()
			for _, s := range test.shown {
				l.message(event(s.conversation, s.seq))
			}
			if l.messages != test.messages || l.lost != test.lost || l.twice != test.twice {
				t.Errorf("%d messages, %d lost, %d twice", l.messages, l.lost, l.twice)
			}
			if wrong := test.lost+test.twice > 0; (l.err() != nil) != wrong {
				t.Errorf("error %v", l.err())
			}
		})
	}
}

func TestLedgerOfAChatroom(t *testing.T) {
	l := newLedger()
	l.sheds = true
	for _, seq := range []int64{2, 5, 6} {
		l.message(event("a", seq))
	}
	if err := l.err(); err != nil || l.messages != 3 || l.lost != 0 {
		t.Errorf("%d messages, %d lost: %v", l.messages, l.lost, err)
	}
	l.message(event("a", 5))
	if l.twice != 1 || l.err() == nil {
		t.Error("a message that came twice was not seen")
	}
}

func TestLedgerExpectsWhatItIsTold(t *testing.T) {
	l := newLedger()
	l.expect("a", 41)
	l.message(event("a", 41))
	if err := l.err(); err != nil || l.dueIn("a") != 42 || l.dueIn("b") != 1 {
		t.Errorf("due in a %d, in b %d: %v", l.dueIn("a"), l.dueIn("b"), err)
	}
	l.expect("a", 7)
	l.message(event("a", 7))
	if err := l.err(); err != nil {
		t.Error(err)
	}
}

func TestLedgerReportsWhatItCannotRead(t *testing.T) {
	l := newLedger()
	l.message([]byte(`{"message":{"conversationId":"a"}}`))
	l.message([]byte(`{"message":{"seq":1}}`))
	if l.malformed != 2 || l.err() == nil {
		t.Errorf("%d malformed: %v", l.malformed, l.err())
	}
}

func TestLedgerReadsWhateverTheLayout(t *testing.T) {
	l := newLedger()
	for i, data := range []string{
		`{"message":{"conversationId":"a","seq":1}}`,
		`{"conversationId":"a","message":{"seq":2}}`,
		`{"message":{"seq":3,"conversationId":"a"}}`,
		`{"message":{"seq":4,"conversationId":"a"}}`,
	} {
		l.message([]byte(data))
		if err := l.err(); err != nil || l.dueIn("a") != int64(i+2) {
			t.Fatalf("%s: %v", data, err)
		}
	}
}

func TestMessageNumbers(t *testing.T) {
	request := []byte("POST / HTTP/1.1\r\n\r\n" + textBody(7))
	setIndex(request, 1234)
	if n, ok := indexOf(request); n != 1234 || !ok {
		t.Errorf("number %d, %v in %s", n, ok, request)
	}
	if n, ok := numberIn("#000000042 hello"); n != 42 || !ok {
		t.Errorf("number %d, %v", n, ok)
	}
	if len(textBody(1)) != len(refusedBody()) {
		t.Error("the refused body has another size")
	}
}

func TestPersistentCompare(t *testing.T) {
	p := newPersistent(newKeyring())
	p.stored = map[int]place{1: {0, 1}, 2: {0, 2}, 3: {1, 1}, 4: {1, 5}}
	// 2 was stored again, 3 gave way to it, 4 is nowhere; 9 was never promised.
	missing, doubled := p.compare([][]int{{1, 2, 9}, {2}})
	if missing != 2 || doubled != 1 {
		t.Errorf("%d missing, %d doubled", missing, doubled)
	}
}
