package model

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Place is where in an ordered list of conversations one of them stands: behind it a
// cursor goes on, whatever has become of the conversation meanwhile.
type Place struct {
	Keys []PlaceKey `json:"k"`
	ID   string     `json:"i"`
}

// PlaceKey is what a conversation has under one key of the order: one of the three, or nothing.
type PlaceKey struct {
	Text *string         `json:"s,omitempty"`
	Time *time.Time      `json:"t,omitempty"`
	JSON json.RawMessage `json:"j,omitempty"` // a number, boolean, array or object
}

// PlaceOf returns where a conversation stands in an order.
func PlaceOf(order []SortKey, c *Conversation) Place {
	p := Place{ID: c.ID, Keys: make([]PlaceKey, len(order))}
	for i, k := range order {
		p.Keys[i] = placeKey(k.Field, c)
	}
	return p
}

func placeKey(f QueryField, c *Conversation) PlaceKey {
	switch f.Column {
	case QueryID:
		return PlaceKey{Text: &c.ID}
	case QueryName:
		return PlaceKey{Text: c.Name}
	case QueryKind:
		name := kindNames[c.Kind]
		return PlaceKey{Text: &name}
	case QueryCreator:
		return PlaceKey{Text: c.Creator}
	case QueryMemberCount:
		return PlaceKey{JSON: strconv.AppendInt(nil, int64(c.MemberCount), 10)}
	case QueryCreatedAt:
		return PlaceKey{Time: &c.CreatedAt.Time}
	case QueryUpdatedAt:
		return PlaceKey{Time: &c.UpdatedAt.Time}
	case QueryLastMessageAt, QueryActivity:
		if c.LastMessageAt != nil {
			return PlaceKey{Time: &c.LastMessageAt.Time}
		}
		if f.Column == QueryActivity {
			return PlaceKey{Time: &c.CreatedAt.Time}
		}
	case QueryUnique:
		return PlaceKey{JSON: strconv.AppendBool(nil, c.Unique)}
	case QueryMuted:
		if c.Viewer != nil {
			return PlaceKey{JSON: strconv.AppendBool(nil, c.Muted)}
		}
	case QueryIsChatroom:
		return PlaceKey{JSON: strconv.AppendBool(nil, c.Kind == Chatroom)}
	case QueryIsService:
		return PlaceKey{JSON: strconv.AppendBool(nil, c.Kind == Service)}
	case QueryAttribute:
		return attributeKey(jsontext.Value(c.Attributes), f.Path)
	}
	return PlaceKey{}
}

func attributeKey(v jsontext.Value, path []string) PlaceKey {
	for _, name := range path {
		if v.Kind() != '{' {
			return PlaceKey{}
		}
		members, err := jsonMembers(v)
		m, ok := memberNamed(members, name)
		if err != nil || !ok {
			return PlaceKey{}
		}
		v = m.value
	}
	switch v.Kind() {
	case 'n', 0:
		return PlaceKey{}
	case '"':
		var text string
		_ = json.Unmarshal(v, &text) // it was stored as JSON
		return PlaceKey{Text: &text}
	case '{':
		if t, ok := attributeDate(v); ok {
			return PlaceKey{Time: &t}
		}
	}
	return PlaceKey{JSON: json.RawMessage(storableJSON(v))}
}

// attributeDate is the time that an object stands for, as the function attribute_date has it.
func attributeDate(v jsontext.Value) (time.Time, bool) {
	iso, _, ok := dateText(v)
	if !ok || !attributeDateForm.MatchString(iso) {
		return time.Time{}, false
	}
	t, err := ParseTime(iso)
	return t.Time, err == nil && !strings.HasPrefix(iso, "0000")
}

var attributeDateForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[-+]([01][0-9]|2[0-3]):[0-5][0-9])$`)

// Check fails with invalid_cursor unless the place can be one of that order. Anybody
// can make a cursor; this keeps what he writes into it from failing in the database.
func (p *Place) Check(order []SortKey) error {
	if len(p.Keys) != len(order) {
		return ErrInvalidCursor()
	}
	for i, k := range order {
		key := &p.Keys[i]
		if key.JSON != nil {
			key.JSON = json.RawMessage(storableJSON(jsontext.Value(key.JSON)))
		}
		if !key.fits(k.Field.Column) {
			return ErrInvalidCursor()
		}
	}
	return nil
}

func (k *PlaceKey) fits(c QueryColumn) bool {
	if k.Text == nil && k.Time == nil && k.JSON == nil {
		return c == QueryName || c == QueryCreator || c == QueryLastMessageAt || c == QueryMuted || c == QueryAttribute
	}
	if k.Time != nil && (k.Time.UTC().Year() < 0 || k.Time.UTC().Year() > 9999) {
		return false
	}
	switch c {
	case QueryID, QueryName, QueryKind, QueryCreator:
		return k.Text != nil
	case QueryCreatedAt, QueryUpdatedAt, QueryLastMessageAt, QueryActivity:
		return k.Time != nil
	case QueryMemberCount:
		_, err := strconv.ParseInt(string(k.JSON), 10, 32)
		return err == nil
	case QueryAttribute:
		return k.Text != nil || k.Time != nil || !bytes.Equal(k.JSON, []byte("null")) && k.JSON[0] != '"'
	}
	return bytes.Equal(k.JSON, []byte("true")) || bytes.Equal(k.JSON, []byte("false"))
}
