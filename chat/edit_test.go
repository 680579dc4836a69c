package chat_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parley/chat"
	"parley/model"
	"parley/repo/repotest"
)

func text(s string, more ...func(*model.Draft)) *model.Draft {
	d := &model.Draft{Type: model.TypeText, Text: &s}
	for _, f := range more {
		f(d)
	}
	return d
}

func (k *talk) say(caller model.Caller, id string, d *model.Draft) model.Message {
	k.t.Helper()
	m, _, err := k.Send(k.t.Context(), caller, id, d)
	if err != nil {
		k.t.Fatalf("Send: %v", err)
	}
	return m
}

func (k *talk) message(id string, m model.Message) string {
	k.t.Helper()
	got, err := k.Store.Message(k.t.Context(), system, id, model.MessageID(id, m.Seq))
	if err != nil {
		return err.Error()
	}
	return string(got.Content)
}

// An edit replaces everything that a sender may change and nothing else.
func TestEditKeepsTheRest(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	room := k.create(client("Tom"), model.ConversationDraft{Kind: ptr("chatroom")}).ID
	group := k.group("Jerry").ID
	sent := k.say(client("Tom"), room, text("a", func(d *model.Draft) { d.Priority, d.Receipt, d.MentionList = model.PriorityLow, true, []string{"Eve"} }))
	edited, err := k.EditMessage(t.Context(), client("Tom"), room, model.MessageID(room, sent.Seq),
		&model.Draft{Type: model.TypeCustom, CustomType: 7, Data: []byte(`{"receipt":false}`), MentionList: []string{"Bob"}}, nil)
	want := `{"type":"custom","customType":7,"data":{"receipt":false},"mentionList":["Bob"],"receipt":true,"priority":"low"}`
	if err != nil || string(edited.Content) != want || k.message(room, sent) != want || edited.From != "Tom" || !edited.SentAt.Equal(sent.SentAt.Time) {
		t.Errorf("%v, %+v", err, edited)
	}
	sent = k.say(client("Tom"), group, text("a", func(d *model.Draft) {
		d.MentionList, d.MentionAll, d.Key, d.Digest, d.PushData = []string{"Jerry"}, true, "k", []byte("x"), []byte(`{}`)
	}))
	if _, err := k.EditMessage(t.Context(), client("Tom"), group, model.MessageID(group, sent.Seq), text("b"), nil); err != nil {
		t.Fatal(err)
	}
	again, outcome, err := k.Send(t.Context(), client("Tom"), group, text("a", func(d *model.Draft) { d.Key, d.Digest = "k", []byte("x") }))
	if err != nil || outcome != chat.Replayed || string(again.Content) != `{"type":"text","text":"b"}` || again.UpdatedAt == nil {
		t.Errorf("sent again: %v, %v, %s", err, outcome, again.Content)
	}
	var left int
	if err := k.Store.DB().QueryRow(`SELECT count(*) FROM mentions WHERE conversation_id = $1`, group).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d mentions are left, %v", left, err)
	}
	if err := k.RemoveMessage(t.Context(), system, group, model.MessageID(group, sent.Seq)); err != nil {
		t.Fatal(err)
	}
	if _, outcome, err = k.Send(t.Context(), client("Tom"), group, text("a", func(d *model.Draft) { d.Key, d.Digest = "k", []byte("y") })); err != nil || outcome != chat.Stored {
		t.Errorf("the key of a removed message: %v, %v", outcome, err)
	}
}

// Who may, and which check comes first.
func TestChangeRefusals(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	id := k.group("Jerry").ID
	private := k.create(client("Tom"), model.ConversationDraft{Members: []string{"Jerry"}, Visibility: ptr("private")}).ID
	room := k.create(client("Tom"), model.ConversationDraft{Kind: ptr("chatroom")}).ID
	k.say(client("Tom"), id, text("1"))
	k.say(client("Tom"), id, text("2"))
	k.say(client("Tom"), id, text("3"))
	k.say(client("Tom"), private, text("1"))
	k.say(client("Spike"), room, text("1"))
	if _, err := k.RecallMessage(t.Context(), client("Tom"), id, id+".2", nil); err != nil {
		t.Fatal(err)
	}
	if err := k.RemoveMessage(t.Context(), system, id, id+".3"); err != nil {
		t.Fatal(err)
	}
	reason := &model.Reason{Code: 1}
	tests := []struct {
		caller                string // empty: a server token
		conversation, message string
		reason                *model.Reason
		off                   bool
		edit, recall          model.Code
	}{
		{"Tom", "none", "none.1", nil, true, model.ConversationNotFound, model.ConversationNotFound},
		{"", "none", "none.1", nil, false, model.ConversationNotFound, model.ConversationNotFound},
		{"Eve", private, private + ".1", nil, true, model.ConversationNotFound, model.ConversationNotFound},
		{"Eve", id, id + ".9", nil, true, model.NotAMember, model.NotAMember},
		{"Jerry", id, id + ".9", nil, true, model.MessageNotFound, model.MessageNotFound},
		{"Jerry", id, id + ".3", nil, true, model.MessageNotFound, model.MessageNotFound},
		{"Jerry", id, private + ".1", nil, true, model.MessageNotFound, model.MessageNotFound},
		{"Jerry", id, id + ".01", nil, true, model.MessageNotFound, model.MessageNotFound},
		{"Jerry", id, "", nil, true, model.MessageNotFound, model.MessageNotFound},
		{"Jerry", id, id + ".2", nil, true, model.MessageOwnershipRequired, model.MessageOwnershipRequired},
		{"Tom", id, id + ".2", nil, true, model.MessageEditDisabled, model.MessageRecallDisabled},
		{"Tom", id, id + ".1", nil, true, model.MessageEditDisabled, model.MessageRecallDisabled},
		{"Tom", id, id + ".2", nil, false, model.MessageRecalled, ""},
		{"", id, id + ".2", reason, true, model.MessageRecalled, ""},
		{"Jerry", room, room + ".1", nil, false, model.MessageOwnershipRequired, model.MessageOwnershipRequired},
		{"", id, id + ".1", reason, true, "", ""},
		{"Spike", room, room + ".1", nil, false, "", ""}, // who needs no seat to send needs none for this
	}
	for _, tt := range tests {
		k.Config.NoEdits, k.Config.NoRecalls = tt.off, tt.off
		caller := model.Caller{Client: tt.caller, Server: tt.caller == ""}
		_, err := k.EditMessage(t.Context(), caller, tt.conversation, tt.message, text("new"), tt.reason)
		if got := codeOf(err); got != tt.edit {
			t.Errorf("%q edits %s: %v, want %q", tt.caller, tt.message, err, tt.edit)
		}
		_, err = k.RecallMessage(t.Context(), caller, tt.conversation, tt.message, tt.reason)
		if got := codeOf(err); got != tt.recall {
			t.Errorf("%q recalls %s: %v, want %q", tt.caller, tt.message, err, tt.recall)
		}
	}
	if err := k.RemoveMessage(t.Context(), system, id, id+".3"); !model.IsCode(err, model.MessageNotFound) {
		t.Errorf("removed again: %v", err)
	}
	if err := k.RemoveMessage(t.Context(), system, id, id+".2"); err != nil {
		t.Errorf("a recalled one is removed: %v", err)
	}
}

func codeOf(err error) model.Code {
	for _, c := range model.Codes() {
		if model.IsCode(err, c) {
			return c
		}
	}
	if err != nil {
		return model.Code(err.Error())
	}
	return ""
}

// The events, whom they are for, and that a replay has the present content alone.
func TestChangeEvents(t *testing.T) {
	t.Parallel()
	k := newTalk(t)
	id := k.group("Jerry").ID
	since := k.head()
	k.say(client("Tom"), id, text("first"))
	k.say(client("Tom"), id, text("second"))
	k.say(client("Tom"), id, text("third"))
	for range 2 {
		if _, err := k.EditMessage(t.Context(), client("Tom"), id, id+".1", text("1"), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := k.RecallMessage(t.Context(), system, id, id+".2", &model.Reason{Code: -1, Detail: "</x>\n"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.RemoveMessage(t.Context(), system, id, id+".3"); err != nil {
		t.Fatal(err)
	}
	events, err := k.Store.Events(t.Context(), since, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		data := string(e.Data)
		for _, old := range []string{"first", "second", "third"} {
			if strings.Contains(data, old) {
				t.Errorf("old content: %s", data)
			}
		}
		_, rest, _ := strings.Cut(data, `"reason"`)
		got = append(got, fmt.Sprint(e.Kind, e.Audience, e.Seq, len(data) > 0, " ", rest[:min(len(rest), 34)]))
	}
	want := []string{ // message, message_update and message_recall are 1, 2 and 3
		"1 1 1 true ", "1 1 2 true ", "1 1 3 false ", "2 1 1 true ", `3 1 2 true :{"code":-1,"detail":"</x>\n"},"co`, "2 1 1 true ",
		fmt.Sprint(model.EventMessageRemoved, " 0 3 false "),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Of edits, recalls, removals and reads that race nothing is left half done.
func TestChangesRace(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	nodes := []*talk{talkOn(t, dsn), talkOn(t, dsn)}
	k := nodes[0]
	id := k.group("Jerry", "Mary").ID
	for range 20 {
		m := k.say(client("Tom"), id, text("0", func(d *model.Draft) { d.MentionList = []string{"Mary"} }))
		mid := model.MessageID(id, m.Seq)
		since := k.head()
		var wg sync.WaitGroup
		errs := make([]error, 10)
		for i := range errs {
			k := nodes[i%2]
			wg.Go(func() {
				switch i {
				case 0, 1, 2, 3:
					_, errs[i] = k.EditMessage(t.Context(), client("Tom"), id, mid, text(fmt.Sprint("edit", i), func(d *model.Draft) { d.MentionList = []string{"Jerry"} }), nil)
				case 4, 5:
					_, errs[i] = k.RecallMessage(t.Context(), client("Tom"), id, mid, nil)
				case 6:
					errs[i] = k.RemoveMessage(t.Context(), system, id, mid)
				case 7, 8:
					_, errs[i] = k.MarkRead(t.Context(), client("Jerry"), id, mid)
				default:
					k.say(client("Mary"), id, text("between"))
				}
			})
		}
		wg.Wait()
		updates, recalls := 0, 0
		for i, err := range errs {
			code := codeOf(err)
			if code != "" && code != model.MessageNotFound && (i > 3 || code != model.MessageRecalled) {
				t.Errorf("operation %d: %v", i, err)
			}
			if i < 4 && err == nil {
				updates++
			}
			if (i == 4 || i == 5) && err == nil {
				recalls = 1
			}
		}
		for _, e := range k.events(since) {
			switch e.Kind {
			case model.EventMessageUpdate:
				updates--
			case model.EventMessageRecall:
				recalls--
			}
		}
		if updates != 0 || recalls != 0 {
			t.Errorf("%d updates and %d recalls without an event, or the other way", updates, recalls)
		}
	}
	const query = `
		SELECT count(*) FILTER (WHERE c.seq - m.read_seq - m.uncounted <> (
			SELECT count(*) FROM messages g WHERE g.conversation_id = c.id AND g.seq > m.read_seq AND g.sender <> m.client_id AND g.type NOT IN (-127, 0)))
			+ (SELECT count(*) FROM mentions) + (SELECT count(*) FROM messages WHERE sender = 'Tom' AND (type <> 0 OR content <> '{}'))
		FROM members m JOIN conversations c ON c.id = m.conversation_id`
	var wrong int
	if err := k.Store.DB().QueryRow(query).Scan(&wrong); err != nil || wrong != 0 {
		t.Errorf("%d are wrong, %v", wrong, err)
	}
}

func (k *talk) events(since int64) []model.Event {
	k.t.Helper()
	events, err := k.Store.Events(k.t.Context(), since, 1000)
	if err != nil {
		k.t.Fatal(err)
	}
	return events
}
