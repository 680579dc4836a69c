package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const someFrames = "retry: 3000\n\n" +
	"event: ready\nid: log-7\ndata: {\"position\":\"log-7\"}\n\n" +
	": a comment\n\n" +
	"id: log-8\nevent: message\ndata: {\"message\":{\"text\":\"a: b\"}}\n\n" +
	"id:log-9\nevent:ping\ndata:{}\n\n"

var wantFrames = []string{"||", "log-7|ready|{\"position\":\"log-7\"}", "||", "log-8|message|{\"message\":{\"text\":\"a: b\"}}", "log-9|ping|{}"}

func TestParserTakesFramesHoweverTheyAreSplit(t *testing.T) {
	for size := 1; size <= len(someFrames); size++ {
		var p sseParser
		var got []string
		for rest := []byte(someFrames); len(rest) > 0; {
			n := min(size, len(rest))
			p.feed(slices.Clone(rest[:n]), func(f frame) { got = append(got, fmt.Sprintf("%s|%s|%s", f.id, f.event, f.data)) })
			rest = rest[n:]
		}
		if !slices.Equal(got, wantFrames) {
			t.Fatalf("pieces of %d: got %q", size, got)
		}
	}
}

func TestParserKeepsAnUnfinishedFrame(t *testing.T) {
	var p sseParser
	p.feed([]byte("event: message\ndata: {}\n"), func(f frame) { t.Errorf("frame before its end: %q", f.raw) })
	n := 0
	p.feed([]byte("\n"), func(f frame) { n++ })
	if n != 1 {
		t.Errorf("%d frames after the end", n)
	}
}

func TestDechunkerTakesChunksHoweverTheyAreSplit(t *testing.T) {
	const body = "5\r\nhello\r\n1;x=y\r\n \r\n5\r\nworld\r\n0\r\nTrailer: x\r\n\r\n"
	for size := 1; size <= len(body); size++ {
		var d dechunker
		var got strings.Builder
		ended := false
		for rest := body; len(rest) > 0; {
			n := min(size, len(rest))
			used, done, err := d.feed([]byte(rest[:n]), func(b []byte) { got.Write(b) })
			if err != nil || used != n {
				t.Fatalf("pieces of %d: used %d of %d: %v", size, used, n, err)
			}
			ended = done
			rest = rest[n:]
		}
		if got.String() != "hello world" || !ended {
			t.Fatalf("pieces of %d: got %q, ended %v", size, got.String(), ended)
		}
	}
}

func TestDechunkerRefusesNonsense(t *testing.T) {
	for _, body := range []string{"zz\r\n", "-1\r\n", "1\r\nab\r\n"} {
		var d dechunker
		if _, _, err := d.feed([]byte(body), func([]byte) {}); err == nil {
			t.Errorf("%q was taken", body)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	var piece []byte
	frames := 0
	for i := range 100 {
		piece = fmt.Appendf(piece, "id: abcdef-%d\nevent: message\ndata: {\"message\":{\"id\":\"ABCDEFGHIJKLMNOPQRSTUVWXYZ.%d\",\"conversationId\":\"ABCDEFGHIJKLMNOPQRSTUVWXYZ\",\"seq\":%d,\"from\":\"member-0\",\"sentAt\":\"2026-11-20T10:52:31.492Z\",\"type\":\"text\",\"text\":\"#000000000 %s\"},\"at\":\"2026-11-20T10:52:31.492Z\"}\n\n", i, i+1, i+1, filler)
		frames++
	}
	s := &stream{fleet: &fleet{}, ledger: newLedger()}
	for b.Loop() {
		s.ledger.expect("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1)
		if err := s.take(piece); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*frames), "ns/frame")
}
