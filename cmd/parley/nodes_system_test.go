package main_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"parley/cmd/parley/systest"
)

// One of two nodes is killed with everything that a session may have there: a seat, a
// will, a subscription, its client's presence. Who goes to the other node keeps it all; who
// does not is lost, and is lost once, whichever nodes are there to notice.
func TestKilledNodeHeldSessions(t *testing.T) {
	t.Parallel()
	stays, dies := pair(t, "PARLEY_RECONNECT_GRACE=2s")
	watcher := stays.As("watcher")
	eye := watcher.Open(t, "eye")
	var made struct{ ID string }
	stays.Operator().Want(t, 201, "POST", "/v1/conversations", systest.Object{"kind": "chatroom"}).Into(t, &made)
	seats := "/v1/conversations/" + made.ID + "/members"

	// Each has a seat and a will of its own, and watches the watcher.
	type guest struct {
		*systest.Client
		device *systest.Device
	}
	arrive := func(name string) guest {
		c := dies.As(name)
		d := c.Open(t, "s")
		group := c.Create(t, "watcher")
		c.Want(t, 202, "POST", "/v1/conversations/"+group+"/messages", systest.Object{"type": "text", "text": name + " is lost", "will": true}, "Parley-Session", "s")
		c.Want(t, 200, "POST", seats, systest.Object{"clientIds": []string{name}}, "Parley-Session", "s")
		c.Want(t, 200, "PUT", "/v1/presence/subscriptions", systest.Object{"clientIds": []string{"watcher"}}, "Parley-Session", "s")
		return guest{c, d}
	}
	keeps, loses := arrive("keeps"), arrive("loses")
	talk := func(text, priority string) {
		t.Helper()
		watcher.Want(t, 201, "POST", "/v1/conversations/"+made.ID+"/messages", systest.Object{"type": "text", "text": text, "priority": priority})
	}
	present := func(want int) {
		t.Helper()
		systest.Eventually(t, fmt.Sprintf("%d clients are in the chatroom", want), func() error {
			var v struct{ Count int }
			if watcher.Want(t, 200, "GET", seats+"/count", nil).Into(t, &v); v.Count != want {
				return fmt.Errorf("%d", v.Count)
			}
			return nil
		})
	}
	watcher.Want(t, 200, "PUT", "/v1/presence/subscriptions", systest.Object{"clientIds": []string{"keeps", "loses"}}, "Parley-Session", "eye")
	talk("before", "high")
	keeps.device.AwaitText(t, "before")
	present(2)

	dies.Kill()
	keeps.device.Cut()
	var missed []string
	for i := range 6 {
		missed = append(missed, fmt.Sprint("missed ", i))
		talk(missed[i], []string{"high", "normal", "low"}[i%3])
	}
	n := len(keeps.device.Frames())
	keeps.device.Client = keeps.At(stays)
	connects(t, keeps.device, 200)
	keeps.device.AwaitBehind(t, n, "how the watcher is", func(f systest.Frame) bool { return f.Event == "presence" })
	talk("behind", "low")
	keeps.device.AwaitText(t, "behind")
	if got, want := keeps.device.Texts(), slices.Concat([]string{"before"}, missed, []string{"behind"}); !slices.Equal(got, want) {
		t.Errorf("in the chatroom was heard %q, want %q", got, want)
	}

	// The other is lost when its node has been missed for a while, and its grace is over.
	dies.Launch()
	dies.AwaitReady()
	eye.AwaitText(t, "loses is lost")
	eye.Await(t, "that one is offline", func(f systest.Frame) bool { return f.Event == "presence" })
	present(1)
	for _, node := range []*systest.Server{stays, dies} {
		var v struct{ Online []string }
		body := systest.Object{"clientIds": []string{"keeps", "loses", "watcher"}}
		systest.Eventually(t, "both nodes know who is online", func() error {
			if node.Operator().Want(t, 200, "POST", "/v1/presence/query", body).Into(t, &v); !slices.Equal(v.Online, []string{"keeps", "watcher"}) {
				return errors.New(fmt.Sprint(v.Online))
			}
			return nil
		})
	}

	// It finds its seat again, but nobody takes its will for the next time.
	n = len(loses.device.Frames())
	loses.device.Client = loses.At(dies)
	connects(t, loses.device, 200)
	loses.device.AwaitText(t, "behind")
	present(2)
	eye.Await(t, "that it is back", func(f systest.Frame) bool { return presenceOf(t, f) == "loses on" })
	loses.device.Cut()
	systest.Eventually(t, "it is lost again", func() error {
		if news := presences(t, eye); !slices.Equal(news, []string{"loses off", "loses on", "loses off"}) {
			return fmt.Errorf("%q", news)
		}
		return nil
	})
	mark := watcher.Create(t)
	stays.Operator().Want(t, 201, "POST", "/v1/conversations/"+mark+"/messages", systest.Object{"type": "text", "text": "the end"}, "Parley-As", "watcher")
	eye.AwaitText(t, "the end")
	if got := eye.Texts(); !slices.Equal(got, []string{"loses is lost", "the end"}) {
		t.Errorf("the wills heard: %q", got)
	}
}

// presenceOf says who is told to be how; empty for any other event.
func presenceOf(t *testing.T, f systest.Frame) string {
	t.Helper()
	if f.Event != "presence" {
		return ""
	}
	var v struct {
		ClientID string
		Online   bool
	}
	f.Into(t, &v)
	return v.ClientID + " " + state(v.Online)
}

// presences is all that a device was told of presence.
func presences(t *testing.T, d *systest.Device) []string {
	t.Helper()
	var news []string
	for _, f := range d.Frames() {
		if s := presenceOf(t, f); s != "" {
			news = append(news, s)
		}
	}
	return news
}
