package web_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"net/http"
	"net/url"
	"testing"

	"parley/cmd/parley/systest"
)

type object = map[string]any

// lively has people talk with Tom about all sorts of things: a group with a message of every kind, a chat with
// receipts, something unread with a mention, something muted, and a room with priorities.
func lively(t *testing.T, s *systest.Server) {
	t.Helper()
	tom, jerry, mary, william := named(t, s, "Tom"), named(t, s, "Jerry"), named(t, s, "Mary"), named(t, s, "William")

	quiet := conversation(t, named(t, s, "Spike"), object{"members": []string{"Tom"}, "name": "Front garden"})
	named(t, s, "Spike").Say(t, quiet, "Whoever dug this hole: I know where you sleep.")
	tom.Want(t, http.StatusNoContent, "PUT", "/v1/conversations/"+quiet+"/mute", nil)

	pair := conversation(t, tom, object{"members": []string{"Jerry"}, "unique": true})
	tom.Say(t, pair, "Jerry, are you awake?")
	jerry.Say(t, pair, "No.")
	send(t, tom, pair, object{"type": "text", "text": "Truce until Monday?", "receipt": true})
	jerry.Say(t, pair, "Truce. But the cheese stays on my side.")

	group := conversation(t, tom, object{"members": []string{"Jerry", "Mary", "William"}, "name": "Tom & Jerry & friends"})
	everything(t, group, tom, jerry, mary, william)

	dinner := conversation(t, mary, object{"members": []string{"Tom", "William"}, "name": "Dinner on Friday"})
	mary.Say(t, dinner, "Seven o’clock at mine?")
	william.Say(t, dinner, "I’ll bring the dessert.")
	send(t, mary, dinner, object{"type": "text", "text": "@Tom are you coming too?", "mentionList": []string{"Tom"}})

	room := conversation(t, william, object{"kind": "chatroom", "name": "World cup final"})
	william.Say(t, room, "Welcome, everybody. Kick-off is in five minutes.")
	for i, text := range []string{"First!", "Come on, Vatican!", "What a save", "That was never offside."} {
		[]*systest.Client{jerry, mary, jerry, tom}[i].Say(t, room, text)
	}
	send(t, mary, room, object{"type": "text", "text": "boo", "priority": "low"})
	send(t, william, room, object{"type": "text", "text": "GOAL! It is 1:0, out of nowhere.", "priority": "high"})
}

// everything sends a message of each kind.
func everything(t *testing.T, id string, tom, jerry, mary, william *systest.Client) {
	t.Helper()
	sound := upload(t, mary, "squeak.wav", "audio/wav", []byte("RIFF"))
	send(t, mary, id, object{"type": "audio", "file": object{"id": sound}})
	send(t, mary, id, object{"type": "video", "file": object{"id": sound, "name": "chase.mp4"}})
	send(t, william, id, object{"type": "custom", "customType": 7, "text": "William invites you to a game", "data": object{"game": "chess"}})
	send(t, william, id, object{"type": "custom", "customType": 8, "data": object{"x": 1}})
	send(t, jerry, id, object{"type": "raw", "text": "raw words"})
	send(t, jerry, id, object{"type": "binary", "data": "AQI="})
	jerry.Say(t, id, "Did anybody see who took the last piece of Emmental?")
	first := tom.Say(t, id, "Me? No!")
	tom.Want(t, http.StatusOK, "PATCH", "/v1/conversations/"+id+"/messages/"+first.ID, object{"type": "text", "text": "Me? Never. I was asleep the whole afternoon."})
	mary.Say(t, id, "Of course you were.")
	mary.Say(t, id, "There is a list of who likes which kind: https://example.com/cheese?sort=smell")
	send(t, jerry, id, object{"type": "image", "text": "Evidence.", "file": object{"id": upload(t, jerry, "hill.png", "image/png", hill())}})
	send(t, tom, id, object{"type": "text", "text": "@Jerry that is a hill, @Mary tell him", "mentionList": []string{"Jerry", "Mary"}})
	gone := jerry.Say(t, id, "It was you, you, you")
	jerry.Want(t, http.StatusOK, "POST", "/v1/conversations/"+id+"/messages/"+gone.ID+"/recall", nil)
	send(t, william, id, object{"type": "location", "text": "Meet me at the new cake shop", "location": object{"latitude": 31.3753285, "longitude": 120.9664658}})
	send(t, william, id, object{"type": "file", "file": object{"id": upload(t, william, "cake menu.pdf", "application/pdf", bytes.Repeat([]byte("%PDF "), 50_000))}})
	mary.Say(t, id, "Cake it is. See you all there at four!")
}

func conversation(t *testing.T, c *systest.Client, body object) string {
	t.Helper()
	var made struct{ ID string }
	c.Want(t, http.StatusCreated, "POST", "/v1/conversations", body).Into(t, &made)
	return made.ID
}

func send(t *testing.T, c *systest.Client, id string, body object) {
	t.Helper()
	c.Want(t, http.StatusCreated, "POST", "/v1/conversations/"+id+"/messages", body)
}

// upload stores a file and answers its id.
func upload(t *testing.T, c *systest.Client, name, mime string, content []byte) string {
	t.Helper()
	req, err := http.NewRequest("POST", c.Server.URL()+"/v1/files?name="+url.QueryEscape(name), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	req.Header.Set("Content-Type", mime)
	resp, err := c.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	location := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusCreated || location == "" {
		t.Fatalf("the upload of %s: %s", name, resp.Status)
	}
	return location[len("/v1/files/"):]
}

// hill is a picture of one, in the evening.
func hill() []byte {
	const w, h = 480, 225
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			up := float64(y) / h
			c := color.RGBA{uint8(70 + 180*up), uint8(90 + 80*up), uint8(170 - 70*up), 255}
			if math.Hypot(float64(x)-340, float64(y)-105) < 36 {
				c = color.RGBA{255, 226, 150, 255}
			}
			for i, ground := range []float64{140 + 35*math.Sin(float64(x)/70), 180 + 22*math.Sin(float64(x)/45+2)} {
				if float64(y) > ground {
					c = color.RGBA{uint8(52 - 22*i), uint8(84 - 26*i), uint8(76 - 20*i), 255}
				}
			}
			img.Set(x, y, c)
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(fmt.Sprint("the picture: ", err))
	}
	return b.Bytes()
}
