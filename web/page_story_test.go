package web_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// The story that LeanCloud's guides tell, in three windows beside each other: Tom writes to Jerry, adds Mary,
// removes her, William comes by himself, Jerry leaves; then a room, and everybody goes.
func TestPageStory(t *testing.T) {
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	tom, jerry, third := openWindow(t, s.URL()), openWindow(t, s.URL()), openWindow(t, s.URL())
	tom.signIn("Tom")
	jerry.signIn("Jerry")
	third.signIn("Mary")

	tom.choose("new", "new-group")
	tom.fill("field-name", "Tom & Jerry")
	tom.fill("field-members", "Jerry")
	tom.click("submit")
	tom.await("the title", `text("title")`, "Tom & Jerry")
	tom.say("耗子，起床！")
	jerry.await("one unread", `at("unread").dataset.count`, "1")
	jerry.open("Tom & Jerry")
	jerry.await("what Tom said", "said()", "Tom: 耗子，起床！")
	tom.await("the ticks", "lastStatus()", "read")
	jerry.fill("input", "Tom")
	tom.await("who is typing", `text("typing")`, "Jerry is typing…")
	jerry.keys("!\r")
	tom.await("the answer", "said()", "Tom: 耗子，起床！|Jerry: Tom!")
	tom.await("nobody is typing", `text("typing")`, "")

	mary(t, tom, jerry, third)
	kinds(t, tom, jerry)
	refused(tom)
	changes(t, tom, jerry)
	william(t, tom, jerry, third)
	jerryLeaves(t, tom, jerry)
	room(t, tom, third)
	goodbye(t, s, tom, jerry, third)
}

// Mary is added and mentioned.
func mary(t *testing.T, tom, jerry, mary *window) {
	tom.click("open-details")
	tom.fill("invite", "Mary")
	tom.click("invite-submit")
	tom.await("the members", `all("member").map((m) => m.dataset.client).sort().join()`, "Jerry,Mary,Tom")
	tom.click("close")
	jerry.await("what happened", "notices()", "Tom added Mary")
	mary.await("the invitation", `text("toast")`, "Tom added you to “Tom & Jerry”.")
	mary.await("her list", "chats()", "Tom & Jerry")

	tom.fill("input", "welcome @mA")
	tom.await("whom to mention", `all("mention").map((m) => m.dataset.name).join()`, "Mary")
	tom.keys("\r")
	tom.await("her name", `at("input").value`, "welcome @Mary ")
	tom.keys("\r")
	mary.await("that she is mentioned", `at("mentioned").innerText`, "@\nyou were mentioned")
	mary.await("one unread", `at("unread").dataset.count`, "1")
	jerry.await("the mark", `rowOf("welcome @Mary").querySelector(".mention").textContent`, "@Mary")
	jerry.is("no mark for him", `String(document.querySelector(".mention.me"))`, "null")
}

// A message of each kind that the page can send.
func kinds(t *testing.T, tom, jerry *window) {
	picture, song := filepath.Join(t.TempDir(), "avatar.png"), filepath.Join(t.TempDir(), "song list.txt")
	write(t, picture, hill())
	write(t, song, []byte("la la la"))
	tom.attach("photo-input", picture)
	jerry.awaitTrue("the picture", `at("image")?.querySelector("img").naturalWidth === 480`)
	jerry.is("what it is called", `at("image").getAttribute("aria-label")`, "Show the image avatar.png")
	tom.attach("file-input", song)
	jerry.await("the file", `at("file").innerText`, "song list.txt\n8 bytes")
	jerry.await("what it says", `fetch(at("file").href).then((r) => r.text())`, "la la la")

	tom.choose("attach", "attach-location")
	tom.fill("field-latitude", "310")
	tom.fill("field-longitude", "120.9664658\r")
	tom.await("what is wrong", `text("dialog-error")`, "Latitude is -90 to 90, longitude -180 to 180.")
	tom.replace("field-latitude", "31.3753285")
	tom.fill("field-description", "新开的蛋糕店！耗子咱们有福了…")
	tom.click("submit")
	jerry.await("where it is", `at("location").innerText + textOf(rows().at(-1))`, "Location\n31.37533, 120.96647新开的蛋糕店！耗子咱们有福了…")

	jerry.click("image")
	jerry.awaitTrue("the picture alone", `at("image-preview").querySelector("img").naturalWidth === 480`)
	jerry.keys("\x1b")
	jerry.awaitTrue("it is closed", `!at("image-preview")`)
	tom.await("everything is sent", `rows().filter((r) => ["pending", "failed"].includes(r.dataset.status)).length`, "0")
}

// What the server does not take says so, and stays until one has decided.
func refused(tom *window) {
	tom.do("a long message", chromedp.SetValue(testid("input"), strings.Repeat("喵", 3000)))
	tom.click("send")
	tom.await("why", `at("retry")?.parentNode.innerText`, "Not sent: This message is too long. RetryDiscard")
	tom.is("it failed", "lastStatus()", "failed")
	eval[any](tom.t, tom.ctx, `performance.clearResourceTimings()`)
	tom.click("retry")
	tom.await("the same again", `performance.getEntriesByType("resource").filter((e) => new URL(e.name).pathname.endsWith("/messages")).length + lastStatus()`, "1failed")
	tom.click("discard")
	tom.await("it is gone", "lastStatus()", "sent")
}

// Messages are edited and recalled, and Tom sees who has read one.
func changes(t *testing.T, tom, jerry *window) {
	tom.say("I am a dog")
	tom.await("it is sent", `rowOf("I am a dog").dataset.status`, "sent")
	tom.keys("\u0304") // up: the last one again
	tom.await("what is edited", `at("input").value`, "I am a dog")
	tom.replace("input", "I am a cat\r")
	jerry.await("the change", `rowOf("I am a cat")?.querySelector(".meta").innerText.split("\n")[0]`, "edited")
	jerry.await("the list says so", `text("preview")`, "Tom: I am a cat")

	tom.act("I am a cat", "who-read")
	tom.awaitTrue("the receipts", `at("receipts")`)
	tom.await("who has read it", `all("receipt").map((r) => r.dataset.client + r.dataset.read).sort().join()`, "Jerrytrue,Maryfalse")
	tom.click("close")

	tom.act("I am a cat", "recall")
	jerry.await("the recall", `text("recalled")`, "Tom recalled a message")
	tom.await("the recall", `text("recalled")`, "You recalled a message")
	jerry.awaitTrue("nothing is left of it", `!document.body.innerText.includes("I am a cat")`)
}

// Mary is removed; William has the id and comes by himself. The group gets another name.
func william(t *testing.T, tom, jerry, third *window) {
	tom.click("open-details")
	id := eval[string](t, tom.ctx, `text("conversation-id")`)
	tom.clickOn(`at("kick", all("member").find((m) => m.dataset.client === "Mary"))`)
	tom.await("the members", `all("member").map((m) => m.dataset.client).sort().join()`, "Jerry,Tom")
	third.await("what happened", `all("toast").at(-1).innerText`, "Tom removed you from “Tom & Jerry”.")
	third.await("her list", "chats()", "")
	jerry.await("what happened", `all("notice").at(-1).innerText`, "Tom removed Mary")
	third.click("sign-out")
	third.await("goodbye", `text("sign-in-error")`, "You have signed out.")

	third.signIn("William")
	third.choose("new", "join-by-id")
	third.fill("field-id", "no such id\r")
	third.await("that there is none", `text("dialog-error")`, "There is no such conversation.")
	third.replace("field-id", id+"\r")
	third.await("the title", `text("title")`, "Tom & Jerry")
	third.await("what was said before", `String(said()).split("|")[0]`, "Tom: 耗子，起床！")
	third.say("我来了")
	tom.await("the members", `all("member").map((m) => m.dataset.client).sort().join()`, "Jerry,Tom,William")
	tom.replace("rename", "Tom & Jerry & friends\r")
	tom.click("close")
	for _, w := range []*window{tom, jerry, third} {
		w.await("the new name", `text("title") + chats()`, "Tom & Jerry & friendsTom & Jerry & friends")
		w.await("what William says", `textOf(rows().findLast(textOf))`, "我来了")
	}
	jerry.awaitTrue("what happened", `notices().endsWith("Tom removed Mary|William joined|Tom changed the name to “Tom & Jerry & friends”")`)
}

// Jerry wants not to be disturbed, and then to be let alone.
func jerryLeaves(t *testing.T, tom, jerry *window) {
	jerry.click("open-details")
	jerry.click("mute")
	jerry.awaitTrue("the mark", `at("muted")`)
	jerry.click("leave")
	jerry.click("submit")
	jerry.await("what happened", `all("toast").at(-1).innerText`, "You have left “Tom & Jerry & friends”.")
	jerry.await("his list", "chats()", "")
	jerry.awaitTrue("nothing is open", `!at("title").offsetParent`)
	tom.await("what happened", `all("notice").at(-1).innerText`, "Jerry left")
}

// A room: whoever opens it is in it.
func room(t *testing.T, tom, william *window) {
	tom.choose("new", "new-room")
	tom.fill("field-name", "World cup\r")
	tom.await("the title", `text("title")`, "World cup")
	william.click("tab-rooms")
	william.open("World cup")
	william.await("who is there", `text("subtitle")`, "2 here now")
	eval[any](t, tom.ctx, `at("priority").value = "high"`)
	tom.say("现在比分是 0:0")
	william.await("what is said", "said()", "Tom: 现在比分是 0:0")
	william.await("how much it matters", `rows()[0].querySelector(".priority").innerText`, "High")
	william.say("加油")
	tom.await("both", "said()", "Tom: 现在比分是 0:0|William: 加油")
	william.click("open-details")
	william.click("leave")
	william.click("submit")
	william.awaitTrue("he is out", `!at("title").offsetParent`)
	tom.say("anybody?")
	tom.await("it is sent", "lastStatus()", "sent")
	william.is("the room's messages are not for him", `String(document.body.innerText.includes("anybody"))`, "false")
}

// All sign out; no session is left, and nobody is online.
func goodbye(t *testing.T, s *systest.Server, windows ...*window) {
	for i, name := range []string{"Tom", "Jerry", "William"} {
		windows[i].click("sign-out")
		windows[i].await("goodbye", `text("sign-in-error")`, "You have signed out.")
		if left := named(t, s, name).Sessions(t); len(left) != 0 {
			t.Errorf("sessions of %s are left: %v", name, left)
		}
		windows[i].is("nothing is kept", "JSON.stringify(Object.keys(sessionStorage))", "[]")
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
