package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// In a browser the client uses EventSource, shares its stream between tabs, and finds its place again after a reload.
func TestBrowser(t *testing.T) {
	s := systest.Start(t, repotest.DSN(t))
	browser := chromium(t)
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

	// The one that holds the stream goes away, the other one takes it over where it was.
	if err := chromedp.Cancel(first); err != nil {
		t.Fatal(err)
	}
	jerry.Say(t, id, "two")
	awaitHeard(t, second, `["one","two"]`)

	// A reload: the same session, and what happened meanwhile.
	session := eval[string](t, second, "tom.sessionId")
	open(t, second, "about:blank")
	jerry.Say(t, id, "three")
	visit(t, second, s)
	logIn(t, second, "Tom")
	awaitHeard(t, second, `["three"]`)
	if again := eval[string](t, second, "tom.sessionId"); again != session {
		t.Errorf("the session is %s after the reload, it was %s", again, session)
	}

	progress := eval[string](t, second, `(async () => {
		let last
		const file = new P.File('x.txt', new Blob(['x'.repeat(100000)]))
		await file.save({ client: tom, onprogress: (p) => { last = p } })
		return [last.percent, file.size(), (await (await fetch(file.url())).text()).length].join()
	})()`)
	if progress != "100,100000,100000" {
		t.Errorf("the upload says %s", progress)
	}

	for _, snippet := range pageSnippets(t) {
		if said := eval[string](t, second, fmt.Sprintf("(%s)(%s, %q)", runSnippet, snippet.Code, id)); said != "" {
			t.Errorf("%s, line %d: %s", snippet.Document, snippet.Line, said)
		}
	}
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

func chromium(t *testing.T) context.Context {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-headless-shell", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			ctx, cancel := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox,
				chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.Flag("disable-background-networking", true))
			t.Cleanup(cancel)
			ctx, cancel = chromedp.NewContext(ctx)
			t.Cleanup(cancel)
			if err := chromedp.Do(ctx); err != nil {
				t.Fatal(err)
			}
			return ctx
		}
	}
	t.Fatal("no Chromium: install one of chromium, chromium-headless-shell and google-chrome")
	return nil
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

func logIn(t *testing.T, tab context.Context, name string) {
	t.Helper()
	eval[any](t, tab, fmt.Sprintf(`(async () => {
		window.heard = []
		const realtime = new P.Realtime({ token: %q })
		const opening = realtime.createIMClient(%q)
		for (const { client } of realtime._clients.values()) client.on('message', (m) => heard.push(m.text))
		window.tom = await opening
		return null
	})()`, systest.Token(name), name))
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

func open(t *testing.T, tab context.Context, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
}

// eval runs a script that may be a promise.
func eval[T any](t *testing.T, tab context.Context, script string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return v
}
