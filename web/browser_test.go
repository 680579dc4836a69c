package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// In a browser the client uses EventSource, shares its stream between tabs, finds its place
// again after a reload, and leaves nothing behind.
func TestBrowser(t *testing.T) {
	s := systest.Start(t, repotest.DSN(t))
	browser := chromium(t)
	t.Run("two tabs", func(t *testing.T) { twoTabs(t, s, browser) })
	t.Run("a reload", func(t *testing.T) { reload(t, s, browser) })
	t.Run("a frozen tab", func(t *testing.T) { frozen(t, s, browser) })
	t.Run("a tab that crashes", func(t *testing.T) { crashes(t, s, browser) })
	t.Run("offline", func(t *testing.T) { offline(t, s, browser) })
	t.Run("a server that restarts", func(t *testing.T) { restart(t, s, browser) })
	t.Run("nothing is left", func(t *testing.T) { nothingLeft(t, s, browser) })
	t.Run("uploads", func(t *testing.T) { uploads(t, s, browser) })
	t.Run("snippets", func(t *testing.T) { snippets(t, s, browser) })
	t.Run("a broadcast to everybody", func(t *testing.T) { broadcast(t, s, browser) })
}

func twoTabs(t *testing.T, s *systest.Server, browser context.Context) {
	jerry := s.As("Jerry")
	first, second := openTab(t, browser, s), openTab(t, browser, s)
	logIn(t, first, "Tom")
	logIn(t, second, "Tom")
	if a, b := eval[string](t, first, "tom.sessionId"), eval[string](t, second, "tom.sessionId"); a != b {
		t.Errorf("two tabs have the sessions %s and %s", a, b)
	}
	id := jerry.Create(t, "Tom")
	jerry.Say(t, id, "one")
	awaitHeard(t, first, `["one"]`)
	awaitHeard(t, second, `["one"]`)

	// What one tab sends the other shows.
	eval[any](t, second, fmt.Sprintf("tom.getConversation(%q).then(c => c.send(new P.TextMessage('mine'))).then(() => null)", id))
	awaitHeard(t, first, `["one","mine"]`)

	// Each hears of those whose presence it asked for, the last one to ask as well as the first.
	eval[any](t, first, "tom.subscribePresence(['Ann']).then(() => null)")
	eval[any](t, second, "tom.subscribePresence(['Ben']).then(() => null)")
	for _, tab := range []context.Context{first, second} {
		eval[any](t, tab, "window.online = [], tom.on('presence', (p) => online.push(p.clientId)), null")
	}
	for _, name := range []string{"Ann", "Ben"} {
		s.As(name).Create(t, "Tom")
		logIn(t, openTab(t, browser, s), name)
	}
	awaitTrue(t, first, "online.join() === 'Ann'")
	awaitTrue(t, second, "online.join() === 'Ben'")

	// The one that holds the stream goes away, the other one takes it over where it was.
	if err := chromedp.Cancel(first); err != nil {
		t.Fatal(err)
	}
	jerry.Say(t, id, "two")
	awaitHeard(t, second, `["one","two"]`)

	// When the last one logs out the session ends.
	session := eval[string](t, second, "tom.close().then(() => tom.sessionId)")
	if left, ok := s.As("Tom").Sessions(t)[session]; ok {
		t.Errorf("the session is still there: %+v", left)
	}
}

func reload(t *testing.T, s *systest.Server, browser context.Context) {
	jerry := s.As("Jerry")
	tab := openTab(t, browser, s)
	logIn(t, tab, "Reloader")
	id := jerry.Create(t, "Reloader")
	jerry.Say(t, id, "before")
	awaitHeard(t, tab, `["before"]`)
	session := eval[string](t, tab, "tom.sessionId")
	open(t, tab, "about:blank")
	jerry.Say(t, id, "meanwhile")
	visit(t, tab, s)
	logIn(t, tab, "Reloader")
	awaitHeard(t, tab, `["meanwhile"]`)
	if again := eval[string](t, tab, "tom.sessionId"); again != session {
		t.Errorf("the session is %s after the reload, it was %s", again, session)
	}
	awaitTrue(t, tab, "heardCounts.at(-1) === 2")
}

// The tab that holds the stream is frozen, as browsers do to tabs in the background.
func frozen(t *testing.T, s *systest.Server, browser context.Context) {
	jerry := s.As("Jerry")
	first, second := openTab(t, browser, s), openTab(t, browser, s)
	logIn(t, first, "Sleeper")
	logIn(t, second, "Sleeper")
	id := jerry.Create(t, "Sleeper")
	jerry.Say(t, id, "one")
	awaitHeard(t, first, `["one"]`)
	awaitHeard(t, second, `["one"]`)
	lifecycle(t, first, "frozen")
	eval[any](t, second, "tom._watch(-2), null") // its patience is over in a second
	jerry.Say(t, id, "two")
	awaitHeard(t, second, `["one","two"]`)
	awaitTrue(t, second, "tom._tabs.leads")

	// Thawed it loads what it has missed, and hears the rest from the other.
	lifecycle(t, first, "active")
	awaitTrue(t, first, "resets.length === 1 && !tom._tabs.leads")
	jerry.Say(t, id, "three")
	awaitHeard(t, second, `["one","two","three"]`)
	awaitTrue(t, first, "heard.at(-1) === 'three'")
	if last := eval[string](t, first, fmt.Sprintf("tom.getConversation(%q).then(c => c.unreadMessagesCount + c.lastMessage.text)", id)); last != "3three" {
		t.Errorf("the thawed tab knows of %s", last)
	}
	if n := eval[int](t, second, "closes.length"); n != 0 {
		t.Errorf("%d clients were closed", n)
	}
}

func crashes(t *testing.T, s *systest.Server, browser context.Context) {
	jerry := s.As("Jerry")
	first, second := openTab(t, browser, s), openTab(t, browser, s)
	logIn(t, first, "Crasher")
	logIn(t, second, "Crasher")
	id := jerry.Create(t, "Crasher")
	crash(first)
	jerry.Say(t, id, "one")
	awaitHeard(t, second, `["one"]`)
	awaitTrue(t, second, "tom._tabs.leads")
}

func offline(t *testing.T, s *systest.Server, browser context.Context) {
	jerry := s.As("Jerry")
	tab := openTab(t, browser, s)
	logIn(t, tab, "Roamer")
	id := jerry.Create(t, "Roamer")
	eval[any](t, tab, `(() => {
		window.timeline = []
		for (const e of ['disconnect', 'offline', 'online', 'schedule', 'retry', 'reconnect']) tom.on(e, () => timeline.push(e))
		return null
	})()`)
	connected(t, tab, false)
	awaitTrue(t, tab, "timeline.join() === 'disconnect,offline'")
	if failed := eval[string](t, tab, fmt.Sprintf("tom.getConversation(%q, true).then(String, (err) => err.type)", id)); failed != "network" {
		t.Errorf("asking says %s", failed)
	}
	jerry.Say(t, id, "one")
	connected(t, tab, true)
	awaitHeard(t, tab, `["one"]`)
	awaitTrue(t, tab, "timeline.join().startsWith('disconnect,offline,online,schedule,retry') && timeline.at(-1) === 'reconnect'")
}

func restart(t *testing.T, s *systest.Server, browser context.Context) {
	jerry := s.As("Jerry")
	tab := openTab(t, browser, s)
	logIn(t, tab, "Waiter")
	id := jerry.Create(t, "Waiter")
	jerry.Say(t, id, "one")
	awaitHeard(t, tab, `["one"]`)
	s.Kill()
	eval[any](t, tab, fmt.Sprintf("tom.getConversation(%q).then(c => { window.sending = c.send(new P.TextMessage('into the void')); return null })", id))
	s.Launch()
	s.AwaitReady()
	jerry.Say(t, id, "two")
	awaitHeard(t, tab, `["one","two"]`)
	if sent := eval[string](t, tab, "sending.then((m) => m.text, String)"); sent != "into the void" {
		t.Errorf("the send says %s", sent)
	}
}

// Every listener, timer, stream and channel is gone after close().
func nothingLeft(t *testing.T, s *systest.Server, browser context.Context) {
	tab := openTab(t, browser, s)
	eval[any](t, tab, `(async () => {
		window.running = new Set()
		const start = (what) => running.add(what), stop = (what) => running.delete(what)
		const { setTimeout: set, clearTimeout: clear, addEventListener: add, removeEventListener: remove } = window
		window.setTimeout = (run, ms) => { const id = set(() => { stop('timer ' + id); run() }, ms); start('timer ' + id); return id }
		window.clearTimeout = (id) => { stop('timer ' + id); clear(id) }
		window.addEventListener = (name, ...more) => { start(name); add.call(window, name, ...more) }
		window.removeEventListener = (name, ...more) => { stop(name); remove.call(window, name, ...more) }
		for (const name of ['EventSource', 'BroadcastChannel']) window[name] = class extends window[name] {
			constructor(...args) { super(...args); start(this) }
			close() { stop(this); super.close() }
		}
		return null
	})()`)
	logIn(t, tab, "Leaver")
	during := eval[string](t, tab, `(async () => {
		const c = await tom.createConversation({ members: ['Jerry'] })
		await c.send(new P.TextMessage('hi'))
		const during = [...running].map(String)
		await tom.close()
		return during.join()
	})()`)
	for _, what := range []string{"pagehide", "online", "offline", "EventSource", "BroadcastChannel", "timer"} {
		if !strings.Contains(during, what) {
			t.Errorf("no %s was seen among %s", what, during)
		}
	}
	awaitTrue(t, tab, "running.size === 0")
	if held := eval[int](t, tab, "navigator.locks.query().then((l) => l.held.length + l.pending.length)"); held != 0 {
		t.Errorf("%d locks are left", held)
	}
	if kept := eval[int](t, tab, "sessionStorage.length"); kept != 0 {
		t.Errorf("%d things are kept for a reload", kept)
	}
}

func uploads(t *testing.T, s *systest.Server, browser context.Context) {
	tab := openTab(t, browser, s)
	logIn(t, tab, "Sender")
	progress := eval[string](t, tab, `(async () => {
		let last
		const file = new P.File('x.txt', new Blob(['x'.repeat(100000)]))
		await file.save({ client: tom, onprogress: (p) => { last = p } })
		return [last.percent, file.size(), (await (await fetch(file.url())).text()).length].join()
	})()`)
	if progress != "100,100000,100000" {
		t.Errorf("the upload says %s", progress)
	}
}

func snippets(t *testing.T, s *systest.Server, browser context.Context) {
	tab := openTab(t, browser, s)
	logIn(t, tab, "Reader")
	id := s.As("Jerry").Create(t, "Reader")
	for _, snippet := range pageSnippets(t) {
		if said := eval[string](t, tab, fmt.Sprintf("(%s)(%s, %q)", runSnippet, snippet.Code, id)); said != "" {
			t.Errorf("%s, line %d: %s", snippet.Document, snippet.Line, said)
		}
	}
}

func broadcast(t *testing.T, s *systest.Server, browser context.Context) {
	tab := openTab(t, browser, s)
	logIn(t, tab, "Listener")
	operator := s.Operator()
	var service struct{ ID string }
	operator.Want(t, http.StatusCreated, "POST", "/v1/conversations", map[string]any{"kind": "service", "name": "News"}).Into(t, &service)
	operator.Want(t, http.StatusCreated, "POST", "/v1/broadcasts", map[string]any{"conversationId": service.ID, "type": "text", "text": "to all"}, "Parley-As", "Editor")
	awaitHeard(t, tab, `["to all"]`)
}

type snippet struct {
	Document string
	Line     int
	Code     json.RawMessage
}

// pageSnippets are the examples of the documents that touch a page; none where the documents are not beside the project.
func pageSnippets(t *testing.T) []snippet {
	t.Helper()
	cmd := exec.Command("node", "--input-type=module", "-e",
		"import { snippets } from './documents.mjs'; console.log(JSON.stringify((snippets() ?? []).filter((s) => /\\$\\(|window\\./.test(s.code))))")
	cmd.Dir = "test"
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []snippet
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d snippets touch the page", len(list))
	return list
}

// runSnippet runs one in a page that has the file input it speaks of, until it says
// on the console that it is done. It answers what went wrong. A plugin is used: its
// question on quitting is answered with no.
const runSnippet = `async (code, id) => {
	document.body.innerHTML = '<input type="file" id="photoFileUpload">'
	const files = new DataTransfer()
	files.items.add(new window.File(['\xff\xd8\xff'], 'photo.jpg', { type: 'image/jpeg' }))
	document.querySelector('#photoFileUpload').files = files.files
	window.confirm = () => false
	const conversation = await tom.getConversation(id)
	const plugin = /var (\w+Plugin) = /.exec(code)?.[1]
	const run = new Function('AV', 'require', '$', 'conversation', 'console', code + (plugin ? '\nreturn ' + plugin : ''))
	return new Promise((resolve) => {
		setTimeout(() => resolve('it says nothing'), 20000)
		const console = { log: () => resolve(''), error: (err) => resolve(String(err)) }
		const made = run(P, () => P, (selector) => document.querySelectorAll(selector), conversation, console)
		if (!made) return
		made.onConversationCreate(conversation)
		conversation.quit().then(() => resolve('it quit'), (err) => resolve(err.message === 'user canceled' ? '' : String(err)))
	})
}`

// browser is the one that all tests share; each has tabs or profiles of its own in it.
var browser struct {
	once  sync.Once
	ctx   context.Context
	close context.CancelFunc
	err   error
}

func chromium(t *testing.T) context.Context {
	t.Helper()
	browser.once.Do(func() {
		for _, name := range []string{"chromium", "chromium-headless-shell", "google-chrome"} {
			if path, err := exec.LookPath(name); err == nil {
				// The defaults keep the browser from slowing down tabs that nobody looks at. There is a mouse, as on a desk.
				mouse := chromedp.Flag("blink-settings", "primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4")
				options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, mouse)
				ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
				browser.close = cancel
				browser.ctx, _ = chromedp.NewContext(ctx)
				browser.err = chromedp.Do(browser.ctx)
				return
			}
		}
		browser.err = errors.New("no Chromium: install one of chromium, chromium-headless-shell and google-chrome")
	})
	if browser.err != nil {
		t.Fatal(browser.err)
	}
	return browser.ctx
}

func closeBrowser() {
	if browser.close != nil {
		browser.close()
	}
}

// openTab opens a page of the server in which P is the client library.
func openTab(t *testing.T, browser context.Context, s *systest.Server) context.Context {
	t.Helper()
	tab, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	// The first step makes the tab; were its context to end, the tab would with it.
	if err := chromedp.Do(tab); err != nil {
		t.Fatal(err)
	}
	visit(t, tab, s)
	return tab
}

func visit(t *testing.T, tab context.Context, s *systest.Server) {
	t.Helper()
	open(t, tab, s.URL()+"/healthz")
	eval[any](t, tab, "import('/parley.js').then(m => { window.P = m; return null })")
}

// logIn makes tom a client. What it hears is noted behind the log-in, as applications do.
func logIn(t *testing.T, tab context.Context, name string) {
	t.Helper()
	eval[any](t, tab, fmt.Sprintf(`(async () => {
		Object.assign(window, { heard: [], heardCounts: [], resets: [], closes: [] })
		window.tom = await new P.Realtime({ token: %q }).createIMClient(%q)
		tom.on('message', (m) => heard.push(m.text))
		tom.on('unreadmessagescountupdate', ([c]) => heardCounts.push(c.unreadMessagesCount))
		tom.on('reset', (e) => resets.push(e))
		tom.on('close', (e) => closes.push(e))
		return null
	})()`, systest.Token(name), name))
}

func awaitTrue(t *testing.T, tab context.Context, condition string) {
	t.Helper()
	systest.Eventually(t, condition, func() error {
		if !eval[bool](t, tab, condition) {
			return errors.New("it is not so")
		}
		return nil
	})
}

func awaitHeard(t *testing.T, tab context.Context, want string) {
	t.Helper()
	systest.Eventually(t, "the page hears "+want, func() error {
		if got := eval[string](t, tab, "JSON.stringify(heard)"); got != want {
			return fmt.Errorf("it heard %s", got)
		}
		return nil
	})
}

// patience is how long one step in the browser may take.
const patience = 30 * time.Second

// do runs a step that has a deadline: a page that hangs or has crashed never answers.
func do[T any](tab context.Context, step chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(tab, patience)
	defer cancel()
	return chromedp.Run(ctx, step)
}

func command[P, R any](t *testing.T, tab context.Context, c cdp.Command[P, R], params P) {
	t.Helper()
	if _, err := do(tab, func(ctx context.Context, target *chromedp.Target) (R, error) { return cdp.Call(ctx, target, c, params) }); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, tab context.Context, url string) {
	t.Helper()
	if _, err := do(tab, chromedp.Navigate(url)); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
}

func lifecycle(t *testing.T, tab context.Context, state page.SetWebLifecycleStateState) {
	t.Helper()
	command(t, tab, page.SetWebLifecycleState, page.SetWebLifecycleStateParams{State: state})
}

func connected(t *testing.T, tab context.Context, yes bool) {
	t.Helper()
	command(t, tab, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Offline: !yes, DownloadThroughput: -1, UploadThroughput: -1}},
	})
	command(t, tab, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: !yes, DownloadThroughput: -1, UploadThroughput: -1})
}

// crash ends the process of a page. It has nobody left to answer.
func crash(tab context.Context) {
	ctx, cancel := context.WithTimeout(tab, time.Second)
	defer cancel()
	_, _ = chromedp.Run(ctx, func(ctx context.Context, target *chromedp.Target) (cdp.Empty, error) {
		return cdp.Call(ctx, target, page.Crash, cdp.Empty{})
	})
}

// eval runs a script that may be a promise.
func eval[T any](t *testing.T, tab context.Context, script string) T {
	t.Helper()
	v, err := do(tab, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return v
}
