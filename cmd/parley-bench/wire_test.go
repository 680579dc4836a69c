package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func dialTest(t *testing.T, handler http.HandlerFunc) (*wire, *httptest.Server) {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	w, err := dialWire(t.Context(), s.Listener.Addr().String(), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w, s
}

func TestWireKeepsTheConnection(t *testing.T) {
	var addrs sync.Map
	w, s := dialTest(t, func(rw http.ResponseWriter, r *http.Request) {
		addrs.Store(r.RemoteAddr, true)
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/empty":
			rw.WriteHeader(204)
		case "/chunked":
			for range 3 {
				fmt.Fprint(rw, strings.Repeat("x", 3000))
				rw.(http.Flusher).Flush()
			}
		default:
			rw.WriteHeader(201)
			fmt.Fprintf(rw, "%s %s", r.Header.Get("Authorization")[:7], body)
		}
	})
	keys := newKeyring()
	for range 2 {
		got, err := w.do(keys.post(s.Listener.Addr().String(), "Tom", "/echo", strings.Repeat("y", 9000)))
		if err != nil || got.status != 201 || string(got.body) != "Bearer  "+strings.Repeat("y", 9000) {
			t.Fatalf("%d, %d bytes, %v", got.status, len(got.body), err)
		}
		if got, err = w.do(keys.get("x", "Tom", "/empty")); err != nil || got.status != 204 || len(got.body) != 0 {
			t.Fatalf("%d %q, %v", got.status, got.body, err)
		}
		if got, err = w.do(keys.get("x", "Tom", "/chunked")); err != nil || len(got.body) != 9000 {
			t.Fatalf("%d, %d bytes, %v", got.status, len(got.body), err)
		}
	}
	n := 0
	addrs.Range(func(_, _ any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestFleetResumes lets a fleet lose its connections in the middle and checks
// that it comes back with the position it had.
func TestFleetResumes(t *testing.T) {
	var resumed sync.Map
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		from := r.Header.Get("Last-Event-ID")
		resumed.Store(r.Header.Get("Authorization")+from, true)
		seq := 1
		if from != "" {
			fmt.Sscanf(from, "log-%d", &seq)
			seq++
		}
		fmt.Fprint(rw, "retry: 1000\n\nevent: ready\ndata: {}\n\n")
		fmt.Fprintf(rw, "id: log-%d\nevent: message\ndata: %s\n\n", seq, event("a", int64(seq)))
		rw.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer s.Close()
	fleet := newFleet(s.Listener.Addr().String(), newKeyring(), names("client", 30), 2)
	for range 3 {
		fleet.messages.expect(60)
		if _, err := fleet.open(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if _, err := fleet.messages.wait(t.Context(), 10*time.Second, "messages"); err != nil {
			t.Fatal(err)
		}
		fleet.cut()
	}
	if v := fleet.verdict(); v.messages != 180 || v.first != nil {
		t.Errorf("%+v", v)
	}
	if err := fleet.err(); err != nil {
		t.Error(err)
	}
}

func TestTally(t *testing.T) {
	var n tally
	n.expect(3)
	n.add(2)
	if _, err := n.wait(context.Background(), time.Millisecond, "things"); err == nil || !strings.Contains(err.Error(), "2 of 3 things") {
		t.Errorf("error %v", err)
	}
	n.add(5)
	if _, err := n.wait(context.Background(), time.Second, "things"); err != nil {
		t.Error(err)
	}
}

func TestMarkdown(t *testing.T) {
	m := &measure{Scenario: "list", Name: "whole request", Unit: "ms", Rounds: []float64{30, 10, 25}, bar: atMost(20, 8)}
	m.settle()
	var out strings.Builder
	if err := (report{Measures: []*measure{m}, Failures: []string{"idle: no port"}}).writeMarkdown(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n### `list`: ", "\n| whole request | 25 ms | ≤ 20 (8) | **missed** |\n", "**Failed:** idle: no port"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "`sends`") {
		t.Error("a scenario that was not run has a table")
	}
}

func TestMeasures(t *testing.T) {
	for text, v := range map[string]float64{"1,234,568": 1234567.8, "-1,000": -1000, "123": 123.4, "12.3": 12.34, "1.23": 1.234, "0.123": 0.1234, "7": 7} {
		if got := number(v); got != text {
			t.Errorf("%v is written %s", v, got)
		}
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("median %v", m)
	}
	for _, test := range []struct {
		bar  *bar
		v    float64
		want string
	}{
		{atLeast(0.28, 0.4), 0.2, "missed"}, {atLeast(0.28, 0.4), 0.3, "reached"}, {atLeast(0.28, 0.4), 0.4, "beyond"},
		{atMost(8, 3), 9, "missed"}, {atMost(8, 3), 8, "reached"}, {atMost(8, 3), 2, "beyond"},
	} {
		if got := test.bar.verdict(test.v); got != test.want {
			t.Errorf("%v against %v: %s", test.v, test.bar, got)
		}
	}
}
