package main_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"parley/cmd/parley/systest"
	"parley/repo/repotest"
)

// changedMessage is what these tests look at of a message that was edited or recalled.
type changedMessage struct {
	systest.Message
	Type                  string
	Receipt               bool
	MentionList           []string
	UpdatedAt, RecalledAt string
}

// changeOf is the data of an event of a message.
type changeOf struct {
	ConversationID string
	Message        changedMessage
	Reason         *struct {
		Code   int
		Detail string
	}
	At string
}

func messagePath(m systest.Message) string {
	return "/v1/conversations/" + m.ConversationID + "/messages/" + m.ID
}

func TestEditAndRecall(t *testing.T) {
	t.Parallel()
	s := systest.Start(t, repotest.DSN(t))
	tom, jerry := s.As(systest.Unique("Tom")), s.As(systest.Unique("Jerry"))
	phone, toms, other := jerry.Open(t, "phone"), tom.Open(t, "web"), tom.Open(t, "desk")
	id := tom.Create(t, jerry.ID)
	first := tom.Say(t, id, "helo")
	phone.AwaitText(t, "helo")
	tablet := jerry.Device("tablet")
	if status, err := tablet.Connect(); err != nil || status != 200 {
		t.Fatal(status, err)
	}
	tablet.AwaitEvent(t, "ready")
	tablet.Cut()

	var now changedMessage
	a := tom.Want(t, 200, "PATCH", messagePath(first),
		systest.Object{"type": "text", "text": "hello", "mentionList": []string{jerry.ID, "nobody"}}, "Parley-Session", "web")
	a.Into(t, &now)
	if now.ID != first.ID || now.Seq != 1 || now.From != tom.ID || now.Text != "hello" || now.UpdatedAt == "" || len(now.MentionList) != 1 {
		t.Fatalf("edited: %s", a)
	}
	for _, d := range []*systest.Device{phone, other} {
		var e changeOf
		d.AwaitEvent(t, "message_update").Into(t, &e)
		if e.Message.Text != "hello" || e.Message.UpdatedAt != now.UpdatedAt || e.At != now.UpdatedAt || e.Reason != nil || e.ConversationID != id {
			t.Errorf("%s heard %+v", d.Session, e)
		}
	}
	var unread struct {
		Items []struct{ UnreadMessagesMentioned bool }
	}
	if jerry.Want(t, 200, "GET", "/v1/unread", nil).Into(t, &unread); len(unread.Items) != 1 || !unread.Items[0].UnreadMessagesMentioned {
		t.Errorf("after the edit: %+v", unread)
	}

	second := tom.Say(t, id, "secret")
	s.Operator().Want(t, 200, "POST", messagePath(second)+"/recall", systest.Object{"reason": systest.Object{"code": -7, "detail": "why"}})
	tom.Want(t, 200, "POST", messagePath(second)+"/recall", nil) // again: nothing more
	third := tom.Say(t, id, "third")
	var e changeOf
	phone.AwaitEvent(t, "message_recall").Into(t, &e)
	if e.Message.Type != "recalled" || e.Message.Text != "" || e.Message.RecalledAt == "" || e.Reason == nil || e.Reason.Code != -7 || e.Reason.Detail != "why" {
		t.Errorf("recalled: %+v", e)
	}
	s.Operator().Want(t, 204, "DELETE", messagePath(third), nil)
	tom.Say(t, id, "last")
	for _, d := range []*systest.Device{phone, toms, other} {
		d.AwaitText(t, "last")
	}
	if n := count(toms, "message_update"); n != 0 {
		t.Errorf("the acting session heard %d updates of its own", n)
	}
	if n := count(phone, "message_recall"); n != 1 {
		t.Errorf("%d recalls", n)
	}

	// Who was away gets the messages as they are now, and of the removed one nothing.
	n := len(tablet.Frames())
	if status, err := tablet.Connect(); err != nil || status != 200 {
		t.Fatal(status, err)
	}
	t.Cleanup(tablet.Cut)
	tablet.AwaitText(t, "last")
	all := fmt.Sprint(tablet.Frames()[n:])
	if strings.Contains(all, "secret") || strings.Contains(all, "helo") || strings.Contains(all, "third") || count(tablet, "message_update") != 1 || count(tablet, "message_recall") != 1 {
		t.Errorf("resumed: %s", all)
	}
	var page struct{ Items []changedMessage }
	if tom.Want(t, 200, "GET", "/v1/conversations/"+id+"/messages?type=recalled", nil).Into(t, &page); len(page.Items) != 1 || page.Items[0].ID != second.ID {
		t.Errorf("history of the recalled: %+v", page)
	}
	if h := tom.History(t, id); len(h) != 3 {
		t.Errorf("history: %+v", h)
	}
}

func count(d *systest.Device, event string) int {
	n := 0
	for _, f := range d.Frames() {
		if f.Event == event {
			n++
		}
	}
	return n
}

// receiptOf is the data of both events of receipts.
type receiptOf struct {
	ConversationID, ClientID, MessageID, LastDeliveredAt, LastReadAt, At string
}

// watermarks are how far the other of two has come.
type watermarks struct{ LastDeliveredAt, LastReadAt *string }

func (w watermarks) String() string {
	show := func(s *string) string {
		if s == nil {
			return "-"
		}
		return *s
	}
	return show(w.LastDeliveredAt) + " " + show(w.LastReadAt)
}

type timed struct {
	systest.Message
	SentAt string
}

func sayWithReceipt(t *testing.T, c *systest.Client, id, text string) timed {
	t.Helper()
	var m timed
	c.Want(t, 201, "POST", "/v1/conversations/"+id+"/messages", systest.Object{"type": "text", "text": text, "receipt": true}).Into(t, &m)
	return m
}

func awaitReceipt(t *testing.T, d *systest.Device, event, message string) receiptOf {
	t.Helper()
	var got receiptOf
	d.Await(t, event+" of "+message, func(f systest.Frame) bool {
		if f.Event != event {
			return false
		}
		got = receiptOf{}
		f.Into(t, &got)
		return got.MessageID == message
	})
	return got
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	nodes := []*systest.Server{systest.Start(t, dsn), systest.Start(t, dsn)}
	tom, jerry := nodes[0].As(systest.Unique("Tom")), nodes[1].As(systest.Unique("Jerry"))
	toms := tom.Open(t, "web")
	id := tom.Create(t, jerry.ID)
	look := func() (w watermarks) {
		t.Helper()
		tom.Want(t, 200, "GET", "/v1/conversations/"+id, nil).Into(t, &w)
		return w
	}

	sayWithReceipt(t, tom, id, "one")
	second := sayWithReceipt(t, tom, id, "two")
	if w := look(); w.LastDeliveredAt != nil || w.LastReadAt != nil {
		t.Errorf("nobody has received: %s", w)
	}
	phone := jerry.Open(t, "phone") // a start at now acknowledges what was before
	got := awaitReceipt(t, toms, "last_delivered_at_update", second.ID)
	if got.ClientID != jerry.ID || got.LastDeliveredAt != second.SentAt || got.ConversationID != id || got.At == "" || count(toms, "last_delivered_at_update") != 1 {
		t.Errorf("delivered at a fresh start: %+v", got)
	}
	if w := look(); w.LastDeliveredAt == nil || *w.LastDeliveredAt != second.SentAt || w.LastReadAt != nil {
		t.Errorf("delivered: %s", w)
	}
	third := sayWithReceipt(t, tom, id, "three")
	phone.AwaitText(t, "three")
	awaitReceipt(t, toms, "last_delivered_at_update", third.ID)
	fourth := tom.Say(t, id, "four, without")
	jerry.Want(t, 200, "POST", "/v1/conversations/"+id+"/read", nil)
	got = awaitReceipt(t, toms, "last_read_at_update", third.ID)
	history := tom.Want(t, 200, "GET", messagePath(fourth), nil)
	var last timed
	if history.Into(t, &last); got.LastReadAt != last.SentAt || got.ClientID != jerry.ID {
		t.Errorf("read: %+v, want %s", got, last.SentAt)
	}
	if w := look(); w.LastReadAt == nil || *w.LastReadAt != last.SentAt || *w.LastDeliveredAt != last.SentAt {
		t.Errorf("read: %s", w)
	}

	// With ack=client what was written is not delivered yet.
	phone.Cut()
	tablet := jerry.Open(t, "tablet", "ack", "client")
	fifth := sayWithReceipt(t, tom, id, "five")
	at := tablet.AwaitText(t, "five").ID
	sixth := sayWithReceipt(t, tom, id, "six")
	tablet.AwaitText(t, "six")
	mary := nodes[1].As(systest.Unique("Mary"))
	marys := mary.Open(t, "web")
	other := tom.Create(t, mary.ID)
	for _, text := range []string{"a", "b"} { // what would have been told was, when the second of these is
		m := sayWithReceipt(t, tom, other, text)
		marys.AwaitText(t, text)
		awaitReceipt(t, toms, "last_delivered_at_update", m.ID)
	}
	for _, f := range toms.Frames() {
		if f.Event == "last_delivered_at_update" && (strings.Contains(string(f.Data), fifth.ID) || strings.Contains(string(f.Data), sixth.ID)) {
			t.Errorf("before it was acknowledged: %s", f)
		}
	}
	jerry.Want(t, 204, "POST", "/v1/acks", systest.Object{"position": at}, "Parley-Session", "tablet")
	if got := awaitReceipt(t, toms, "last_delivered_at_update", fifth.ID); got.LastDeliveredAt != fifth.SentAt {
		t.Errorf("acknowledged: %+v", got)
	}
	// A resume acknowledges, on another node too.
	tablet.Cut()
	tablet.Client = jerry.At(nodes[0])
	if status, err := tablet.Connect(); err != nil || status != 200 {
		t.Fatal(status, err)
	}
	awaitReceipt(t, toms, "last_delivered_at_update", sixth.ID)
	tablet.Cut()

	// Reading implies delivery.
	seventh := sayWithReceipt(t, tom, id, "seven")
	jerry.Want(t, 200, "POST", "/v1/conversations/"+id+"/read", systest.Object{"messageId": seventh.ID})
	awaitReceipt(t, toms, "last_delivered_at_update", seventh.ID)
	awaitReceipt(t, toms, "last_read_at_update", seventh.ID)

	// A connection without a session acknowledges as well, even when it ends at once.
	eighth := sayWithReceipt(t, tom, id, "eight")
	jerry.Open(t, "").Cut()
	awaitReceipt(t, toms, "last_delivered_at_update", eighth.ID)
	ninth := sayWithReceipt(t, tom, id, "nine")
	short := jerry.Open(t, systest.Unique("short"))
	awaitReceipt(t, toms, "last_delivered_at_update", ninth.ID)
	tenth := sayWithReceipt(t, tom, id, "ten")
	short.AwaitText(t, "ten")
	jerry.Want(t, 204, "DELETE", "/v1/sessions/"+short.Session, nil)
	awaitReceipt(t, toms, "last_delivered_at_update", tenth.ID)
}

func TestWill(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	const grace = "PARLEY_RECONNECT_GRACE=1s"
	nodes := []*systest.Server{systest.Start(t, dsn, grace), systest.Start(t, dsn, grace)}
	jerry := nodes[0].As(systest.Unique("Jerry"))
	phone := jerry.Open(t, "phone")
	set := func(c *systest.Client, id, session, text string) {
		t.Helper()
		a := c.Want(t, 202, "POST", "/v1/conversations/"+id+"/messages", systest.Object{"type": "text", "text": text, "will": true}, "Parley-Session", session)
		if strings.Contains(string(a.Body), `"seq"`) {
			t.Errorf("a will: %s", a)
		}
	}
	open := func(s *systest.Server, name string) (*systest.Client, *systest.Device, string) {
		c := s.As(systest.Unique(name))
		d := c.Open(t, "web")
		return c, d, c.Create(t, jerry.ID)
	}
	lost, lostDevice, id := open(nodes[0], "lost")
	desk := lost.Open(t, "desk")
	set(lost, id, "web", "first")
	set(lost, id, "web", "lost is gone")
	quitter, _, id2 := open(nodes[0], "quitter")
	set(quitter, id2, "web", "a quitter's")
	clearer, clearing, id3 := open(nodes[0], "clearer")
	set(clearer, id3, "web", "cleared")
	leaver, leaving, id4 := open(nodes[0], "leaver")
	set(leaver, id4, "web", "of no member")
	back, returning, id5 := open(nodes[0], "back")
	set(back, id5, "web", "came back")
	victim, _, id6 := open(nodes[1], "victim")
	set(victim, id6, "web", "victim is gone")

	clearer.Want(t, 204, "DELETE", "/v1/sessions/web/will", nil)
	clearer.Want(t, 204, "DELETE", "/v1/sessions/web/will", nil)
	clearer.Want(t, 404, "DELETE", "/v1/sessions/none/will", nil)
	leaver.Want(t, 200, "DELETE", "/v1/conversations/"+id4+"/members?clientId="+leaver.ID, nil)
	quitter.Want(t, 204, "DELETE", "/v1/sessions/web", nil)
	for _, d := range []*systest.Device{clearing, leaving, lostDevice, returning} {
		d.Cut()
	}
	t.Cleanup(returning.Cut)
	systest.Eventually(t, "a will is sent", func() error {
		returning.Cut() // and is never away for as long as the grace
		if status, err := returning.Connect(); err != nil || status != 200 {
			t.Fatal(status, err)
		}
		if len(phone.Texts()) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	f := phone.AwaitText(t, "lost is gone")
	var e changeOf
	if f.Into(t, &e); f.ID != "" || !strings.Contains(string(f.Data), `"transient":true`) || e.Message.From != lost.ID {
		t.Errorf("the will: %s", f)
	}
	nodes[1].Kill()
	phone.AwaitText(t, "victim is gone")
	got := phone.Texts()
	if len(got) != 2 || len(desk.Texts()) != 0 {
		t.Errorf("Jerry heard %q, the sender's other session %q", got, desk.Texts())
	}
	if h := jerry.History(t, id); len(h) != 0 {
		t.Errorf("in the history: %v", h)
	}
}
