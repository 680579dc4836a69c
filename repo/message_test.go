package repo_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parley/model"
	"parley/repo"
	"parley/repo/repotest"
)

// row is a message put into the table as it is.
type row struct {
	seq    int64
	sender string
	at     time.Time
	typ    model.MessageType
	custom int64
}

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func tom() model.Caller { return model.Caller{Client: "Tom"} }

// conversation makes an unlisted conversation of Tom and Jerry that holds these messages.
func conversation(t testing.TB, s *repo.Store, id string, rows ...row) {
	t.Helper()
	var last int64
	for _, r := range rows {
		last = max(last, r.seq)
	}
	exec(t, s, `INSERT INTO conversations (id, kind, attributes, visibility, is_unique, member_count, seq, last_sent_at,
			last_message_at, created_at, updated_at)
		VALUES ($1, 1, '{}', 2, false, 2, $2, now(), now(), now(), now())`, id, last)
	exec(t, s, `INSERT INTO members (conversation_id, client_id, joined_position, joined_at, role, read_seq)
		SELECT $1, c, 0, now(), 0, 0 FROM unnest('{Tom,Jerry}'::text[]) c`, id)
	for _, r := range rows {
		insert(t, s, id, r)
	}
}

func insert(t testing.TB, s *repo.Store, id string, r row) {
	t.Helper()
	content := fmt.Sprintf(`{"type":"text","text":"%d"}`, r.seq)
	exec(t, s, `INSERT INTO messages (conversation_id, seq, sender, sent_at, type, custom_type, content, mention_all)
		VALUES ($1, $2, $3, $4, $5, nullif($6, 0), $7, false)`, id, r.seq, r.sender, r.at, r.typ, r.custom, content)
}

func exec(t testing.TB, s *repo.Store, query string, args ...any) {
	t.Helper()
	if _, err := s.Exec(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// walk reads a whole history in pages of random sizes.
func walk(t testing.TB, s *repo.Store, id string, h model.History, rnd *rand.Rand) []int64 {
	t.Helper()
	seqs := []int64{}
	for {
		limit := 1 + rnd.IntN(5)
		page, more, err := s.History(t.Context(), tom(), id, h, limit)
		if err != nil {
			t.Fatalf("History(%+v): %v", h, err)
		}
		if len(page) > limit || more && len(page) < limit {
			t.Fatalf("History(%+v): %d messages of at most %d, more: %v", h, len(page), limit, more)
		}
		for _, m := range page {
			seqs = append(seqs, m.Seq)
		}
		if !more {
			return seqs
		}
		cursor, err := h.Cursor(page[len(page)-1])
		if err != nil {
			t.Fatal(err)
		}
		if h, err = model.ResumeHistory(id, cursor); err != nil {
			t.Fatal(err)
		}
	}
}

// The table of examples by which the old system explains its bounds.
func TestHistoryExamples(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	conversation(t, s, "C",
		row{1, "Tom", noon, model.TypeText, 0},
		row{2, "Tom", noon.Add(time.Second), model.TypeText, 0},
		row{3, "Tom", noon.Add(2 * time.Second), model.TypeText, 0})
	at := func(seq int64) string { return model.At(noon.Add(time.Duration(seq-1) * time.Second)).String() }
	tests := []struct {
		start, end                       int64
		startClosed, endClosed, oldToNew bool
		want                             []int64
	}{
		{3, 1, false, false, false, []int64{2}},
		{3, 1, true, false, false, []int64{3, 2}},
		{3, 1, false, true, false, []int64{2, 1}},
		{1, 3, false, false, true, []int64{2}},
		{1, 3, true, false, true, []int64{1, 2}},
		{1, 3, false, true, true, []int64{2, 3}},
	}
	for _, tt := range tests {
		for _, by := range []string{"id", "time", "both", "id over time"} {
			h := model.History{OldToNew: tt.oldToNew}
			h.Start.Closed, h.End.Closed = tt.startClosed, tt.endClosed
			if by != "time" {
				h.Start.ID, h.End.ID = model.MessageID("C", tt.start), model.MessageID("C", tt.end)
			}
			switch by {
			case "time", "both":
				h.Start.Time, h.End.Time = at(tt.start), at(tt.end)
			case "id over time":
				h.Start.Time, h.End.Time = at(2), at(2)
			}
			got := walk(t, s, "C", h, rand.New(rand.NewPCG(1, 2)))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("by %s: %+v (-want +got):\n%s", by, h, diff)
			}
		}
	}
}

// Whatever is asked for, the pages together are what a look at all messages selects.
func TestHistoryPaging(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	types := []model.MessageType{model.TypeText, model.TypeText, model.TypeImage, model.TypeCustom, model.TypeRemoved, model.TypeRecalled}
	for n := range 6 {
		id := fmt.Sprintf("C%d", n)
		rows := randomRows(rnd, types)
		conversation(t, s, id, rows...)
		for range 60 {
			h := randomHistory(rnd, id, rows, types)
			got := walk(t, s, id, h, rnd)
			if diff := cmp.Diff(expected(t, h, rows), got); diff != "" {
				t.Fatalf("%s: History(%+v) (-want +got):\n%s", id, h, diff)
			}
		}
	}
}

// randomRows begin below 1, as imported ones do, and have holes.
func randomRows(rnd *rand.Rand, types []model.MessageType) []row {
	var rows []row
	at := noon
	for seq := int64(-3); seq < int64(rnd.IntN(60)); seq++ {
		at = at.Add(time.Duration(rnd.IntN(3)) * time.Millisecond)
		if rnd.IntN(8) == 0 {
			continue
		}
		r := row{seq, "Jerry", at, types[rnd.IntN(len(types))], 0}
		if r.typ == model.TypeCustom {
			r.custom = 1 + rnd.Int64N(2)
		}
		rows = append(rows, r)
	}
	return rows
}

func randomHistory(rnd *rand.Rand, id string, rows []row, types []model.MessageType) model.History {
	h := model.History{OldToNew: rnd.IntN(2) == 0}
	for _, b := range []*model.HistoryBound{&h.Start, &h.End} {
		b.Closed = rnd.IntN(2) == 0
		if visible := shown(rows); rnd.IntN(3) == 0 && len(visible) > 0 {
			b.ID = model.MessageID(id, visible[rnd.IntN(len(visible))].seq)
		}
		if rnd.IntN(3) == 0 {
			b.Time = noon.Add(time.Duration(rnd.IntN(140)-10) * time.Millisecond / 2).Format(time.RFC3339Nano)
		}
	}
	if t := types[rnd.IntN(len(types))]; rnd.IntN(3) == 0 {
		h.Type = t // removed is no type to ask for, and the same as none
	}
	if rnd.IntN(4) == 0 {
		h.CustomType = 1 + rnd.Int64N(2)
	}
	return h
}

func shown(rows []row) []row {
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.typ == model.TypeRemoved })
}

func expected(t *testing.T, h model.History, rows []row) []int64 {
	seqs := []int64{}
	for _, r := range shown(rows) {
		switch {
		case h.Type != 0 && r.typ != h.Type, h.CustomType != 0 && r.custom != h.CustomType:
		case side(t, h.Start, r, h.OldToNew) && side(t, h.End, r, !h.OldToNew):
			seqs = append(seqs, r.seq)
		}
	}
	if !h.OldToNew {
		slices.Reverse(seqs)
	}
	return seqs
}

// side reports whether a message lies on the newer side of a bound, or on the older one.
func side(t *testing.T, b model.HistoryBound, r row, newer bool) bool {
	var c int
	switch {
	case b.ID != "":
		var seq int64
		fmt.Sscanf(b.ID[len("C0."):], "%d", &seq)
		c = int(r.seq - seq)
	case b.Time != "":
		at, err := time.Parse(time.RFC3339Nano, b.Time)
		if err != nil {
			t.Fatal(err)
		}
		c = r.at.Compare(at)
	default:
		return true
	}
	if c == 0 {
		return b.Closed
	}
	return c > 0 == newer
}

func TestHistoryRefusals(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	for _, id := range []string{"C", "P"} {
		conversation(t, s, id, row{1, "Tom", noon, model.TypeText, 0}, row{2, "Tom", noon, model.TypeRemoved, 0})
	}
	exec(t, s, `UPDATE conversations SET visibility = 3 WHERE id = 'P'`)
	server := model.Caller{Server: true}
	stranger := model.Caller{Client: "Spike"}
	tests := []struct {
		name   string
		caller model.Caller
		id     string
		bound  string
		want   model.Code // empty: none
		legacy int
	}{
		{"member", tom(), "C", "C.1", "", 0},
		{"server token", server, "P", "P.1", "", 0},
		{"server token for a stranger", model.Caller{Server: true, Client: "Spike"}, "P", "P.1", "", 0},
		{"stranger", stranger, "C", "C.1", model.NotAMember, 4312},
		{"stranger, private", stranger, "P", "P.1", model.ConversationNotFound, 4303},
		{"nowhere", tom(), "X", "X.1", model.ConversationNotFound, 4303},
		{"membership comes before the message", stranger, "C", "C.9", model.NotAMember, 4312},
		{"unknown", tom(), "C", "C.9", model.MessageNotFound, 4404},
		{"deleted", tom(), "C", "C.2", model.MessageNotFound, 4404},
		{"another's", tom(), "C", "P.1", model.MessageNotFound, 4404},
		{"transient", tom(), "C", "C.tXYZ", model.MessageNotFound, 4404},
		{"far off", tom(), "C", "C.9223372036854775807", model.MessageNotFound, 4404},
		{"not spelt our way", tom(), "C", "C.01", model.MessageNotFound, 4404},
	}
	for _, tt := range tests {
		_, single := s.Message(t.Context(), tt.caller, tt.id, tt.bound)
		_, _, start := s.History(t.Context(), tt.caller, tt.id, model.History{Start: model.HistoryBound{ID: tt.bound}}, 10)
		_, _, end := s.History(t.Context(), tt.caller, tt.id, model.History{End: model.HistoryBound{ID: tt.bound}}, 10)
		for _, err := range []error{single, start, end} {
			if tt.want == "" && err == nil {
				continue
			}
			if e := asError(err); e == nil || e.Code != tt.want || e.LegacyCode() != tt.legacy {
				t.Errorf("%s: %v, want %s %d", tt.name, err, tt.want, tt.legacy)
			}
		}
	}
}

// A cursor outlives the message it stands on.
func TestHistoryCursorOutlivesItsMessage(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	conversation(t, s, "C", row{1, "Tom", noon, model.TypeText, 0}, row{2, "Tom", noon, model.TypeText, 0}, row{3, "Tom", noon, model.TypeText, 0})
	asked := model.History{End: model.HistoryBound{ID: "C.1", Closed: true}}
	page, more, err := s.History(t.Context(), tom(), "C", asked, 2)
	if err != nil || !more || len(page) != 2 {
		t.Fatalf("History = %d messages, more: %v, %v", len(page), more, err)
	}
	cursor, err := asked.Cursor(page[1])
	if err != nil {
		t.Fatal(err)
	}
	exec(t, s, `DELETE FROM messages WHERE conversation_id = 'C' AND seq = 2`)
	rest, err := model.ResumeHistory("C", cursor)
	if err != nil {
		t.Fatal(err)
	}
	page, more, err = s.History(t.Context(), tom(), "C", rest, 2)
	if err != nil || more || len(page) != 1 || page[0].Seq != 1 {
		t.Fatalf("the rest is %d messages, more: %v, %v", len(page), more, err)
	}
}

func asError(err error) *model.Error {
	var e *model.Error
	errors.As(err, &e)
	return e
}
