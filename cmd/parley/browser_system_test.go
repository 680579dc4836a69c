package main_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// chromium starts the browser for a test and returns a context of it.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-headless-shell", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("no Chromium: install one of chromium, chromium-headless-shell and google-chrome")
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	t.Cleanup(cancel)
	return ctx
}

// page opens a tab on an address.
func page(t *testing.T, browser context.Context, address string) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		cancel()
	})
	if err := chromedp.Do(ctx, chromedp.Navigate(address)); err != nil {
		t.Fatalf("Chromium opens %s: %v", address, err)
	}
	return ctx
}

// eval runs a script that may be a promise.
func eval[T any](t *testing.T, tab context.Context, script string) T {
	t.Helper()
	v, err := chromedp.Run(tab, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return v
}

// listen opens an EventSource in the page, which keeps all it gets in heard.
const listen = `(url) => {
	window.heard = []; window.errors = 0; window.last = "";
	window.source = new EventSource(url);
	source.onerror = () => errors++;
	for (const name of ["ready", "reset", "message", "invited", "session_closed", "conflict", "ping", "unread_messages_count_update"])
		source.addEventListener(name, e => {
			heard.push(name === "message" ? JSON.parse(e.data).message.text : name);
			last = e.lastEventId;
		});
}`

func heard(t *testing.T, tab context.Context) []string {
	t.Helper()
	return eval[[]string](t, tab, "heard")
}

func awaitHeard(t *testing.T, tab context.Context, what string) {
	t.Helper()
	systest.Eventually(t, "the page hears "+what, func() error {
		if h := heard(t, tab); !slices.Contains(h, what) {
			return fmt.Errorf("it heard %q", h)
		}
		return nil
	})
}

func readyState(t *testing.T, tab context.Context) int {
	t.Helper()
	return eval[int](t, tab, "source.readyState")
}

// texts are the messages that a page heard.
func texts(t *testing.T, tab context.Context) []string {
	t.Helper()
	return slices.DeleteFunc(heard(t, tab), func(s string) bool {
		return slices.Contains([]string{"ready", "invited", "ping", "unread_messages_count_update"}, s)
	})
}

// The browser's own EventSource: it receives, survives a restart of the server by
// itself without loss, and is stopped by a 204.
func TestEventSource(t *testing.T) {
	t.Parallel()
	s := systest.Start(t, repotest.DSN(t))
	browser := chromium(t)
	home := page(t, browser, s.URL()+"/healthz") // a page of the same origin
	other := page(t, home, s.URL()+"/healthz")
	tom, jerry := s.As("Tom"), s.As("Jerry")
	text, _ := ticket(t, jerry)
	eval[any](t, home, "("+listen+fmt.Sprintf(")('/v1/events?session=by-ticket&ticket=%s')", text))
	eval[any](t, other, "("+listen+fmt.Sprintf(")('/v1/events?session=by-token&access_token=%s')", jerry.Token))
	tabs := []context.Context{home, other}
	for _, tab := range tabs {
		awaitHeard(t, tab, "ready")
	}
	id := tom.Create(t, "Jerry")
	tom.Say(t, id, "one")
	for _, tab := range tabs {
		awaitHeard(t, tab, "one")
	}

	// In order, and killed: the browser comes back by itself.
	for i, end := range []func(){s.Stop, s.Kill} {
		for n := range 5 {
			tom.Say(t, id, fmt.Sprintf("%d before %d", i, n))
		}
		end()
		s.Launch()
		s.AwaitReady()
		for n := range 5 {
			tom.Say(t, id, fmt.Sprintf("%d after %d", i, n))
		}
		for _, tab := range tabs {
			awaitHeard(t, tab, fmt.Sprintf("%d after 4", i))
		}
	}
	var want []string
	for _, m := range jerry.History(t, id) {
		want = append(want, m.Text)
	}
	for _, tab := range tabs {
		if got := texts(t, tab); !slices.Equal(got, want) {
			t.Errorf("a page heard %q, want %q", got, want)
		}
	}

	// A logout ends it for good: the browser asks once more, is told 204, and stops.
	jerry.Want(t, 204, "DELETE", "/v1/sessions/by-ticket", nil)
	awaitHeard(t, home, "session_closed")
	systest.Eventually(t, "EventSource stops", func() error {
		if state := readyState(t, home); state != 2 {
			return fmt.Errorf("readyState %d", state)
		}
		return nil
	})
	if state := readyState(t, other); state != 1 {
		t.Errorf("the other page is in state %d", state)
	}
}

// A page of another origin may do everything if its origin is on the list, and nothing if not.
func TestOtherOrigins(t *testing.T) {
	t.Parallel()
	blank := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
	})
	allowed, foreign := httptest.NewServer(blank), httptest.NewServer(blank)
	t.Cleanup(allowed.Close)
	t.Cleanup(foreign.Close)
	s := systest.Start(t, repotest.DSN(t), "PARLEY_ALLOWED_ORIGINS="+allowed.URL)
	browser := chromium(t)
	good := page(t, browser, allowed.URL)
	bad := page(t, good, foreign.URL)
	jerry := s.As("Jerry")

	const create = `async (base, token) => {
		const ask = (method, path, body, headers) => fetch(base + path, {method, body: body && JSON.stringify(body),
			headers: {Authorization: "Bearer " + token, ...(body ? {"Content-Type": "application/json"} : {}), ...headers}});
		const made = await ask("POST", "/v1/conversations", {members: ["Tom"]});
		const c = await made.json();
		const sent = await ask("POST", "/v1/conversations/" + c.id + "/messages", {type: "text", text: "from afar"},
			{"Idempotency-Key": "k", "Parley-Session": "web", "X-Request-Id": "mine"});
		const renamed = await ask("PATCH", "/v1/conversations/" + c.id, {name: "x"});
		const muted = await ask("PUT", "/v1/conversations/" + c.id + "/mute");
		const read = await ask("GET", "/v1/conversations/" + c.id + "/messages");
		const missing = await ask("GET", "/v1/conversations/nowhere");
		const refused = await fetch(base + "/v1/unread");
		const quit = await ask("DELETE", "/v1/conversations/" + c.id + "/members?clientId=Jerry");
		return [made.status, made.headers.get("Location"), sent.status, sent.headers.get("X-Request-Id"), renamed.status, muted.status,
			read.headers.get("Parley-Position") !== null, (await missing.json()).code, refused.status, refused.headers.get("WWW-Authenticate") !== null,
			quit.status].join(" ");
	}`
	eval[any](t, good, "("+listen+fmt.Sprintf(")('%s/v1/events?session=web&access_token=%s')", s.URL(), jerry.Token))
	awaitHeard(t, good, "ready")
	call := fmt.Sprintf("(%s)(%q, %q)", create, s.URL(), jerry.Token)
	got := eval[string](t, good, call)
	var status, location string
	if _, err := fmt.Sscan(got, &status, &location); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("201 %s 201 mine 200 204 true conversation_not_found 401 true 200", location); got != want || location == "null" {
		t.Errorf("a page of an allowed origin: %s, want %s", got, want)
	}
	s.As("Tom").Create(t, "Jerry")
	awaitHeard(t, good, "invited")

	// A foreign page is refused before anything happens, and cannot even read why.
	refused := eval[string](t, bad, fmt.Sprintf("(%s)(%q, %q).then(r => 'got ' + r, e => 'refused')", create, s.URL(), jerry.Token))
	if refused != "refused" {
		t.Errorf("a page of a foreign origin: %s", refused)
	}
	eval[any](t, bad, "("+listen+fmt.Sprintf(")('%s/v1/events?session=bad&access_token=%s')", s.URL(), jerry.Token))
	systest.Eventually(t, "the foreign EventSource stops", func() error {
		if state := readyState(t, bad); state != 2 {
			return fmt.Errorf("readyState %d", state)
		}
		return nil
	})
	if h := heard(t, bad); len(h) > 0 {
		t.Errorf("a foreign page heard %q", h)
	}
	if _, there := jerry.Sessions(t)["bad"]; there {
		t.Error("a foreign page made a session")
	}
	for _, origin := range []string{foreign.URL, "null"} {
		a := jerry.Do(t, "GET", "/v1/unread", nil, "Origin", origin)
		if a.Status != 403 || a.Code() != "invalid_origin" {
			t.Errorf("the origin %s: %s", origin, a)
		}
	}
}
