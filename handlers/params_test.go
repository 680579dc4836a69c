package handlers

import (
	"net/http/httptest"
	"slices"
	"testing"
)

func TestParams(t *testing.T) {
	t.Parallel()
	tests := []struct {
		query string
		want  string // the parameter named, or another code; empty: accepted
	}{
		{"", ""},
		{"limit=1&online=true&dir=up&at=2026-11-20T10:52:31Z&clientId=a&clientId=b", ""},
		{"limit=500&online=false", ""},
		{"limit=0", "limit"},
		{"limit=501", "limit"},
		{"limit=", "limit"},
		{"limit=%2B5", "limit"},
		{"limit=05", "limit"},
		{"limit=99999999999999999999", "limit"},
		{"limit=1&limit=1", "limit"},
		{"online=1", "online"},
		{"online=True", "online"},
		{"online=", "online"},
		{"dir=Up", "dir"},
		{"dir=", "dir"},
		{"at=yesterday", "at"},
		{"at=2026-11-20", "at"},
		{"Limit=1", "Limit"},
		{"x=1", "x"},
		{"=1", ""},
		{"clientId=", "clientId"},
		{"clientId=%00", "clientId"},
		{"clientId=a&clientId=%ff", "clientId"},
		{"cursor=abc", "invalid_cursor"},
		{"cursor=", "invalid_cursor"},
		{"a;b", "query"},
		{"limit=%zz", "query"},
	}
	for _, tt := range tests {
		p := query(httptest.NewRequest("GET", "/?"+tt.query, nil))
		limit := p.limit(defaultLimit, 500)
		p.boolean("online")
		p.oneOf("dir", "down", "up", "down")
		p.time("at")
		p.clients("clientId")
		var place string
		p.cursor("list", &place)
		err := p.done()
		if tt.query == "=1" { // a parameter without a name is as unknown as any
			if err == nil {
				t.Error("a nameless parameter is accepted")
			}
			continue
		}
		if got := field(err); got != tt.want {
			t.Errorf("?%s names %q, want %q (%v)", tt.query, got, tt.want, err)
		}
		if tt.query == "" && limit != 100 {
			t.Errorf("the default limit = %d", limit)
		}
	}
	p := query(httptest.NewRequest("GET", "/?clientId=%C3%A9&clientId=a%2Fb", nil))
	if got := p.clients("clientId"); !slices.Equal(got, []string{"é", "a/b"}) || p.done() != nil {
		t.Errorf("clients = %q, %v", got, p.done())
	}
}

func TestListID(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, id := range []string{listID("a", "b"), listID("a b"), listID("a", "b", true), listID("a", "b", "true x"), listID(`a" "b`)} {
		if seen[id] {
			t.Errorf("two lists have the identity %s", id)
		}
		seen[id] = true
	}
}
