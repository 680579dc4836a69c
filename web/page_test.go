package web_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
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

	// What the server does not take says so, and stays until one has decided.
	eval[any](t, tom.ctx, `at("input").value = "喵".repeat(3000)`)
	tom.click("send")
	tom.await("a message that failed", "lastStatus()", "failed")
	tom.await("why", `rows().at(-1).innerText.includes("This message is too long.") + text("retry")`, "trueRetry")
	eval[any](t, tom.ctx, `performance.clearResourceTimings()`)
	tom.click("retry")
	tom.await("the same again", `performance.getEntriesByType("resource").filter((e) => e.name.endsWith("/messages")).length + lastStatus() + rows().length`, "1failed3")
	tom.click("discard")
	tom.await("what was said before", "said()", both)
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
	everywhere := chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: helpers})
		return err
	})
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1100, 760), everywhere, chromedp.Navigate(s.URL()+"/")); err != nil {
		t.Fatal(err)
	}
	return w
}

// helpers look at the page for a test.
const helpers = `
	window.at = (id) => document.querySelector('[data-testid="' + id + '"]');
	window.text = (id) => at(id)?.innerText;
	window.rows = () => [...document.querySelectorAll('[data-testid=row]')];
	window.said = () => rows().filter((r) => r.querySelector('[data-testid=text]')).map((r) => r.dataset.from + ': ' + r.querySelector('[data-testid=text]').textContent).join('|');
	window.lastStatus = () => rows().at(-1)?.dataset.status`

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
		got, err := chromedp.Run(w.ctx, chromedp.Evaluate[any](script, chromedp.EvalAwaitPromise)) // fails while the page loads
		if err == nil && got != want {
			err = fmt.Errorf("it is %q, not %q", got, want)
		}
		return err
	})
}

func testid(id string) string { return fmt.Sprintf(`[data-testid=%q]`, id) }

// A group: making it, mentioning, editing, recalling, who has read, renaming, do not disturb, inviting, removing, joining by its id, leaving.
func TestPageGroup(t *testing.T) {
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	browser := chromium(t)
	tom, jerry, mary := openWindow(t, browser, s), openWindow(t, browser, s), openWindow(t, browser, s)
	tom.signIn("Tom")
	jerry.signIn("Jerry")
	mary.signIn("Mary <i>")

	tom.choose("new", "new-group")
	tom.fill("field-name", "Mice <script>alert(1)</script>")
	tom.fill("field-members", "Jerry, Mary <i>")
	tom.click("submit")
	tom.await("the name as it was written", `text("title")`, "Mice <script>alert(1)</script>")
	tom.await("three members", `text("subtitle")`, "3 members")

	tom.fill("input", "hear, @Jer")
	tom.click("mention")
	tom.fill("input", "!\r")
	jerry.await("the mark of a mention", `String(!!at("mentioned"))`, "true")
	jerry.click("chat")
	jerry.await("what was said", "said()", "Tom: hear, @Jerry !")
	jerry.await("oneself in it", `document.querySelector(".mention.me")?.textContent`, "@Jerry")
	jerry.await("no mark any more", `String(!!at("mentioned") || !!at("unread"))`, "false")
	mary.await("unread, no mention", `at("unread")?.dataset.count + !!at("mentioned")`, "1false")

	tom.choose("actions", "who-read")
	tom.await("who has read it", `[...document.querySelectorAll("[data-testid=receipt]")].map(r => r.dataset.client + " " + r.dataset.read).join()`, "Jerry true,Mary <i> false")
	tom.click("close")
	tom.choose("actions", "edit")
	tom.fill("input", "!!\r")
	jerry.await("the edit", "said()", "Tom: hear, @Jerry !!!")
	tom.await("the edit here", "said()", "Tom: hear, @Jerry !!!")
	tom.choose("actions", "recall")
	jerry.await("the recall", `text("recalled")`, "Tom recalled a message")
	tom.await("the recall here", `text("recalled")`, "You recalled a message")
	mary.await("nothing unread", `String(!!at("unread"))`, "false")

	tom.click("open-details")
	tom.set("rename", "Cats")
	tom.click("rename-save")
	tom.click("mute")
	id := eval[string](t, tom.ctx, `text("conversation-id")`)
	tom.await("the bell", `String(!!at("muted"))`, "true")
	jerry.await("the new name", `text("title")`, "Cats")
	jerry.await("the note of it", `text("notice")`, "Tom changed the name to “Cats”")
	tom.do("remove Jerry", chromedp.Click(`[data-client=Jerry] [data-testid=kick]`))
	jerry.await("a closed conversation", `String(document.querySelector("#open").hidden)`, "true")
	jerry.await("an empty list", `String(!!at("chat"))`, "false")
	tom.fill("invite", "William")
	tom.click("invite-submit")
	tom.await("three members again", `text("subtitle")`, "3 members")
	tom.click("close")

	jerry.choose("new", "join-by-id")
	jerry.fill("field-id", "nothing")
	jerry.click("submit")
	jerry.await("what is wrong", `text("dialog-error")`, "There is no such conversation.")
	jerry.set("field-id", id)
	jerry.click("submit")
	jerry.await("the history", `text("recalled")`, "Tom recalled a message")
	jerry.await("four members", `text("subtitle")`, "4 members")
	jerry.click("open-details")
	jerry.click("leave")
	jerry.click("submit")
	jerry.await("a closed conversation", `String(document.querySelector("#open").hidden)`, "true")
	tom.await("the note of it", `[...document.querySelectorAll("[data-testid=notice]")].at(-1).innerText`, "Jerry left")
}

// set replaces what a field holds.
func (w *window) set(id, text string) {
	w.t.Helper()
	eval[any](w.t, w.ctx, fmt.Sprintf("at(%q).value = ''", id))
	w.fill(id, text)
}

// What is not text, and a room.
func TestPageFilesAndRooms(t *testing.T) {
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	browser := chromium(t)
	tom, jerry := openWindow(t, browser, s), openWindow(t, browser, s)
	tom.signIn("Tom")
	jerry.signIn("Jerry")
	tom.choose("new", "new-chat")
	tom.fill("field-name", "Jerry")
	tom.click("submit")
	tom.await("the title", `text("title")`, "Jerry")

	folder := t.TempDir()
	picture, paper := filepath.Join(folder, "dot.png"), filepath.Join(folder, "<b>paper.txt")
	dot, err := base64.StdEncoding.DecodeString("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==")
	if err := errors.Join(err, os.WriteFile(picture, dot, 0o600), os.WriteFile(paper, []byte("a paper"), 0o600)); err != nil {
		t.Fatal(err)
	}
	tom.do("choose a picture", chromedp.SetUploadFiles(testid("photo-input"), []string{picture}, chromedp.NodeReady))
	jerry.click("chat")
	jerry.await("the picture", `at("image")?.querySelector("img").naturalWidth + " " + at("image")?.getAttribute("aria-label")`, "1 Show the image dot.png")
	jerry.click("image")
	jerry.await("it, larger", `at("image-preview").querySelector("img").naturalWidth + text("image-preview")`, "1dot.png")
	jerry.click("close")
	tom.do("choose a file", chromedp.SetUploadFiles(testid("file-input"), []string{paper}, chromedp.NodeReady))
	jerry.await("the file", `text("file")`, "<b>paper.txt\n7 bytes")
	jerry.await("what is in it", `fetch(at("file").href).then(r => r.text())`, "a paper")

	tom.choose("attach", "attach-location")
	tom.fill("field-latitude", "91")
	tom.fill("field-longitude", "13.4")
	tom.click("submit")
	tom.await("what is wrong", `text("dialog-error")`, "Latitude is -90 to 90, longitude -180 to 180.")
	tom.set("field-latitude", "52.5")
	tom.click("submit")
	jerry.await("the place", `text("location")`, "Location\n52.50000, 13.40000")

	tom.fill("input", "well")
	jerry.await("that Tom writes", `text("typing")`, "Tom is typing…")
	tom.fill("input", "\r")
	jerry.await("that Tom writes no more", `text("typing")`, "")

	tom.choose("new", "new-room")
	tom.fill("field-name", "Lobby")
	tom.click("submit")
	tom.await("one in the room", `text("subtitle")`, "1 here now")
	jerry.click("tab-rooms")
	jerry.click("chat")
	jerry.await("two in the room", `text("subtitle")`, "2 here now")
	tom.await("two in the room", `text("subtitle")`, "2 here now")
	eval[any](t, jerry.ctx, `at("priority").value = "high"`)
	jerry.say("fire!")
	tom.await("what Jerry says", "said()", "Jerry: fire!")
	tom.await("that it is urgent", `document.querySelector(".priority.high")?.textContent`, "High")
}

// The server goes away and comes back: the page says so and recovers by itself, and what was written meanwhile arrives once.
func TestPageRecovers(t *testing.T) {
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	browser := chromium(t)
	tom, jerry := openWindow(t, browser, s), openWindow(t, browser, s)
	tom.signIn("Tom")
	jerry.signIn("Jerry")
	tom.choose("new", "new-chat")
	tom.fill("field-name", "Jerry")
	tom.click("submit")
	tom.say("before")
	jerry.click("chat")
	jerry.await("what was said", "said()", "Tom: before")

	s.Kill()
	tom.await("that the connection is gone", `at("status").dataset.state`, "reconnecting")
	tom.say("meanwhile")
	tom.await("what waits", "said()+lastStatus()", "Tom: before|Tom: meanwhilepending")
	s.Launch()
	s.AwaitReady()
	for _, w := range []*window{tom, jerry} {
		w.await("that it is back", `at("status").dataset.state`, "connected")
		w.await("what was said meanwhile", "said()", "Tom: before|Tom: meanwhile")
	}
	tom.await("that it has arrived", `String(["sent", "delivered", "read"].includes(lastStatus()))`, "true")
	jerry.say("after")
	tom.await("what was said after", "said()", "Tom: before|Tom: meanwhile|Jerry: after")

	// A reload: the same person in the same conversation.
	tom.do("reload", chromedp.Reload())
	tom.await("what was said", "at('messages') && said()", "Tom: before|Tom: meanwhile|Jerry: after")
	tom.click("sign-out")
	tom.await("the form again", `at("sign-in-error")?.textContent`, "You have signed out.")
}
