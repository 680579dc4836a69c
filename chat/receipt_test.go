package chat_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parley/chat"
	"parley/model"
)

func withReceipt(d *model.Draft) { d.Receipt = true }

// ack has a new session of a client acknowledge a position, as a resume does.
func (k *talk) ack(client, session string, position int64) {
	k.t.Helper()
	at := model.Position(k.Hub.Name(), position)
	caller := model.Caller{Client: client, Session: session}
	if err := k.Ack(k.t.Context(), caller, at); err != nil {
		k.t.Fatalf("Ack: %v", err)
	}
}

// known logs a session in; it is for others than this node, which does not remember it.
func (k *talk) known(client, session string) {
	k.t.Helper()
	const query = `
		INSERT INTO sessions (client_id, id, opened_at, last_seen_at, remote_addr, disconnected_at) VALUES ($1, $2, now(), now(), '', now())`
	if _, err := k.Store.DB().Exec(`INSERT INTO clients (id) VALUES ($1) ON CONFLICT DO NOTHING`, client); err != nil {
		k.t.Fatal(err)
	}
	if _, err := k.Store.DB().Exec(query, client, session); err != nil {
		k.t.Fatal(err)
	}
}

// receipts waits for n events of receipts behind a position and returns them.
func (k *talk) receipts(since int64, n int) []string {
	k.t.Helper()
	var got []string
	eventually(k.t, func() bool {
		got = nil
		for _, e := range k.events(since) {
			if e.Kind == model.EventLastDeliveredAt || e.Kind == model.EventLastReadAt {
				got = append(got, fmt.Sprint(e.Kind.Name(), " to ", e.Clients, gistOf(k.t, e.Data)))
			}
		}
		return len(got) >= n
	})
	return got
}

func TestDeliveredPartly(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	id := k.group("Jerry").ID
	k.known("Jerry", "phone")
	before := k.head()
	for i := range 6 { // 1, 3 and 5 want receipts; the positions are before+1 to before+6
		if d := text(fmt.Sprint(i + 1)); i%2 == 0 {
			k.say(client("Tom"), id, text(fmt.Sprint(i+1), withReceipt))
		} else {
			k.say(client("Tom"), id, d)
		}
	}
	since := k.head()
	k.ack("Jerry", "phone", before)
	k.ack("Jerry", "phone", before+4)
	want := []string{"last_delivered_at_update to [Tom] by Jerry: 3"}
	if diff := cmp.Diff(want, k.receipts(since, 1)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	k.ack("Jerry", "phone", before+2) // never backwards
	k.ack("Jerry", "phone", before+6)
	want = append(want, "last_delivered_at_update to [Tom] by Jerry: 5")
	if diff := cmp.Diff(want, k.receipts(since, 2)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := k.MarkRead(t.Context(), client("Jerry"), id, id+".2"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.MarkRead(t.Context(), client("Jerry"), id, ""); err != nil {
		t.Fatal(err)
	}
	want = append(want, "last_read_at_update to [Tom] by Jerry: 1", "last_read_at_update to [Tom] by Jerry: 5")
	if diff := cmp.Diff(want, k.receipts(since, 4)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Only what was sent while there were two members, by one who still is one, to the
// other of them, is told.
func TestWhoGetsReceipts(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	group := k.group("Jerry", "Mary").ID
	alone := k.group().ID
	pair := k.group("Jerry").ID
	left := k.group("Jerry").ID
	quiet := k.group("Jerry").ID
	gone := k.group("Jerry").ID
	k.known("Jerry", "phone")
	k.known("Tom", "web")
	k.say(client("Tom"), group, text("in a group", withReceipt))
	k.say(client("Tom"), alone, text("to nobody", withReceipt))
	k.say(model.Caller{Server: true, Client: "Spike"}, pair, text("by a stranger", withReceipt))
	k.say(client("Jerry"), pair, text("the other way", withReceipt))
	k.say(client("Tom"), left, text("by one who leaves", withReceipt))
	k.say(client("Tom"), quiet, text("without"))
	k.say(client("Tom"), gone, text("recalled", withReceipt))
	k.say(client("Tom"), gone, text("then three", withReceipt))
	if _, err := k.RecallMessage(t.Context(), client("Tom"), gone, gone+".2", nil); err != nil {
		t.Fatal(err)
	}
	k.add(client("Tom"), gone, "Mary") // what was sent before is still told
	k.remove(client("Tom"), left, "Tom")
	since := k.head()
	k.ack("Jerry", "phone", since)
	k.ack("Tom", "web", since)
	for _, id := range []string{group, pair, left, quiet, gone} {
		if _, err := k.MarkRead(t.Context(), client("Jerry"), id, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.MarkRead(t.Context(), client("Tom"), pair, ""); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, r := range k.receipts(since, 4) {
		got[r]++
	}
	want := map[string]int{
		"last_delivered_at_update to [Jerry] by Tom: 2": 1, "last_read_at_update to [Jerry] by Tom: 2": 1,
		"last_delivered_at_update to [Tom] by Jerry: 1": 1, "last_read_at_update to [Tom] by Jerry: 1": 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestReceiptsOfAGroup(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	id := k.group("Jerry", "Mary", "Bob", "Eve").ID
	for _, c := range []string{"Jerry", "Mary", "Bob", "Eve", "Late", "Later"} {
		k.known(c, "phone")
	}
	k.say(client("Tom"), id, text("before"))
	sent := k.say(client("Tom"), id, text("the one"))
	at := k.head()
	k.say(client("Tom"), id, text("behind"))
	k.update(system, id, `"x"`, "")
	k.add(client("Tom"), id, "Late", "Later")
	mid := model.MessageID(id, sent.Seq)
	k.ack("Mary", "phone", at)
	k.ack("Bob", "phone", at-1)
	k.ack("Late", "phone", k.head())
	if _, err := k.MarkRead(t.Context(), client("Eve"), id, mid); err != nil {
		t.Fatal(err)
	}
	k.say(client("Tom"), id, text("at last"))
	if _, err := k.MarkRead(t.Context(), client("Later"), id, ""); err != nil {
		t.Fatal(err)
	}
	read := func(caller model.Caller) []string {
		t.Helper()
		var got []string
		for after := ""; ; {
			page, more, err := k.Store.Receipts(t.Context(), caller, id, mid, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page {
				got = append(got, fmt.Sprint(r.ClientID, " ", r.Delivered, " ", r.Read))
				after = r.ClientID
			}
			if !more {
				return got
			}
		}
	}
	want := []string{"Bob false false", "Eve true true", "Jerry false false", "Late false false", "Later true true", "Mary true false"}
	for _, caller := range []model.Caller{client("Tom"), system} {
		if diff := cmp.Diff(want, read(caller)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	// What a forgotten session acknowledged stays acknowledged, and a trimmed log changes nothing.
	for _, query := range []string{
		`UPDATE sessions SET last_seen_at = now() - interval '100 days', disconnected_at = now() - interval '100 days'`,
		`UPDATE log SET trimmed = (SELECT position FROM events WHERE seq = 2 AND kind = 1)`,
		`DELETE FROM events WHERE position <= (SELECT trimmed FROM log)`,
	} {
		if _, err := k.Store.DB().Exec(query); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := k.Store.ForgetSessions(t.Context(), time.Now(), 100); err != nil || n != 6 {
		t.Fatalf("%d sessions forgotten, %v", n, err)
	}
	if diff := cmp.Diff(want, read(client("Tom"))); diff != "" {
		t.Errorf("of the past (-want +got)\n%s", diff)
	}
	room := k.create(client("Tom"), model.ConversationDraft{Kind: ptr("chatroom")}).ID
	for _, tt := range []struct {
		caller      model.Caller
		id, message string
		want        model.Code
	}{
		{client("Jerry"), id, mid, model.MessageOwnershipRequired},
		{client("Spike"), id, mid, model.NotAMember},
		{client("Tom"), id, id + ".99", model.MessageNotFound},
		{client("Tom"), id, "x", model.MessageNotFound},
		{client("Tom"), "none", mid, model.ConversationNotFound},
		{client("Tom"), room, room + ".1", model.NotAllowedInChatroom},
	} {
		if _, _, err := k.Store.Receipts(t.Context(), tt.caller, tt.id, tt.message, "", 10); !model.IsCode(err, tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestWillNeedsASession(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	id := k.group("Jerry").ID
	k.known("Tom", "phone")
	will := text("gone", func(d *model.Draft) { d.Will = true })
	for _, tt := range []struct {
		session, id string
		want        model.Code
	}{
		{"", id, model.SessionRequired}, {"none", id, model.SessionRequired}, {"none", "nowhere", model.SessionRequired},
		{"phone", "nowhere", model.ConversationNotFound}, {"phone", id, ""},
	} {
		m, outcome, err := k.Send(t.Context(), model.Caller{Client: "Tom", Session: tt.session}, tt.id, will)
		if got := codeOf(err); got != tt.want || err == nil && (outcome != chat.Passed || m.Seq != 0 || m.ID == "") {
			t.Errorf("%+v: %v, %v, %+v", tt, err, outcome, m)
		}
	}
	if _, err := k.Store.DB().Exec(`UPDATE sessions SET anonymous = true`); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Send(t.Context(), model.Caller{Client: "Tom", Session: "phone"}, id, will); codeOf(err) != model.SessionRequired {
		t.Errorf("for one connection alone: %v", err)
	}
}

// eventually waits for what happens in the background.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Error("it has not happened")
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// gistOf is what an event of a receipt says: who, and the seq of the message.
func gistOf(t *testing.T, data []byte) string {
	t.Helper()
	var e struct{ ConversationID, ClientID, MessageID, LastDeliveredAt, LastReadAt, At string }
	if err := json.Unmarshal(data, &e); err != nil || e.At == "" || (e.LastDeliveredAt == "") == (e.LastReadAt == "") {
		t.Errorf("%s: %v", data, err)
	}
	return fmt.Sprintf(" by %s: %s", e.ClientID, strings.TrimPrefix(e.MessageID, e.ConversationID+"."))
}
