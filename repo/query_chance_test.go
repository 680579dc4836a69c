package repo_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"

	"parley/model"
	"parley/repo"
)

// store puts things into the database.
func store(t testing.TB, s *repo.Store, list []*thing) {
	t.Helper()
	for _, c := range list {
		kind, _ := model.ParseKind(c.kind)
		visibility, _ := model.ParseVisibility(c.visibility)
		var expires *time.Time
		if c.expired {
			expires = &noon
		}
		exec(t, s, `INSERT INTO conversations (id, kind, name, creator, attributes, visibility, is_unique, member_count,
				last_message_at, created_at, updated_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			c.id, kind, c.name, c.creator, c.attributes, visibility, c.unique, len(c.members), c.last, c.created, c.updated, expires)
		exec(t, s, `INSERT INTO members (conversation_id, client_id, joined_position, joined_at, role, read_seq, muted)
			SELECT $1, c, 0, now(), 0, 0, c = ANY ($3) FROM unnest($2::text[]) c`, c.id, pq.Array(c.members), pq.Array(c.mutedBy))
	}
}

// chance makes conversations and queries out of few words, so that they meet.
type chance struct{ *rand.Rand }

func one[T any](r chance, list ...T) T { return list[r.IntN(len(list))] }

func (r chance) some(list []string, most int) []string {
	list = slices.Clone(list)
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:r.IntN(most+1)]
}

func (r chance) time() time.Time { return noon.Add(time.Duration(r.IntN(6)) * 25 * time.Minute) }

var (
	clientWords = []string{"Tom", "Jerry", "Mary", "Bob"}
	textWords   = []string{"", "a", "ab", "教育", "x教育y", "NBA", "nba\nb", "Z", "É", "10", "~", "😀", "a%b_c", `"q"\`}
)

const scalarWords = `null|true|false|0|1|2.5|-3|10|"a"|"ab"|"10"|""|"教育"|"nba"|{"__type":"Date","iso":"2026-11-20T12:00:00Z"}|` +
	`{"__type":"Date","iso":"2026-11-20T14:25:00.000+02:00"}|{"__type":"Date","iso":"2026-11-20T12:25:00Z"}`

func (r chance) scalar() string { return one(r, strings.Split(scalarWords, "|")...) }

// value is JSON of any sort.
func (r chance) value() string {
	switch r.IntN(8) {
	case 0:
		return "[" + strings.Join([]string{r.scalar(), r.scalar()}[:r.IntN(3)], ",") + "]"
	case 1:
		return one(r, `{"z":1}`, `{"z":1,"y":[2]}`, `{}`, `[[1]]`, `[{"z":1}]`, `{"__type":"Date","iso":"never"}`)
	}
	return r.scalar()
}

// operand is a value that a query may name.
func (r chance) operand() string {
	for {
		if v := r.value(); !strings.Contains(v, "never") {
			return v
		}
	}
}

func (r chance) things(n int) []*thing {
	var list []*thing
	for i := range n {
		c := &thing{
			id: fmt.Sprintf("C%03d", i), kind: one(r, "ordinary", "ordinary", "chatroom", "service", "temporary"),
			visibility: one(r, "public", "unlisted", "private"), created: r.time(), updated: r.time(),
			unique: r.IntN(4) == 0, expired: r.IntN(12) == 0,
		}
		if r.IntN(4) > 0 {
			name := one(r, textWords...)
			c.name = &name
		}
		if r.IntN(3) > 0 {
			creator := one(r, clientWords...)
			c.creator = &creator
		}
		if r.IntN(3) > 0 {
			last := r.time()
			c.last = &last
		}
		if c.kind != "chatroom" {
			c.members = r.some(clientWords, 4)
			c.mutedBy = r.some(c.members, len(c.members))
		}
		var attributes []string
		for _, name := range []string{"a", "b", "o"} {
			if r.IntN(4) > 0 {
				v := r.value()
				if name == "o" { // of arrays and objects one each: their order among themselves is PostgreSQL's
					v = one(r, r.scalar(), r.scalar(), r.scalar(), "[1]", `{"z":1}`)
				}
				attributes = append(attributes, fmt.Sprintf("%q:%s", name, v))
			}
		}
		attributes = append(attributes, one(r, `"d":{"e":`+r.value()+`}`, `"d":5`, `"d":[{"e":1}]`))
		c.attributes = "{" + strings.Join(attributes, ",") + "}"
		list = append(list, c)
	}
	return list
}

var timeFields = []string{"createdAt", "updatedAt", "lastMessageAt", "lm"}

func (r chance) where(depth int) string {
	var parts []string
	used := map[string]bool{}
	for range 1 + r.IntN(2) {
		if depth < 4 && r.IntN(4) == 0 {
			op := one(r, "$and", "$or", "$nor")
			if !used[op] {
				parts = append(parts, fmt.Sprintf(`%q:[%s,%s]`, op, r.where(depth+1), r.where(depth+1)))
			}
			used[op] = true
			continue
		}
		field := one(r, "id", "objectId", "name", "kind", "creator", "c", "members", "m", "members", "memberCount", "createdAt", "updatedAt",
			"lastMessageAt", "lm", "unique", "muted", "tr", "sys", "attributes.a", "attr.b", "attributes.d.e", "attributes.o", "attributes.a.x")
		if !used[field] {
			parts = append(parts, fmt.Sprintf("%q:%s", field, r.condition(field, depth)))
		}
		used[field] = true
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func (r chance) quoted(words ...string) string {
	b, _ := json.Marshal(one(r, words...))
	return string(b)
}

// fitting is an operand that may match what a field holds.
func (r chance) fitting(field string) string {
	switch {
	case slices.Contains(timeFields, field):
		b, _ := json.Marshal(r.time())
		return one(r, string(b), `{"__type":"Date","iso":`+string(b)+`}`, "5", "null")
	case r.IntN(6) == 0:
		return r.operand()
	}
	switch field {
	case "members", "m", "creator", "c":
		if r.IntN(5) == 0 {
			b, _ := json.Marshal(append([]string{}, r.some(clientWords, 3)...))
			return string(b)
		}
		return r.quoted(append(clientWords, "Nobody")...)
	case "name":
		return r.quoted(textWords...)
	case "kind":
		return r.quoted("ordinary", "chatroom", "service", "temporary", "none")
	case "id", "objectId":
		return r.quoted("C001", "C010", "C020", "C", "x")
	case "memberCount":
		return one(r, "0", "1", "2", "2.5", "3")
	case "unique", "muted", "tr", "sys":
		return one(r, "true", "false", "null")
	}
	return r.operand()
}

func (r chance) condition(field string, depth int) string {
	if r.IntN(3) == 0 {
		return r.fitting(field)
	}
	op := one(r, "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$contains", "$startsWith", "$endsWith",
		"$regex", "$all", "$size", "$not")
	v := r.fitting(field)
	switch op {
	case "$in", "$nin", "$all":
		list := []string{v}
		for range r.IntN(30) {
			list = append(list, r.fitting(field))
		}
		v = "[" + strings.Join(list[:r.IntN(len(list)+1)], ",") + "]"
	case "$exists":
		v = one(r, "true", "false")
	case "$contains", "$startsWith", "$endsWith":
		v = r.quoted("", "a", "教", "b", "C0", "to", "\n", "%", "_")
	case "$regex":
		v = r.quoted("^a", "[\\u4e00-\\u9fa5]", "^((?!教育).)*$", "nba", "b$", "^.*$", "^$", "É|z", "m") + `,"$options":` + r.quoted("", "i", "m", "s", "im")
	case "$size":
		v = one(r, "0", "1", "2")
	case "$not":
		if depth >= 6 {
			return v
		}
		v = r.condition(field, depth+2)
	}
	return fmt.Sprintf(`{%q:%s}`, op, v)
}
