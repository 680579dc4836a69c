package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// What people write stays text: in their names, the names of conversations, messages, places and files. Nothing of it
// runs, becomes an element or a link that it should not be, or turns around what stands beside it.
func TestPageText(t *testing.T) {
	const (
		evil   = `<img src=x onerror="window.hacked=1">`
		turned = "\u202eyrreJ<script>" // from right to left
		group  = `</span><script>window.hacked=1</script> & "friends" {by}`
	)
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	tom, jerry := openWindow(t, s.URL()), named(t, s, turned)
	tom.signIn(evil)
	tom.is("who one is", `text("me").includes('`+evil+`')`+`+ ""`, "true")
	tom.choose("new", "new-group")
	tom.fill("field-name", group)
	tom.do("the members", chromedp.SetValue(testid("field-members"), turned+", Mary"))
	tom.click("submit")
	tom.await("the title", `text("title")`, group)
	tom.await("the list", "chats()", group)
	id := eval[string](t, tom.ctx, `decodeURIComponent(location.hash.slice(1))`)

	texts := []string{
		evil, group, `javascript:window.hacked=1`, `data:text/html,<script>window.hacked=1</script>`, "[a](javascript:window.hacked=1)",
		`https://example.com/"onmouseover="window.hacked=1" end`, "https://example.com/<b>x</b>", "\u202egnp.exe \u2066\u2067 and back", strings.Repeat("W", 3000), "&lt;b&gt; &amp;",
		"@" + turned + " " + evil, "constructor __proto__ {n} ${1}", "zalgo " + strings.Repeat("h\u0301\u0302\u0303\u0304\u0305\u0306", 40),
	}
	for _, text := range texts {
		send(t, jerry, id, object{"type": "text", "text": text, "mentionList": []string{turned}})
	}
	want, _ := json.Marshal(texts)
	tom.await("what was said", fmt.Sprintf("JSON.stringify(rows().map(textOf)) === JSON.stringify(%s)", want), "true")
	send(t, jerry, id, object{"type": "location", "text": evil, "location": object{"latitude": 1, "longitude": 2}})
	send(t, jerry, id, object{"type": "custom", "customType": 9, "text": evil, "data": object{"html": evil}, "attributes": object{"html": evil}})
	jerry.Want(t, http.StatusBadRequest, "POST", "/v1/conversations/"+id+"/messages", object{"type": "file", "file": object{"url": "javascript:window.hacked=1"}})
	send(t, jerry, id, object{"type": "image", "file": object{"url": s.URL() + "/v1/files/nothing", "name": evil}})

	paper := filepath.Join(t.TempDir(), "<b>bill\u202egnp.exe")
	write(t, paper, []byte("<script>window.hacked=1</script>"))
	tom.attach("file-input", paper)
	tom.await("the file", `at("file", rows().at(-1))?.querySelector("bdi").textContent`, "<b>bill\u202egnp.exe")
	tom.say(evil)
	tom.await("it is sent", "textOf(rows().at(-1)) + lastStatus()", evil+"sent")

	// Wherever a name can stand.
	jerry.Want(t, http.StatusOK, "DELETE", "/v1/conversations/"+id+"/members?clientId=Mary", nil)
	jerry.Want(t, http.StatusOK, "PATCH", "/v1/conversations/"+id, object{"name": turned})
	tom.await("what happened", "notices()", "yrreJ<script> removed Mary|yrreJ<script> changed the name to “yrreJ<script>”")
	tom.await("the title", `text("title")`, turned)
	tom.fill("input", "@")
	tom.await("whom to mention", `at("mention").dataset.name`, turned)
	tom.keys("\r")
	tom.await("the mention", `at("input").value`, "@"+turned+" ")
	tom.keys("\r")
	tom.await("the mark", `rows().at(-1).querySelector(".mention")?.textContent`, "@"+turned)
	tom.click("open-details")
	tom.await("the members", `all("member").map((m) => m.querySelector("bdi").textContent).sort().join()`, evil+","+turned)
	tom.is("the name", `at("rename").value`, turned)
	tom.click("close")
	tom.act(evil, "who-read")
	tom.awaitTrue("the receipts", `at("receipts").querySelector("bdi").textContent.includes("yrreJ")`)
	tom.click("close")

	harmless(tom)
	tom.do("reload", chromedp.Reload())
	tom.await("the same again", `textOf(rows().at(-1))`, "@"+turned)
	harmless(tom)
}

// harmless: nothing has been made of text on the page.
func harmless(w *window) {
	w.t.Helper()
	w.is("nothing ran", "String(window.hacked)", "undefined")
	w.is("no element comes of text", `document.querySelectorAll("#app script, #app b, #app [onerror], #app [onmouseover], img[src=x], iframe").length + ""`, "0")
	w.is("no other elements in text", `[...new Set(all("text").flatMap((t) => [...t.children]).map((e) => e.tagName + e.className))].sort().join()`, "A,SPANmention")
	w.is("where links lead", `[...document.querySelectorAll("a[href]")].map((a) => new URL(a.href)).filter((u) => !["http:", "https:"].includes(u.protocol)).join()`, "")
	w.is("what links leave alone", `all("text").flatMap((t) => [...t.querySelectorAll("a")]).every((a) => a.textContent === a.getAttribute("href") && a.rel.includes("noreferrer")) + ""`, "true")
	w.is("names stand for themselves", `[...document.querySelectorAll(".from, .chat-title, .people bdi, #title, .text, .file-name bdi")].every((e) => getComputedStyle(e).unicodeBidi !== "normal" || getComputedStyle(e).display !== "inline") + ""`, "true")
	w.is("nothing is wider than its place", `String([...document.querySelectorAll("#list-panel, #scroller, #messages, #side, #head")].every((e) => e.scrollWidth <= e.clientWidth))`, "true")
}
