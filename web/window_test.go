package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"parley/cmd/parley/systest"
)

// window is the page as one person has it open.
type window struct {
	t   *testing.T
	ctx context.Context
	url string
}

// openWindow opens the page in a profile of its own.
func openWindow(t *testing.T, url string) *window {
	t.Helper()
	return newWindow(t, chromium(t), url, chromedp.WithNewBrowserContext())
}

// another is a second tab of the same profile.
func (w *window) another() *window {
	w.t.Helper()
	return newWindow(w.t, w.ctx, w.url)
}

// What the page complains about fails the test: an uncaught error, or something that its policy does not allow.
func newWindow(t *testing.T, parent context.Context, url string, options ...chromedp.ContextOption) *window {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	t.Cleanup(cancel)
	w := &window{t, ctx, url}
	// The first step makes the tab; were its context to end, the tab would with it.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("an error on the page: %s %s", e.ExceptionDetails.Text, e.ExceptionDetails.Exception.Description)
		case *log.EventEntryAdded:
			if e.Entry.Source == log.EntrySourceSecurity {
				t.Errorf("the page is not allowed: %s", e.Entry.Text)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	command(t, ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: helpers})
	w.do("a viewport", chromedp.EmulateViewport(1180, 760))
	open(t, ctx, url+"/")
	return w
}

// helpers look at the page for a test. holds waits until f answers what is wanted, and answers what it did in the end.
const helpers = `
	window.at = (id, root = document) => root.querySelector('[data-testid="' + id + '"]')
	window.all = (id, root = document) => [...root.querySelectorAll('[data-testid="' + id + '"]')]
	window.text = (id) => at(id)?.innerText
	window.rows = () => all('row')
	window.textOf = (row) => at('text', row)?.textContent
	window.said = () => rows().filter(textOf).map((r) => r.dataset.from + ': ' + textOf(r)).join('|')
	window.rowOf = (text) => rows().findLast((r) => textOf(r) === text)
	window.notices = () => all('notice').map((n) => n.textContent).join('|')
	window.focused = () => document.activeElement.dataset.testid ?? document.activeElement.tagName
	window.lastStatus = () => rows().at(-1)?.dataset.status
	window.chats = () => all('chat').map((c) => c.querySelector('.chat-title').textContent).join('|')
	window.chat = (title) => all('chat').find((c) => c.querySelector('.chat-title').textContent === title)
	window.holds = async (f, want, patience) => {
		for (const deadline = Date.now() + patience; ;) {
			let got
			try { got = String(await f()) } catch (err) { got = String(err) }
			if (got === want || Date.now() > deadline) return got
			await new Promise((resolve) => setTimeout(resolve, 20))
		}
	}`

// await waits until a script answers what is wanted, over reloads of the page too.
func (w *window) await(what, script, want string) {
	w.t.Helper()
	wanted, _ := json.Marshal(want)
	for deadline := time.Now().Add(systest.Patience); ; {
		got, err := do(w.ctx, chromedp.Evaluate[string](fmt.Sprintf("holds(() => (%s), %s, 5000)", script, wanted), chromedp.EvalAwaitPromise))
		if err == nil && got == want {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain: %s: it is %q, not %q (%v)", what, got, want, err)
		}
	}
}

func (w *window) awaitTrue(what, script string) {
	w.t.Helper()
	w.await(what, "String(!!("+script+"))", "true")
}

// is asks at once.
func (w *window) is(what, script, want string) {
	w.t.Helper()
	if got := eval[any](w.t, w.ctx, script); got != want {
		w.t.Errorf("%s: it is %q, not %q", what, got, want)
	}
}

// close closes the tab, as the cross on it does.
func (w *window) close() {
	w.t.Helper()
	if err := chromedp.Cancel(w.ctx); err != nil {
		w.t.Fatal(err)
	}
}

func (w *window) signIn(name string) {
	w.t.Helper()
	w.fill("sign-in-name", name)
	w.click("sign-in-submit")
	w.awaitState("connected")
}

// awaitState waits until the line at the top says how the connection is.
func (w *window) awaitState(state string) {
	w.t.Helper()
	w.await("the connection", `at("status").offsetParent && at("status").dataset.state`, state)
}

// say writes a message and sends it with the Enter key.
func (w *window) say(text string) {
	w.t.Helper()
	w.fill("input", text+"\r")
}

// choose opens a menu and takes one of its items.
func (w *window) choose(menu, item string) {
	w.t.Helper()
	w.click(menu)
	w.click(item)
}

// open opens the conversation with a title.
func (w *window) open(title string) {
	w.t.Helper()
	w.awaitTrue("a conversation "+title, fmt.Sprintf("chat(%q)", title))
	w.clickOn(fmt.Sprintf("chat(%q)", title))
	w.await("the title", `text("title")`, title)
}

// act takes what can be done with the message that has a text.
func (w *window) act(text, item string) {
	w.t.Helper()
	w.awaitTrue("a message "+text, fmt.Sprintf("rowOf(%q)", text))
	w.clickOn(fmt.Sprintf(`at("actions", rowOf(%q))`, text))
	w.click(item)
}

func (w *window) click(id string) { w.t.Helper(); w.do("click "+id, chromedp.Click(testid(id))) }

// clickOn clicks on what a script answers, from within the page: it may be moving, as rows do when something comes.
func (w *window) clickOn(script string) {
	w.t.Helper()
	eval[any](w.t, w.ctx, "("+script+").click()")
}

func (w *window) fill(id, text string) {
	w.t.Helper()
	w.do("fill "+id, chromedp.Focus(testid(id), chromedp.NodeVisible), press(text))
}

// replace fills a field that has something in it.
func (w *window) replace(id, text string) {
	w.t.Helper()
	eval[any](w.t, w.ctx, fmt.Sprintf("at(%[1]q).focus(), at(%[1]q).select()", id))
	w.keys(text)
}

// keys presses keys wherever the focus is.
func (w *window) keys(keys string) { w.t.Helper(); w.do("the keys "+keys, press(keys)) }

// press presses keys as a keyboard does: where the page does not let a key do its work, no character comes of it.
func press(keys string, modifiers ...chromedp.Modifier) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		for _, r := range keys {
			events := kb.Encode(r)
			down, up := events[0], events[len(events)-1]
			if len(events) == 3 {
				down.Text, down.UnmodifiedText = events[1].Text, events[1].UnmodifiedText
			}
			for _, event := range []*input.DispatchKeyEventParams{down, up} {
				for _, m := range modifiers {
					event.Modifiers |= int64(m)
				}
				if _, err := cdp.Call(ctx, tab, input.DispatchKeyEvent, *event); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// attach sends a file as a picture ("photo-input") or as what it is ("file-input").
func (w *window) attach(input, path string) {
	w.t.Helper()
	w.do("attach "+path, chromedp.SetUploadFiles(testid(input), []string{path}, chromedp.NodeReady))
}

// scheme is light or dark.
func (w *window) scheme(scheme string) {
	w.t.Helper()
	command(w.t, w.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
}

// phone makes the window as narrow as one.
func (w *window) phone() {
	w.t.Helper()
	w.do("a phone", chromedp.EmulateViewport(390, 760, chromedp.EmulateScale(2), chromedp.EmulateMobile, chromedp.EmulateTouch))
}

func (w *window) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		w.t.Fatalf("%s: %v; the page says %s", what, err, eval[string](w.t, w.ctx, "document.body.innerText"))
	}
}

func testid(id string) chromedp.CSS { return chromedp.CSS(fmt.Sprintf(`[data-testid=%q]`, id)) }

// named is a client with the token that the page would get for that name.
func named(t *testing.T, s *systest.Server, name string) *systest.Client {
	t.Helper()
	resp, err := http.Post(s.URL()+"/page/token", "text/plain", strings.NewReader(name))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	token, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("a token for %s: %s, %v", name, resp.Status, err)
	}
	c := s.As(name)
	c.Token = string(token)
	return c
}
