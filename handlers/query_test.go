package handlers_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// names are those of the conversations that a query finds, in its order.
func (r reply) names() []string {
	list := []string{}
	items, _ := r.body["items"].([]any)
	for _, item := range items {
		name, _ := item.(map[string]any)["name"].(string)
		list = append(list, name)
	}
	return list
}

// ask sends a query both ways, which must agree, and counts.
func (s *site) ask(who, where string) []string {
	s.t.Helper()
	posted := s.do(who, "POST", "/v1/queries", `{"where":`+where+`,"order":["name"],"limit":100}`)
	got := s.do(who, "GET", "/v1/conversations?order=name&limit=100&where="+url.QueryEscape(where), "")
	if posted.StatusCode != 200 || posted.raw != got.raw {
		s.t.Errorf("%s: POST %s %s, GET %s %s", where, posted.outcome(), posted.raw, got.outcome(), got.raw)
	}
	count := s.do(who, "POST", "/v1/queries/count", `{"where":`+where+`}`)
	if count.raw != fmt.Sprintf(`{"count":%d}`, len(posted.names())) {
		s.t.Errorf("%s: %d found, counted %s", where, len(posted.names()), count.raw)
	}
	return posted.names()
}

func TestQueries(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, body := range []string{
		`{"name":"private","members":["Jerry"],"visibility":"private","attributes":{"language":"中文","age":17,"keywords":"在线教育","tags":["a","b"]}}`,
		`{"name":"unlisted","members":["Jerry","Mary"],"attributes":{"language":"english","age":18.5,"due":{"__type":"Date","iso":"2026-11-20T10:00:00Z"}}}`,
		`{"name":"public","visibility":"public","attributes":{"language":"français","tags":"a","nested":{"a":1}}}`,
		`{"name":"room","kind":"chatroom"}`,
	} {
		s.create("Tom", body)
	}
	s.create("Spike", `{"name":"of Spike","visibility":"public","members":["Tom"]}`)
	for _, tt := range []struct{ who, where, want string }{
		{"Tom", `{"name":{"$exists":true}}`, "of Spike,private,public,room,unlisted"},
		{"Jerry", `{"name":{"$exists":true}}`, "of Spike,private,public,room,unlisted"},
		{"Bob", `{"name":{"$exists":true}}`, "of Spike,public,room"},
		{"server", `{"name":{"$exists":true}}`, "of Spike,private,public,room,unlisted"},
		{"Tom", `{"attr.language":{"$regex":"[\\u4e00-\\u9fa5]"}}`, "private"},
		{"Tom", `{"attributes.keywords":{"$regex":"^((?!教育).)*$"}}`, ""},
		{"Tom", `{"attributes.keywords":{"$contains":"教育"},"attributes.age":{"$lt":18}}`, "private"},
		{"Tom", `{"name":{"$regex":"^P","$options":"i"}}`, "private,public"},
		{"Tom", `{"name":{"$not":{"$regex":"^p"}}}`, "of Spike,room,unlisted"},
		{"Tom", `{"attr.tags":"a"}`, "private,public"},
		{"Tom", `{"attr.tags":{"$all":["b","a"]}}`, "private"},
		{"Tom", `{"attr.tags":["a","b"]}`, "private"},
		{"Tom", `{"attr.tags":{"$size":2}}`, "private"},
		{"Tom", `{"attr.nested":{"a":1}}`, "public"},
		{"Tom", `{"attr.nested.a":{"$gte":1}}`, "public"},
		{"Tom", `{"attr.age":{"$gt":"1"}}`, ""},
		{"Tom", `{"attr.age":null}`, "of Spike,public,room"},
		{"Tom", `{"attr.due":{"$lt":{"__type":"Date","iso":"2026-11-20T18:00:01+08:00"}}}`, "unlisted"},
		{"Tom", `{"attr.due":{"$lt":"2026-11-20T18:00:01+08:00"}}`, ""},
		{"Tom", `{"m":"Jerry"}`, "private,unlisted"},
		{"Tom", `{"members":{"$all":["Jerry","Mary"]}}`, "unlisted"},
		{"Tom", `{"members":{"$in":["Spike","Mary"]}}`, "of Spike,unlisted"},
		{"Tom", `{"members":["Tom","Jerry"]}`, "private"},
		{"Tom", `{"members":{"$ne":"Jerry"}}`, "of Spike,public"},
		{"Tom", `{"memberCount":{"$gte":2}}`, "of Spike,private,unlisted"},
		{"Bob", `{"memberCount":{"$gte":2}}`, "of Spike"},
		{"Tom", `{"tr":true}`, "room"},
		{"Tom", `{"sys":true}`, ""},
		{"Tom", `{"c":"Spike"}`, "of Spike"},
		{"Tom", `{"createdAt":{"$gt":"2020-01-01T00:00:00Z"},"lm":{"$exists":false},"kind":{"$ne":"ordinary"}}`, "room"},
		// A stranger learns nothing of members, whichever way he asks.
		{"Bob", `{"members":"Tom"}`, ""},
		{"Bob", `{"members":{"$ne":"Tom"}}`, ""},
		{"Bob", `{"members":{"$nin":["Nobody"]}}`, ""},
		{"Bob", `{"members":{"$not":{"$all":["Nobody"]}}}`, ""},
		{"Bob", `{"$nor":[{"m":"Nobody"}]}`, ""},
		{"Bob", `{"$or":[{"m":"Nobody"},{"name":"room"}]}`, "room"},
		{"Bob", `{"$nor":[{"m":"Nobody"},{"name":"x"}]}`, ""},
		{"Bob", `{"members":{"$exists":true}}`, ""},
		{"Bob", `{"name":"private"}`, ""},
		{"Bob", `{"muted":null}`, "of Spike,public,room"},
		{"Bob", `{"muted":false}`, ""},
		{"server", `{"members":"Mary"}`, "unlisted"},
	} {
		if got := strings.Join(s.ask(tt.who, tt.where), ","); got != tt.want {
			t.Errorf("%s asks %s: %s, want %s", tt.who, tt.where, got, tt.want)
		}
	}
	room := s.do("Bob", "POST", "/v1/queries", `{"where":{"m":{"$exists":false}}}`)
	if room.raw != `{"items":[],"next":null}` || room.Header.Get("Parley-Position") == "" {
		t.Errorf("nothing: %s", room.raw)
	}
	if r := s.do("Bob", "POST", "/v1/queries", `{"where":{"name":"public"},"include":["lastMessage"]}`); strings.Contains(r.raw, "muted") ||
		!strings.Contains(r.raw, `"members":[],"memberCount":1`) {
		t.Errorf("a stranger's face: %s", r.raw)
	}
}

func TestQueryParameters(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.create("Tom", `{"name":"x"}`)
	for body, want := range map[string]string{
		"": "200", `{}`: "200", `{"where":null,"order":null,"cursor":null,"skip":0}`: "200", `{"where":{},"order":["-name","attributes.a.b"]}`: "200",
		`{"limit":1000,"skip":10000,"compact":true,"include":["lastMessage"]}`: "200",
		`{"limit":0}`:                  "400 invalid_request limit",
		`{"limit":1001}`:               "400 invalid_request limit",
		`{"limit":"5"}`:                "400 invalid_request limit",
		`{"skip":-1}`:                  "400 invalid_request skip",
		`{"skip":10001}`:               "400 invalid_request skip",
		`{"include":["members"]}`:      "400 invalid_request include[0]",
		`{"order":"name"}`:             "400 invalid_request order",
		`{"order":["name","members"]}`: "400 invalid_request order[1]",
		`{"order":["id","name","c","lm","tr","sys"]}`: "400 invalid_request order[5]",
		`{"cursor":"x"}`:                               "400 invalid_cursor",
		`{"were":{}}`:                                  "400 invalid_request were",
		`{"where":[]}`:                                 "400 invalid_request where",
		`{"where":"name"}`:                             "400 invalid_request where",
		`{"where":{"name":{"$gt":1e999}}}`:             "400 invalid_request where.name.$gt",
		`{"where":{"name":"\u0000"}}`:                  "400 invalid_request where.name",
		`{"where":{"name":"a","name":"b"}}`:            "400 invalid_request where.name",
		`{"where":{"name":{"$gte":"a","$between":1}}}`: "400 invalid_request where.name.$between",
		`{"where":{"$or":[{"name":{"$regex":"["}}]}}`:  "400 invalid_request where.$or[0].name.$regex",
		`{"where":{"attributes.x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}}`: "400 invalid_request where.attributes.x" + strings.Repeat("[0]", 31),
	} {
		if r := s.do("Tom", "POST", "/v1/queries", body).outcome(); r != want {
			t.Errorf("%s: %s, want %s", body, r, want)
		}
	}
	for path, want := range map[string]string{
		"?where=": "400 invalid_request where", "?where=x": "400 invalid_request where", "?order=": "400 invalid_request order",
		"?order=name,,lm": "400 invalid_request order", "?order=-lastMessageAt,name&where={}": "200", "?where=%7B%22a%22:1%7D": "400 invalid_request where.a",
		"?include=lastMessage&compact=true": "200", "?where={}&where={}": "400 invalid_request where",
	} {
		if r := s.do("Tom", "GET", "/v1/conversations"+path, "").outcome(); r != want {
			t.Errorf("%s: %s, want %s", path, r, want)
		}
	}
	for _, path := range []string{"/v1/queries", "/v1/queries/count"} {
		if r := s.do("server", "POST", path, `{"where":{}}`).outcome(); r != "400 acting_client_required" {
			t.Errorf("%s for nobody: %s", path, r)
		}
		if r := s.do("Tom", "GET", path, "").outcome(); r != "405 method_not_allowed" {
			t.Errorf("GET %s: %s", path, r)
		}
		if r := s.do("Tom", "POST", path+"?limit=1", "").outcome(); r != "400 invalid_request limit" {
			t.Errorf("a query parameter: %s", r)
		}
	}
	if r := s.do("Tom", "POST", "/v1/queries/count", ""); r.raw != `{"count":1}` {
		t.Errorf("a count of one's own: %s", r.raw)
	}
}

// A list goes on behind its cursor, whatever happens to what was listed, and whichever way it is asked for.
func TestQueryCursors(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var want []string
	for i := range 23 {
		name := fmt.Sprintf("%02d", i)
		s.create("Tom", fmt.Sprintf(`{"name":%q,"attributes":{"n":%d,"long":%q}}`, name, i/5, strings.Repeat("<é>", 2000)))
		want = append(want, name)
	}
	slices.SortStableFunc(want, func(a, b string) int { // by n descending, then by name
		return strings.Compare(group(b), group(a))
	})
	const fields = `"where":{"kind":"ordinary"},"order":["-attributes.n","attr.long","name"],"compact":true`
	var got []string
	for cursor, page := "null", 0; cursor != ""; page++ {
		body := fmt.Sprintf(`{%s,"limit":%d,"cursor":%s}`, fields, 3+page%3, cursor)
		r := s.do("Tom", "POST", "/v1/queries", body)
		if r.StatusCode != 200 {
			t.Fatal(r.raw)
		}
		got = append(got, r.names()...)
		next, more := r.body["next"].(string)
		if cursor = ""; !more {
			break
		}
		quoted, _ := json.Marshal(next)
		cursor = string(quoted)
		for _, other := range []string{
			`{"where":{"kind":"chatroom"},"order":["-attributes.n","attr.long","name"],"compact":true,"cursor":` + cursor + `}`,
			`{"where":{"kind":"ordinary"},"order":["attributes.n","attr.long","name"],"compact":true,"cursor":` + cursor + `}`,
			`{"where":{"kind":"ordinary"},"compact":true,"cursor":` + cursor + `}`, `{` + fields + `,"skip":1,"cursor":` + cursor + `}`,
		} {
			if r := s.do("Tom", "POST", "/v1/queries", other).outcome(); r != "400 invalid_cursor" {
				t.Errorf("a cursor with other parameters: %s", r)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	first := s.do("Tom", "GET", "/v1/conversations?where={}&limit=20&skip=1", "")
	second := s.do("Tom", "POST", "/v1/queries", `{"limit":20,"skip":1,"cursor":"`+first.body["next"].(string)+`"}`)
	if all := append(first.names(), second.names()...); len(all) != 22 || slices.Contains(all, "22") || second.body["next"] != nil {
		t.Errorf("without conditions: %q", all)
	}
}

func group(name string) string {
	var i int
	_, _ = fmt.Sscan(strings.TrimLeft(name, "0"), &i)
	return string(rune('a' + i/5))
}

// Many at once wait for one another, and all are answered.
func TestQueriesTakeTurns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.create("Tom", `{"name":"x"}`)
	var wg sync.WaitGroup
	for i := range 30 {
		who := []string{"Tom", "Jerry", "server"}[i%3]
		wg.Go(func() {
			if r := s.do(who, "POST", "/v1/queries/count", `{"where":{"name":{"$regex":"x"}}}`); r.StatusCode != 200 {
				t.Errorf("%s: %s", who, r.raw)
			}
		})
	}
	wg.Wait()
}
