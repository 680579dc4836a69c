package model

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

func repeated(n int, part string) string { return strings.TrimSuffix(strings.Repeat(part+",", n), ",") }

// deep wraps a condition into n $and.
func deep(n int, inner string) string {
	return strings.Repeat(`{"$and":[`, n) + inner + strings.Repeat(`]}`, n)
}

func TestParseWhere(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, where string
		field       string // of the refusal; empty: accepted
	}{
		{"bare values", `{"name":"x","creator":null,"unique":true,"memberCount":2,"attributes.a":{"b":[1]},"attr.a.b":[]}`, ""},
		{"old spellings", `{"objectId":"x","c":"Tom","m":"Tom","lm":{"$exists":false},"tr":true,"sys":false,"attr.x":1}`, ""},
		{"no such field", `{"nmae":"x"}`, "where.nmae"},
		{"a field of the answer that cannot be asked about", `{"unreadMessagesCount":1}`, "where.unreadMessagesCount"},
		{"attributes without a path", `{"attributes":{}}`, "where.attributes"},
		{"an empty step", `{"attributes.a..b":1}`, "where.attributes.a..b"},
		{"an empty path", `{"attr.":1}`, "where.attr."},
		{"not an object", `[1]`, "where"},
		{"unknown operator", `{"name":{"$like":"x"}}`, "where.name.$like"},
		{"unknown operator around conditions", `{"$not":{"name":"x"}}`, "where.$not"},
		{"an operator beside a name", `{"attributes.a":{"$gt":1,"b":2}}`, "where.attributes.a.b"},
		{"$or is no array", `{"$or":{"name":"x"}}`, "where.$or"},
		{"$or is empty", `{"$or":[]}`, "where.$or"},
		{"in $or", `{"$or":[{"name":"x"},{"nmae":"x"}]}`, "where.$or[1].nmae"},
		{"$or of no objects", `{"$or":[1]}`, "where.$or[0]"},
		{"an empty condition in $or", `{"$or":[{}]}`, ""},
		{"$exists", `{"name":{"$exists":1}}`, "where.name.$exists"},
		{"$in", `{"name":{"$in":"x"}}`, "where.name.$in"},
		{"$size", `{"attributes.a":{"$size":-1}}`, "where.attributes.a.$size"},
		{"$size of a fraction", `{"attributes.a":{"$size":1.5}}`, "where.attributes.a.$size"},
		{"$size of a string", `{"attributes.a":{"$size":"1"}}`, "where.attributes.a.$size"},
		{"$contains", `{"name":{"$contains":1}}`, "where.name.$contains"},
		{"$startsWith at times", `{"createdAt":{"$startsWith":"2026"}}`, ""},
		{"$regex", `{"name":{"$regex":1}}`, "where.name.$regex"},
		{"$regex that does not compile", `{"name":{"$not":{"$regex":"("}}}`, "where.name.$not.$regex"},
		{"$options", `{"name":{"$regex":"x","$options":"ig"}}`, "where.name.$options"},
		{"$options alone", `{"name":{"$options":"i"}}`, "where.name.$options"},
		{"$not around a value", `{"name":{"$not":"x"}}`, ""},
		{"times", `{"createdAt":{"$gt":"2026-11-20T10:52:31.492+08:00"},"lm":{"$lt":{"__type":"Date","iso":"2026-11-20T10:52:31Z"}}}`, ""},
		{"unlike types", `{"createdAt":{"$gt":5},"name":{"$lt":true},"memberCount":"2","unique":{"$gt":null}}`, ""},
		{"no time", `{"createdAt":{"$gt":"yesterday"}}`, "where.createdAt.$gt"},
		{"no time in a list", `{"lm":{"$in":["2026-11-20T10:52:31Z","x"]}}`, "where.lm.$in[1]"},
		{"a malformed Date", `{"attributes.a":{"$gte":{"__type":"Date","iso":"2026"}}}`, "where.attributes.a.$gte"},
		{"a Date without a time", `{"attributes.a":{"__type":"Date"}}`, "where.attributes.a"},
		{"a text of an attribute is no time", `{"attributes.a":{"$gte":"2026"}}`, ""},
		{"as many values as may be", `{"name":{"$in":[` + repeated(1000, `"x"`) + `]}}`, ""},
		{"one more", `{"name":{"$nin":[` + repeated(1001, `"x"`) + `]}}`, "where.name.$nin"},
		{"one more for $all", `{"m":{"$all":[` + repeated(1001, `"x"`) + `]}}`, "where.m.$all"},
		{"as many conditions as may be", `{"$or":[` + repeated(32, `{"name":{"$gt":"a","$lt":"b"}}`) + `]}`, ""},
		{"one more condition", `{"$or":[` + repeated(32, `{"name":{"$gt":"a","$lt":"b"}}`) + `],"name":"x"}`, "where"},
		{"$options is none", `{"$or":[` + repeated(64, `{"name":{"$regex":"a","$options":"i"}}`) + `]}`, ""},
		{"$not is none", `{"$or":[` + repeated(64, `{"name":{"$not":{"$gt":"a"}}}`) + `]}`, ""},
		{"empty ones count", `{"$or":[` + repeated(65, `{}`) + `]}`, "where"},
		{"as deep as may be", deep(8, `{"name":"x"}`), ""},
		{"one deeper", deep(9, `{"name":"x"}`), "where" + strings.Repeat(".$and[0]", 8) + ".$and"},
		{"$not is one of them", deep(8, `{"name":{"$not":{"$gt":"x"}}}`), "where" + strings.Repeat(".$and[0]", 8) + ".name.$not"},
		{"$not within $not", deep(6, `{"name":{"$not":{"$not":{"$gt":"x"}}}}`), ""},
		{"patterns too large together", `{"$or":[` + repeated(3, `{"name":{"$regex":"[ab]{900}"}}`) + `]}`, "where.$or[2].name.$regex"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseWhere(jsontext.Value(tt.where))
			var e *Error
			switch {
			case tt.field == "" && err != nil:
				t.Error(err)
			case tt.field != "" && (!errors.As(err, &e) || e.Code != InvalidRequest || e.Fields[0].Field != tt.field):
				t.Errorf("%v, want a refusal of %s", err, tt.field)
			}
		})
	}
	for _, nothing := range []string{"", "null", "{}", " { \n} "} {
		if c, err := ParseWhere(jsontext.Value(nothing)); c != nil || err != nil {
			t.Errorf("ParseWhere(%q) = %v, %v; want nothing", nothing, c, err)
		}
	}
}

func TestParseOrder(t *testing.T) {
	t.Parallel()
	at := func(i int) string { return fmt.Sprintf("order[%d]", i) }
	order, err := ParseOrder([]string{"-lm", "attr.a.b", "name", "-lastMessageAt"}, at)
	if err != nil || len(order) != 3 || !order[0].Descending || order[0].Field.Column != QueryLastMessageAt || len(order[1].Field.Path) != 2 {
		t.Errorf("%+v, %v", order, err)
	}
	for bad, field := range map[string]string{
		"name,members": "order[1]", "m": "order[0]", "-": "order[0]", "--name": "order[0]", "+name": "order[0]", " name": "order[0]",
		"attributes": "order[0]", "id,name,kind,unique,sys,tr": "order[5]",
	} {
		var e *Error
		if _, err := ParseOrder(strings.Split(bad, ","), at); !errors.As(err, &e) || e.Fields[0].Field != field {
			t.Errorf("%s: %v, want a refusal of %s", bad, err, field)
		}
	}
}

func TestStorableJSON(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"a" : [1e-5, -2.50E-3]}`:                          `{"a":[1e-5,-2.50E-3]}`,
		`[1e-20000,-1.5E-0099999,"1e-20000","\"1e-20000"]`:  `[0,0,"1e-20000","\"1e-20000"]`,
		`{"1e-20000":1e-20000,"x":0.` + manyZeros + `1e-5}`: `{"1e-20000":0,"x":0}`,
		`1e300`: `1e300`,
	} {
		if got := string(storableJSON(jsontext.Value(in))); got != want {
			t.Errorf("storableJSON(%.60s) = %s, want %s", in, got, want)
		}
	}
}

var manyZeros = strings.Repeat("0", 16000)

func TestPlace(t *testing.T) {
	t.Parallel()
	at := At(time.Date(2026, 11, 20, 10, 52, 31, 492e6, time.UTC))
	name := "x"
	c := &Conversation{ID: "C", Kind: Chatroom, Name: &name, MemberCount: 3, CreatedAt: at, UpdatedAt: at,
		Attributes: []byte(`{"t":"x","n":1e-99999,"d":{"__type":"Date","iso":"2026-11-20T10:52:31.1234567+02:00"},"l":[1],"o":{"__type":"Date"},"z":null}`)}
	fields := []string{"name", "kind", "creator", "memberCount", "createdAt"}
	more := []string{"updatedAt", "lastMessageAt", "unique", "muted", "tr"}
	attributes := []string{"attr.t", "attr.n", "attr.d", "attr.l", "attr.o"}
	for _, fields := range [][]string{fields, more, attributes, {"attr.z", "attr.t.x", "attr.none", "sys", "id"}, {}} {
		order, err := ParseOrder(fields, func(int) string { return "order" })
		if err != nil {
			t.Fatal(err)
		}
		cursor, err := EncodeCursor("x", PlaceOf(order, c))
		if err != nil {
			t.Fatal(err)
		}
		var back Place
		if err := DecodeCursor("x", cursor, &back); err != nil {
			t.Fatalf("%+v: %v", PlaceOf(order, c), err)
		}
		if err := back.Check(order); err != nil {
			t.Errorf("%+v: %v", back, err)
		}
	}
}

// Whoever makes a cursor of his own gets an answer, not a failure.
func TestForgedPlace(t *testing.T) {
	t.Parallel()
	for field, forged := range map[string]string{
		"memberCount": `{"j":1.5}`, "unique": `{"j":1}`, "name": `{"j":"x"}`, "createdAt": `{}`, "id": `{"t":"2026-11-20T10:52:31Z"}`,
		"updatedAt": `{"s":"now"}`, "attr.a": `{"j":"x"}`, "muted": `{"s":"true"}`, "kind": `{}`,
	} {
		order, _ := ParseOrder([]string{field}, func(int) string { return "order" })
		cursor, err := EncodeCursor("x", jsontext.Value(`{"k":[`+forged+`],"i":"C"}`))
		if err != nil {
			t.Fatal(err)
		}
		var p Place
		if err := DecodeCursor("x", cursor, &p); err == nil {
			err = p.Check(order)
			if !IsCode(err, InvalidCursor) {
				t.Errorf("%s at %s: %v", field, forged, err)
			}
		}
	}
	if err := (&Place{}).Check(ByActivity()); !IsCode(err, InvalidCursor) {
		t.Errorf("without keys: %v", err)
	}
}

func FuzzParseWhere(f *testing.F) {
	f.Add(`{"name":{"$regex":"^((?!x).)*$","$options":"i"},"$or":[{"m":"Tom"},{"attr.a":{"$in":[1,"x",null]}}]}`)
	f.Add(`{"lm":{"$gt":{"__type":"Date","iso":"2026-11-20T10:52:31Z"}},"attributes.a.b":{"$not":{"$size":2}}}`)
	f.Fuzz(func(t *testing.T, where string) {
		if CheckJSON("where", []byte(where), MaxNesting) != nil {
			return
		}
		c, err := ParseWhere(jsontext.Value(where))
		if err != nil && !IsCode(err, InvalidRequest) {
			t.Fatal(err)
		}
		conditions := 0
		if c != nil {
			c.Walk(func(c *Condition) {
				if c.Op > CondNot {
					conditions++
				}
			})
		}
		if conditions > MaxQueryConditions {
			t.Errorf("%d conditions", conditions)
		}
	})
}
