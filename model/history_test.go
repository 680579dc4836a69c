package model_test

import (
	"testing"
	"time"

	"parley/model"
)

func TestHistoryCursor(t *testing.T) {
	t.Parallel()
	asked := model.History{
		OldToNew: true, Start: model.HistoryBound{ID: "C.1", Closed: true},
		End: model.HistoryBound{Time: "2026-11-20T10:52:31.4925+01:00"}, Type: model.TypeText,
	}
	cursor, err := asked.Cursor(&model.Message{ConversationID: "C", Seq: 7})
	if err != nil {
		t.Fatal(err)
	}
	got, err := model.ResumeHistory("C", cursor)
	if err != nil {
		t.Fatal(err)
	}
	want := asked
	want.Behind = "C.7"
	if got != want {
		t.Errorf("ResumeHistory = %+v, want %+v", got, want)
	}
	if older, newer := got.Bounds(); older != (model.HistoryBound{ID: "C.7"}) || newer != asked.End {
		t.Errorf("Bounds = %+v, %+v", older, newer)
	}
	if _, err := model.ResumeHistory("D", cursor); !model.IsCode(err, model.InvalidCursor) {
		t.Errorf("in another conversation: %v, want invalid_cursor", err)
	}
	first, err := model.EncodeCursor("history:C", model.History{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := model.ResumeHistory("C", first); !model.IsCode(err, model.InvalidCursor) {
		t.Errorf("a cursor without a place: %v, want invalid_cursor", err)
	}
}

// Messages carry milliseconds, bounds any fraction of a second.
func TestHistoryBoundTime(t *testing.T) {
	t.Parallel()
	const layout = "15:04:05.000"
	tests := []struct {
		time        string
		closed      bool
		from, until string
	}{
		{"2026-11-20T10:00:00.5Z", false, "10:00:00.501", "10:00:00.500"},
		{"2026-11-20T10:00:00.5Z", true, "10:00:00.500", "10:00:00.501"},
		{"2026-11-20T11:00:00.5000001+01:00", false, "10:00:00.501", "10:00:00.501"},
		{"2026-11-20T11:00:00.5000001+01:00", true, "10:00:00.501", "10:00:00.501"},
	}
	for _, tt := range tests {
		b := model.HistoryBound{Time: tt.time, Closed: tt.closed}
		from, err := b.From()
		if err != nil {
			t.Fatal(err)
		}
		until, err := b.Until()
		if err != nil {
			t.Fatal(err)
		}
		if got := from.Format(layout); got != tt.from {
			t.Errorf("%+v: From = %s, want %s", b, got, tt.from)
		}
		if got := until.Format(layout); got != tt.until {
			t.Errorf("%+v: Until = %s, want %s", b, got, tt.until)
		}
	}
	last := model.HistoryBound{Time: "9999-12-31T23:59:59.9999999Z"}
	if until, err := last.Until(); err != nil || until.Before(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)) {
		t.Errorf("Until of the last moment = %v, %v", until, err)
	}
}

func FuzzResumeHistory(f *testing.F) {
	cursor, err := model.History{Type: model.TypeText}.Cursor(&model.Message{ConversationID: "C", Seq: -7})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(cursor)
	f.Add("AAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, cursor string) {
		h, err := model.ResumeHistory("C", cursor)
		if err != nil {
			if !model.IsCode(err, model.InvalidCursor) {
				t.Fatalf("%v, want invalid_cursor", err)
			}
			return
		}
		if _, ok := model.ParseMessageID("C", h.Behind); !ok {
			t.Fatalf("goes on behind %q", h.Behind)
		}
	})
}
