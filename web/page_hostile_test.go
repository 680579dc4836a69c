package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// A raw message may hold the JSON of any other, of whatever shape. It is shown somehow, and
// what was said before and behind it is shown as ever.
func TestPageHostileMessages(t *testing.T) {
	s := systest.Start(t, repotest.DSN(t), "PARLEY_JWT_SECRETS=")
	tom, jerry := openWindow(t, s.URL()), named(t, s, "Jerry")
	tom.signIn("Tom")
	id := jerry.Create(t, "Tom")
	jerry.Say(t, id, "before")
	unprintable := object{"toString": 1, "valueOf": 1}
	for _, content := range []object{
		{"_lctype": -1, "_lctext": unprintable}, {"_lctype": -1, "_lctext": []int{1}}, {"_lctype": -1, "_lctext": 5, "_lcattrs": "x"},
		{"_lctype": -2, "_lcfile": object{"url": "javascript:window.hacked=1", "name": unprintable, "metaData": object{"name": unprintable, "size": unprintable, "width": "x\" onerror=\"y"}}},
		{"_lctype": -2, "_lcfile": object{"url": s.URL() + "/nothing", "metaData": object{"width": unprintable}}}, {"_lctype": -6, "_lcfile": object{"url": unprintable, "metaData": "x"}}, {"_lctype": -6, "_lcfile": "x"}, {"_lctype": -6},
		{"_lctype": -5}, {"_lctype": -5, "_lcloc": object{"latitude": "1", "longitude": unprintable}}, {"_lctype": -5, "_lcloc": "here"},
		{"_lctype": "__proto__"}, {"_lctype": unprintable}, {"__proto__": object{"text": "x"}}, {"_lctype": 20001, "_lctext": unprintable},
	} {
		text, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		send(t, jerry, id, object{"type": "raw", "text": string(text)})
	}
	send(t, jerry, id, object{"type": "image", "file": object{"url": "http://1.2.3.4.5/x.png", "name": "x.png"}})
	tom.click("chat")
	tom.await("a picture without an address", `rows().length + at("file", rows().at(-1))?.innerText`, "17x.png")
	jerry.Say(t, id, "after")
	tom.await("what was said at last", `textOf(rows().at(-1))`, "after")
	tom.is("what was said at first", `textOf(rows()[0])`, "before")
	tom.is("nothing ran", "String(window.hacked)", "undefined")
	eval[any](t, tom.ctx, `location.hash = "#%", null`)
	tom.await("nothing is open", `String(document.querySelector("#open").hidden)`, "true")
}

// A token that was pasted expires while the clock of this machine is years behind: a new one is asked for.
func TestPageTokenExpires(t *testing.T) {
	s := systest.Start(t, repotest.DSN(t), "PARLEY_DEMO=true")
	tom := openWindow(t, s.URL())
	eval[any](t, tom.ctx, `const now = Date.now; Date.now = () => now() - 5e11, null`)
	soon := systest.Token("Tom", func(claims jwt.MapClaims) { // valid for the leeway's 30 s
		claims["iat"], claims["exp"] = time.Now().Add(-time.Hour).Unix(), time.Now().Add(-18*time.Second).Unix()
	})
	old := s.As("Tom")
	old.Token = soon
	tom.fill("sign-in-token", soon)
	tom.click("sign-in-submit")
	tom.awaitState("connected")
	systest.Eventually(t, "the token has expired", func() error {
		if answer := old.Do(t, "GET", "/v1/unread", nil); answer.Status != http.StatusUnauthorized {
			return fmt.Errorf("the answer is %s", answer)
		}
		return nil
	})
	tom.click("tab-rooms")
	tom.await("the question", `String(!!at("token-again"))`, "true")
	fresh := systest.Token("Tom")
	tom.fill("field-token", fresh)
	tom.click("submit")
	tom.await("the new token, for a reload", `sessionStorage.getItem("parley sign-in")`, fresh)
	tom.choose("new", "new-room")
	tom.fill("field-name", "Lobby")
	tom.click("submit")
	tom.await("the room", `text("title")`, "Lobby")
}
