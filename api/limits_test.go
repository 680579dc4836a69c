package api

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"parley/model"
)

func TestLimits(t *testing.T) {
	srv := testServer(t, Config{Limits: Limits{Sends: 3, Reads: 2, Other: 1}, Keys: testKeys(t, KeyConfig{})}, nil)
	now := time.Hour
	srv.limiter.now = func() time.Duration { return now }
	tom, jerry, server := "Authorization: Bearer "+clientToken(t, "Tom"), "Authorization: Bearer "+clientToken(t, "Jerry"), "Authorization: Bearer "+serverToken(t)
	ok := func(method, path, token string, times int) {
		t.Helper()
		for i := range times {
			if res := call(t, srv, method, path, token, "Parley-As: "+"Tom"); token == server && res.Code != 200 {
				t.Fatalf("%s %s %d: %d", method, path, i, res.Code)
			}
			if token == server {
				continue
			}
			if res := call(t, srv, method, path, token); res.Code != 200 {
				t.Fatalf("%s %s %d: %d %s", method, path, i, res.Code, res.Body)
			}
		}
	}
	limited := func(method, path, token string, limit, wait, legacy int) {
		t.Helper()
		res := call(t, srv, method, path, token)
		p := wantProblem(t, res, model.RateLimited)
		h := res.Header()
		if h.Get("Retry-After") != strconv.Itoa(wait) || h.Get("RateLimit-Limit") != strconv.Itoa(limit) || h.Get("RateLimit-Remaining") != "0" || h.Get("RateLimit-Reset") != strconv.Itoa(wait) {
			t.Errorf("%s %s: headers %v", method, path, h)
		}
		if p.LegacyCode != legacy {
			t.Errorf("%s %s: legacy code %d", method, path, p.LegacyCode)
		}
	}
	ok("POST", "/v1/send", tom, 3)
	limited("POST", "/v1/send", tom, 3, 20, 4116)
	ok("GET", "/v1/whoami", tom, 2)
	limited("GET", "/v1/whoami", tom, 2, 30, 0)
	limited("HEAD", "/v1/whoami", tom, 2, 30, 0)
	ok("POST", "/v1/whoami", tom, 1)
	limited("POST", "/v1/whoami", tom, 1, 60, 0)
	ok("GET", "/v1/clients/a", tom, 1) // another pattern, one bucket for all its paths
	ok("GET", "/v1/clients/b", tom, 1)
	limited("GET", "/v1/clients/c", tom, 2, 30, 0)
	ok("POST", "/v1/send", jerry, 3) // another client
	ok("POST", "/v1/send", server, 9)
	ok("GET", "/v1/events", tom, 9)

	now += 19 * time.Second
	limited("POST", "/v1/send", tom, 3, 1, 4116)
	now += time.Second
	ok("POST", "/v1/send", tom, 1)
	limited("POST", "/v1/send", tom, 3, 20, 4116)
	now += 10 * time.Minute // never more than a minute's worth
	ok("POST", "/v1/send", tom, 3)
	limited("POST", "/v1/send", tom, 3, 20, 4116)

	// Before the limit come token and scope, behind it everything else.
	wantProblem(t, call(t, srv, "POST", "/v1/send"), model.Unauthenticated)
	wantProblem(t, call(t, srv, "POST", "/v1/send", tom, "Parley-As: Tom"), model.ServerScopeRequired)
	wantProblem(t, call(t, srv, "POST", "/v1/send", tom, "Parley-Session: ?"), model.RateLimited)
}

func TestNoLimits(t *testing.T) {
	srv := testServer(t, Config{}, nil)
	tom := "Authorization: Bearer " + clientToken(t, "Tom")
	for range 500 {
		if res := call(t, srv, "POST", "/v1/send", tom); res.Code != 200 {
			t.Fatalf("answered %d", res.Code)
		}
	}
}

func TestLimiterForgetsFullBuckets(t *testing.T) {
	l := newLimiter()
	var now time.Duration
	l.now = func() time.Duration { return now }
	rt := &route{}
	for i := range 300_000 {
		now += 10 * time.Millisecond // 6,000 clients a minute
		l.take(fmt.Sprint("client", i), rt, 1)
	}
	held := 0
	for i := range l.shards {
		held += len(l.shards[i].fullAt)
	}
	if most := 2*6_000 + limiterShards*minSweep; held > most {
		t.Errorf("%d buckets are held, at most %d are wanted", held, most)
	}
}

func TestLimiterAllowsExactlyTheLimit(t *testing.T) {
	for _, limit := range []int{1, 7, 60, 97, 100_000} {
		l := newLimiter()
		l.now = func() time.Duration { return time.Second }
		n := 0
		for l.take("Tom", nil, limit) == 0 {
			n++
		}
		if n != limit {
			t.Errorf("limit %d lets %d through", limit, n)
		}
	}
}
