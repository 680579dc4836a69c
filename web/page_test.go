package web_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// Two people sign in by name, each in a window of his own, and talk.
func TestPageTomAndJerry(t *testing.T) {
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	browser := chromium(t)
	tom, jerry := openWindow(t, browser, s), openWindow(t, browser, s)
	tom.signIn("Tom")
	jerry.signIn("Jerry")

	tom.choose("new", "new-chat")
	tom.fill("field-name", "Jerry")
	tom.click("submit")
	tom.await("the title", `text("title")`, "Jerry")
	tom.say("Cat, you there?")
	tom.await("what Tom said", "said()", "Tom: Cat, you there?")

	jerry.await("one unread", `at("unread")?.dataset.count`, "1")
	jerry.click("chat")
	jerry.await("what Tom said", "said()", "Tom: Cat, you there?")
	tom.await("the ticks", "lastStatus()", "read")
	jerry.await("nothing unread", `String(!!at("unread"))`, "false")

	jerry.say("<b>Mouse</b> & co: https://example.com/?a=1&b=2.")
	const both = "Tom: Cat, you there?|Jerry: <b>Mouse</b> & co: https://example.com/?a=1&b=2."
	tom.await("the answer", "said()", both)
	jerry.await("the answer, once", "said()", both)
	tom.await("the link", `at("messages").querySelector("a").href`, "https://example.com/?a=1&b=2")
}

// window is a page of the server as one person has it open.
type window struct {
	t   *testing.T
	ctx context.Context
}

// openWindow opens the page in a profile of its own. What the page complains about fails the test: an
// uncaught error, or something that its policy does not allow.
func openWindow(t *testing.T, browser context.Context, s *systest.Server) *window {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	w := &window{t, ctx}
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
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1100, 760), chromedp.Navigate(s.URL()+"/")); err != nil {
		t.Fatal(err)
	}
	eval[any](t, ctx, helpers)
	return w
}

// helpers look at the page for a test.
const helpers = `
	window.at = (id) => document.querySelector('[data-testid="' + id + '"]');
	window.text = (id) => at(id)?.innerText;
	window.rows = () => [...document.querySelectorAll('[data-testid=row]')];
	window.said = () => rows().filter((r) => r.querySelector('[data-testid=text]')).map((r) => r.dataset.from + ': ' + r.querySelector('[data-testid=text]').textContent).join('|');
	window.lastStatus = () => rows().at(-1)?.dataset.status;
	null`

func (w *window) signIn(name string) {
	w.t.Helper()
	w.fill("sign-in-name", name)
	w.click("sign-in-submit")
	w.await(name+" is connected", `at("status").offsetParent && at("status").dataset.state`, "connected")
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

func (w *window) click(id string) { w.t.Helper(); w.do("click "+id, chromedp.Click(testid(id))) }

func (w *window) fill(id, text string) {
	w.t.Helper()
	w.do("fill "+id, chromedp.SendKeys(testid(id), text))
}

func (w *window) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
}

// await waits until a script answers what is wanted.
func (w *window) await(what, script, want string) {
	w.t.Helper()
	systest.Eventually(w.t, what, func() error {
		if got := eval[any](w.t, w.ctx, script); got != want {
			return fmt.Errorf("it is %q, not %q", got, want)
		}
		return nil
	})
}

func testid(id string) string { return fmt.Sprintf(`[data-testid=%q]`, id) }
