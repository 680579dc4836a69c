package web_test

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// The pictures of the page that `make screenshots` puts into docs/: they go into the folder that PARLEY_SCREENSHOTS names.
func TestScreenshots(t *testing.T) {
	folder := cmp.Or(os.Getenv("PARLEY_SCREENSHOTS"), t.TempDir())
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	lively(t, s)
	jerry, w := openWindow(t, s.URL()), openWindow(t, s.URL())
	jerry.signIn("Jerry")
	jerry.open("Tom & Jerry & friends")

	w.signIn("Tom")
	w.await("who is online", `at("presence", chat("Jerry")).dataset.online`, "true")
	w.open("Tom & Jerry & friends")
	w.await("the last message", `textOf(rows().at(-1))`, "Cake it is. See you all there at four!")
	w.await("what is unread elsewhere", "document.title", "(6) Parley")
	w.awaitTrue("the picture", `at("image").querySelector("img").complete`)
	w.scheme("light")
	w.picture(folder, "page.png")

	w.open("Jerry")
	w.say("Deal. Shake hands on it?")
	jerry.open("Tom")
	jerry.await("what Tom says", `textOf(rows().at(-1))`, "Deal. Shake hands on it?")
	w.await("that it is read", "lastStatus()", "read")
	jerry.fill("input", "With")
	w.await("who is typing", `text("typing")`, "Jerry is typing…")
	w.scheme("dark")
	w.picture(folder, "page-dark.png")

	w.phone()
	w.scheme("light")
	w.click("back")
	w.click("tab-rooms")
	w.open("World cup final")
	w.await("the last message", `textOf(rows().at(-1))`, "GOAL! It is 1:0, out of nowhere.")
	w.await("who is there", `text("subtitle")`, "1 here now")
	w.picture(folder, "page-phone.png")
}

// picture takes one of what the window shows.
func (w *window) picture(folder, name string) {
	w.t.Helper()
	eval[any](w.t, w.ctx, `document.fonts.ready.then(() => new Promise(requestAnimationFrame)).then(() => null)`)
	b, err := do(w.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		w.t.Fatal(err)
	}
	if len(b) < 20_000 || len(b) > 200_000 {
		w.t.Errorf("%s has %d bytes", name, len(b))
	}
	if err := os.WriteFile(filepath.Join(folder, name), b, 0o644); err != nil {
		w.t.Fatal(err)
	}
}
