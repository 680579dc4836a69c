package web_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/chromedp/chromedp"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// axe-core finds nothing serious in any view, in neither scheme.
func TestPageAxe(t *testing.T) {
	source, err := os.ReadFile("test/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatalf("%v: make tools installs axe-core", err)
	}
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	lively(t, s)
	w := openWindow(t, s.URL())
	eval[any](t, w.ctx, string(source)+"; null") // the page itself would not be allowed to load it
	w.axe("signing in")
	w.signIn("Tom")
	w.await("the list", "chats()", "Dinner on Friday|Tom & Jerry & friends|Jerry|Front garden")
	w.awaitTrue("the mention", `at("mentioned")`)
	w.axe("the list")
	w.click("new")
	w.axe("the menu")
	w.click("new-group")
	w.axe("a new group")
	w.click("cancel")
	w.open("Tom & Jerry & friends")
	w.await("the last message", `textOf(rows().at(-1))`, "Cake it is. See you all there at four!")
	w.axe("every kind of message")
	w.click("open-details")
	w.axe("the details")
	w.click("close")
	w.click("tab-rooms")
	w.open("World cup final")
	w.await("the last message", `textOf(rows().at(-1))`, "GOAL! It is 1:0, out of nowhere.")
	w.axe("a room")
}

// axe looks at what the window shows, in the light and in the dark.
func (w *window) axe(view string) {
	w.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		w.scheme(scheme)
		found := eval[struct {
			Passed int
			Faults []string
		}](w.t, w.ctx, `axe.run(document, { preload: false }).then(({ passes, violations }) => ({
			passed: passes.length,
			faults: violations.filter((v) => v.impact === 'serious' || v.impact === 'critical').flatMap((v) =>
				v.nodes.map((n) => v.impact + ', ' + v.id + ': ' + n.html.slice(0, 200) + ' ' + n.failureSummary)),
		}))`)
		if found.Passed < 10 {
			w.t.Errorf("%s, %s: only %d rules passed", view, scheme, found.Passed)
		}
		for _, fault := range found.Faults {
			w.t.Errorf("%s, %s: %s", view, scheme, fault)
		}
	}
}

// Everything can be done with the keyboard, and the focus is never lost.
func TestPageKeyboard(t *testing.T) {
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	jerry := named(t, s, "Jerry")
	jerry.Say(t, conversation(t, jerry, object{"members": []string{"Tom"}, "name": "Cheese"}), "hello")
	w := openWindow(t, s.URL())
	w.await("the focus", "focused()", "sign-in-name")
	w.keys("Tom\r")
	w.await("the list", "chats()", "Cheese")

	w.tabTo("chat")
	w.keys("\r")
	w.await("the title", `text("title")`, "Cheese")
	w.await("the focus", "focused()", "input")
	w.keys("answer\r")
	w.await("what was said", "said() + lastStatus()", "Jerry: hello|Tom: answersent")
	w.is("the focus stays", "focused()", "input")

	w.back("messages")
	w.keys("\u0304") // up: the last message
	w.await("the focus", "textOf(document.activeElement)", "answer")
	w.keys("\u0304\u0301\r") // up, down, and what can be done with it
	w.await("the focus", "focused()", "edit")
	w.keys("\u0301")
	w.await("the focus", "focused()", "recall")
	w.keys("\x1b")
	w.await("the focus", "textOf(document.activeElement)", "answer")

	w.back("open-details")
	w.keys("\r")
	w.awaitTrue("the dialog", `at("details")?.contains(document.activeElement)`)
	for range 12 {
		w.keys("\t")
		w.is("the focus is in the dialog", `String(document.activeElement === document.body || at("details").contains(document.activeElement))`, "true")
	}
	w.keys("\x1b")
	w.await("the focus", "focused()", "open-details")
	w.awaitTrue("the dialog is gone", `!at("details")`)

	w.back("new")
	w.keys("\r\u0301\r") // the menu, its second item
	w.await("the focus", "focused()", "field-name")
	w.keys("\x1b")
	w.await("the focus", "focused()", "new")
	w.back("tab-chats")
	w.keys("\u0303") // right
	w.await("the focus", `focused() + at("tab-rooms").ariaSelected`, "tab-roomstrue")
	w.back("sign-out")
	w.keys("\r")
	w.await("goodbye", `text("sign-in-error") + focused()`, "You have signed out.sign-in-name")
}

// tabTo presses the tab key until something has the focus; back does with shift.
func (w *window) tabTo(id string) { w.t.Helper(); w.tab(id) }
func (w *window) back(id string) {
	w.t.Helper()
	w.tab(id, chromedp.ModifierShift)
}

func (w *window) tab(id string, with ...chromedp.Modifier) {
	w.t.Helper()
	var passed []string
	for range 20 {
		w.do("the tab key", press("\t", with...))
		at := eval[string](w.t, w.ctx, "focused()")
		if at == id {
			return
		}
		passed = append(passed, at)
	}
	w.t.Fatalf("the tab key does not lead to %s but to %q", id, passed)
}

// On a phone it is the list or the conversation, and nothing is wider than the screen.
func TestPagePhone(t *testing.T) {
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	lively(t, s)
	w := openWindow(t, s.URL())
	w.phone()
	w.signIn("Tom")
	shows := func(list bool) {
		t.Helper()
		w.await("what is shown", `!!at("list").offsetParent + "," + !!at("messages").offsetParent`, fmt.Sprint(list, ",", !list))
		w.is("nothing is wider than the screen", "String(document.documentElement.scrollWidth <= innerWidth)", "true")
		w.is("nothing is wider than its place", `String([...document.querySelectorAll("#list-panel, #scroller, #messages")].every((e) => e.scrollWidth <= e.clientWidth))`, "true")
	}
	shows(true)
	w.open("Tom & Jerry & friends")
	w.await("the last message", `textOf(rows().at(-1))`, "Cake it is. See you all there at four!")
	shows(false)
	w.say("M" + fmt.Sprintf("%0200d", 7))
	w.await("it is sent", "lastStatus()", "sent")
	shows(false)
	w.click("open-details")
	w.is("the dialog fits", `String(at("details").getBoundingClientRect().right <= innerWidth && at("details").getBoundingClientRect().bottom <= innerHeight)`, "true")
	w.click("close")
	w.click("back")
	shows(true)
	w.open("Jerry")
	shows(false)
	eval[any](t, w.ctx, "history.back(), null")
	shows(true)
}
