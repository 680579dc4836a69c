package model

import (
	"encoding/base64"
	"testing"
	"time"
)

type testPlace struct {
	At Time   `json:"at"`
	ID string `json:"id"`
}

func TestCursor(t *testing.T) {
	t.Parallel()
	want := testPlace{At(time.Date(2026, 11, 20, 10, 52, 31, 492e6, time.UTC)), `a<b>&"\u0000 é`}
	cursor, err := EncodeCursor("list", want)
	if err != nil {
		t.Fatal(err)
	}
	var got testPlace
	if err := DecodeCursor("list", cursor, &got); err != nil || got != want {
		t.Fatalf("DecodeCursor = %v, %v; want %v", got, err, want)
	}
	if err := DecodeCursor("list2", cursor, &got); !IsCode(err, InvalidCursor) {
		t.Errorf("another list's cursor: %v", err)
	}
	for i := range len(cursor) {
		damaged := []byte(cursor)
		damaged[i] ^= 1
		if err := DecodeCursor("list", string(damaged), &got); !IsCode(err, InvalidCursor) {
			t.Errorf("a cursor damaged at %d: %v", i, err)
		}
	}
	for _, bad := range []string{"", "x", "====", cursor + "A", cursor[:len(cursor)-1], cursor + "\n"} {
		if err := DecodeCursor("list", bad, &got); !IsCode(err, InvalidCursor) {
			t.Errorf("DecodeCursor(%q) = %v, want invalid_cursor", bad, err)
		}
	}
}

// Anybody can compute the checksum, so what it covers is not trusted either.
func TestForgedCursor(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{`{"id":"\u0000"}`, `{"id":1}`, `{"other":1}`, `{"id":"a","id":"b"}`, `[`, "{\"id\":\"\xff\"}"} {
		forged := base64.RawURLEncoding.EncodeToString(append(cursorChecksum("list", []byte(payload)), payload...))
		var got testPlace
		if err := DecodeCursor("list", forged, &got); !IsCode(err, InvalidCursor) {
			t.Errorf("a forged cursor with %s: %v", payload, err)
		}
	}
}

func FuzzDecodeCursor(f *testing.F) {
	good, _ := EncodeCursor("list", testPlace{At(time.Unix(0, 0)), "x"})
	f.Add("list", good)
	f.Add("", "AAAA")
	f.Fuzz(func(t *testing.T, list, cursor string) {
		var p testPlace
		if err := DecodeCursor(list, cursor, &p); err != nil {
			if !IsCode(err, InvalidCursor) {
				t.Fatalf("DecodeCursor = %v, want invalid_cursor", err)
			}
			return
		}
		again, err := EncodeCursor(list, p)
		if err != nil {
			t.Fatal(err)
		}
		var q testPlace
		if err := DecodeCursor(list, again, &q); err != nil || q.ID != p.ID {
			t.Fatalf("decoded %v, encoded again %v, %v", p, q, err)
		}
	})
}
