package web_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	_ "github.com/lib/pq"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// A conversation of 10,000 messages is scrolled up to its first one: none is missing, twice or out of order, what
// one reads stays where it is, and the page does not grow. How smooth it is goes to the log: machines that run tests are busy.
func TestPageHistory(t *testing.T) {
	const n = 10_000
	dsn := repotest.DSN(t)
	s := systest.Start(t, dsn, "PARLEY_JWT_SECRETS=")
	jerry := named(t, s, "Jerry")
	id := jerry.Create(t, "Tom")
	fill(t, dsn, id, n)

	tom := openWindow(t, s.URL())
	tom.signIn("Tom")
	tom.await("what is unread", `at("unread").dataset.count + at("unread").innerText.split("\n")[0]`, fmt.Sprint(n/2, "99+"))
	command(t, tom.ctx, page.BringToFront, cdp.Empty{})
	eval[any](t, tom.ctx, watchFrames)
	tom.open("Jerry")
	tom.await("the newest message", `numberOf(rows().at(-1))`, fmt.Sprint(n))
	tom.await("nothing unread", "document.title", "Parley")

	var trip struct {
		Faults                 []string
		Seen, Rows, Nodes      int
		Frames, Long           int
		Median, Slow, Longest  float64
		Milliseconds, Requests float64
	}
	if err := json.Unmarshal([]byte(tom.trip(fmt.Sprintf("scrollUp(%d).then(JSON.stringify)", n))), &trip); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows in %.0f ms, %.0f pages; %d frames: median %.0f ms, 95%% within %.0f ms, longest %.0f ms; %d tasks longer than 50 ms; at most %d rows and %d nodes",
		trip.Seen, trip.Milliseconds, trip.Requests, trip.Frames, trip.Median, trip.Slow, trip.Longest, trip.Long, trip.Rows, trip.Nodes)
	for _, fault := range trip.Faults {
		t.Error(fault)
	}
	if trip.Seen != n {
		t.Errorf("%d messages were seen", trip.Seen)
	}
	if trip.Rows > 200 || trip.Nodes > 5000 {
		t.Errorf("the page grew to %d rows and %d nodes", trip.Rows, trip.Nodes)
	}

	// What comes meanwhile moves nothing; from the first message to the last is one click.
	before := eval[float64](t, tom.ctx, "rows()[0].getBoundingClientRect().top")
	jerry.Say(t, id, "10001: new")
	tom.await("that something came", `text("to-bottom")`, "1 new")
	if after := eval[float64](t, tom.ctx, "rows()[0].getBoundingClientRect().top"); after != before {
		t.Errorf("the first row was at %v and is at %v", before, after)
	}
	tom.await("it is unread", `at("unread").dataset.count`, "1")
	tom.click("to-bottom")
	tom.await("the newest message", `numberOf(rows().at(-1))`, fmt.Sprint(n+1))
	tom.await("nothing unread", "document.title", "Parley")
	tom.is("the rows", `faultsOf(rows()).join()`, "")
}

// trip runs a script that takes its time.
func (w *window) trip(script string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 3*time.Minute)
	defer cancel()
	said, err := chromedp.Run(ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		w.t.Fatal(err)
	}
	return said
}

// fill stores n messages of both by turns, written over the last four days.
func fill(t *testing.T, dsn, conversation string, n int) {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, order := range []string{
		`INSERT INTO messages (conversation_id, seq, sender, sent_at, type, content, mention_all)
			SELECT $1, i, CASE WHEN i / 3 % 2 = 0 THEN 'Tom' ELSE 'Jerry' END, now() - ($2 - i) * interval '35 seconds', -1,
				json_build_object('type', 'text', 'text', i || ':' || repeat(' well, well', i * 7 % 31))::text, false
			FROM generate_series(1, $2) AS i`,
		`UPDATE conversations SET seq = $2, last_sent_at = now(), last_message_at = now() WHERE id = $1`,
		`UPDATE members SET uncounted = $2 / 2 WHERE conversation_id = $1`,
	} {
		if _, err := db.Exec(order, conversation, n); err != nil {
			t.Fatal(err)
		}
	}
}

// watchFrames has the page note how long frames and tasks take, and defines scrollUp: it goes up by two screens
// each frame, and looks whether anything moved that had no reason to.
const watchFrames = `
	window.numberOf = (row) => Number(textOf(row)?.split(':')[0])
	window.faultsOf = (rows) => rows.slice(1).flatMap((r, i) => numberOf(r) === numberOf(rows[i]) + 1 ? [] : [numberOf(r) + ' follows ' + numberOf(rows[i])])
	window.scrollUp = async (n) => {
		const scroller = document.querySelector('#scroller'), list = at('messages')
		const frame = () => new Promise(requestAnimationFrame)
		const faults = [], seen = new Set(), gaps = []
		let most = 0, nodes = 0, long = 0, last = performance.now()
		const begun = last
		new PerformanceObserver((found) => { long += found.getEntries().length }).observe({ type: 'longtask' })
		const places = () => new Map(rows().filter((r) => r.getBoundingClientRect().bottom > 0 && r.getBoundingClientRect().top < innerHeight).map((r) => [numberOf(r), r.getBoundingClientRect().top]))
		for (let still = 0; still < 3 && faults.length < 10 && last - begun < 120000;) {
			scroller.scrollTop -= 1500
			const before = places()
			await frame() // what the scrolling causes happens before it
			const now = performance.now()
			gaps.push(now - last)
			last = now
			for (const [number, top] of places()) {
				if (before.has(number) && Math.abs(before.get(number) - top) > 1) faults.push(number + ' was at ' + before.get(number) + ' and is at ' + top)
			}
			const all = rows()
			for (const row of all) seen.add(numberOf(row))
			faults.push(...faultsOf(all))
			most = Math.max(most, all.length)
			nodes = Math.max(nodes, document.querySelectorAll('*').length)
			still = list.classList.contains('whole') && scroller.scrollTop === 0 ? still + 1 : 0
		}
		gaps.sort((a, b) => a - b)
		return { faults, seen: [...seen].filter((i) => i >= 1 && i <= n).length, rows: most, nodes, long, frames: gaps.length, median: gaps[gaps.length >> 1], slow: gaps[Math.floor(gaps.length * 0.95)],
			longest: gaps.at(-1), milliseconds: last - begun, requests: performance.getEntriesByType('resource').filter((r) => r.name.includes('startMessageId')).length }
	}
	null`

// However fast messages come: who looks at the newest one goes on doing so, and has read it.
func TestPageFlood(t *testing.T) {
	const n = 300
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	jerry := named(t, s, "Jerry")
	id := jerry.Create(t, "Tom")
	tom := openWindow(t, s.URL())
	tom.signIn("Tom")
	tom.open("Jerry")
	for i := range n {
		jerry.Say(t, id, fmt.Sprintf("%d: message", i+1))
	}
	tom.await("the newest message", `textOf(rows().at(-1))`, fmt.Sprint(n, ": message"))
	tom.await("everything is read", "document.title", "Parley")
	tom.awaitTrue("the newest in sight", `at("to-bottom").hidden && rows().at(-1).getBoundingClientRect().bottom <= document.querySelector("#scroller").getBoundingClientRect().bottom`)
}
