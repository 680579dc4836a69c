package web_test

import (
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// Whatever happens to the network and to the server: the page says so and recovers by itself, nothing is
// lost, and nothing is twice on the screen.
func TestPageNetwork(t *testing.T) {
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	proxy := systest.NewProxy(t, "tcp", s.Addr)
	tom, jerry := openWindow(t, "http://"+proxy.Addr), openWindow(t, s.URL())
	tom.signIn("Tom")
	jerry.signIn("Jerry")
	tom.choose("new", "new-chat")
	tom.fill("field-name", "Jerry\r")
	tom.await("the title", `text("title")`, "Jerry")
	tom.say("before")
	jerry.open("Tom")
	jerry.await("what was said", "said()", "Tom: before")
	tom.await("that it is read", "lastStatus()", "read")

	said := cable(t, tom, jerry, proxy)
	said = lostAnswer(tom, jerry, proxy, said)
	said = restarted(s, tom, jerry, said)

	// A reload: the same person in the same conversation.
	tom.do("reload", chromedp.Reload())
	tom.await("what was said", "said()", said)
	jerry.say("after")
	tom.await("all of it", "said()", said+"|Jerry: after")
	tom.await("nothing waits", `rows().filter((r) => ["pending", "failed"].includes(r.dataset.status)).length`, "0")
}

// The cable is pulled while both write; after a while it is known to be. What could not be sent says so, and goes by itself later.
func cable(t *testing.T, tom, jerry *window, proxy *systest.Proxy) string {
	t.Helper()
	paper := filepath.Join(t.TempDir(), "paper.txt")
	write(t, paper, []byte("la la la"))
	proxy.Cut()
	tom.say("into the dark")
	jerry.say("are you there?")
	jerry.say("Tom?")
	tom.await("what Tom sees", "said() + lastStatus()", "Tom: before|Tom: into the darkpending")
	tom.attach("file-input", paper)
	proxy.Drop()
	tom.awaitState("reconnecting")
	tom.await("what could not be sent", `rows().map((r) => r.dataset.status + !!at("retry", r)).join()`, "readfalse,failedtrue,failedtrue")
	tom.awaitTrue("what the page says", `/^(Reconnecting…|Connection lost. Next attempt in \d+ s)$/.test(at("status").querySelector("[role=status]").innerText)`)

	proxy.Heal()
	eval[any](t, tom.ctx, `at("retry-now").click()`)
	tom.awaitState("connected")
	const said = "Tom: before|Jerry: are you there?|Jerry: Tom?|Tom: into the dark"
	for _, w := range []*window{tom, jerry} {
		w.await("all of it, once", "said()", said)
		w.await("the file, once and last", `all("file").length + at("file", rows().at(-1)).innerText`, "1paper.txt\n8 bytes")
	}
	tom.await("that it is read", "lastStatus()", "read")
	return said
}

// The server has the message, and its answer is lost: it is the same message that is sent again.
func lostAnswer(tom, jerry *window, proxy *systest.Proxy, said string) string {
	said += "|Tom: did you hear?"
	tom.fill("input", "did you hear?")
	jerry.await("who is typing", `text("typing")`, "Tom is typing…") // which has been answered
	proxy.Mute()
	tom.keys("\r")
	jerry.await("what Tom says", "said()", said)
	tom.await("nobody told Tom", "lastStatus()", "pending")
	jerry.say("yes")
	proxy.Drop()
	tom.awaitState("reconnecting")
	proxy.Heal()
	said += "|Jerry: yes"
	for _, w := range []*window{tom, jerry} {
		w.await("all of it, once", "said()", said)
	}
	tom.awaitState("connected")
	tom.await("that it is read", `rowOf("did you hear?").dataset.status`, "read")
	return said
}

// The server is killed and comes back.
func restarted(s *systest.Server, tom, jerry *window, said string) string {
	s.Kill()
	tom.awaitState("reconnecting")
	jerry.awaitState("reconnecting")
	tom.say("meanwhile")
	tom.await("what waits", "said() + lastStatus()", said+"|Tom: meanwhilepending")
	s.Launch()
	s.AwaitReady()
	said += "|Tom: meanwhile"
	for _, w := range []*window{tom, jerry} {
		w.awaitState("connected")
		w.await("all of it, once", "said()", said)
	}
	tom.await("that it is read", "lastStatus()", "read")
	jerry.await("who is online", `at("presence").dataset.online + text("subtitle")`, "trueonline")
	return said
}

// Two tabs of one client show the same, whichever has the stream; the last one that leaves ends the session.
func TestPageTabs(t *testing.T) {
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	jerry := named(t, s, "Jerry")
	id := jerry.Create(t, "Tom")
	jerry.Say(t, id, "one")
	profile := openWindow(t, s.URL())
	first, second := profile.another(), profile.another()
	for _, w := range []*window{first, second} {
		w.signIn("Tom")
		w.await("one unread", `at("unread").dataset.count`, "1")
	}
	if sessions := named(t, s, "Tom").Sessions(t); len(sessions) != 1 {
		t.Errorf("two tabs have the sessions %v", sessions)
	}
	first.open("Jerry")
	second.await("nothing is unread", `String(at("unread"))`, "null")
	second.open("Jerry")
	second.say("two")
	first.await("what the other tab said", "said()", "Jerry: one|Tom: two")
	first.act("two", "recall")
	second.await("the recall", `text("recalled")`, "You recalled a message")

	// The one that holds the stream is closed.
	first.close()
	jerry.Say(t, id, "three")
	second.await("what comes", "said()", "Jerry: one|Jerry: three")
	second.awaitState("connected")
	second.say("four")
	second.await("that it is sent", "lastStatus()", "sent")
	second.click("sign-out")
	second.await("goodbye", `text("sign-in-error")`, "You have signed out.")
	if left := named(t, s, "Tom").Sessions(t); len(left) != 0 {
		t.Errorf("sessions are left: %v", left)
	}
}
