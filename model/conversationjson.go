package model

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// MarshalJSON writes the conversation as the struct's tags say.
func (c *Conversation) MarshalJSON() ([]byte, error) {
	return c.AppendJSON(make([]byte, 0, 512+len(c.Attributes))), nil
}

// AppendJSON appends the conversation as the struct's tags say. Written out because a
// list of a thousand spends more time in reflection than in the database.
func (c *Conversation) AppendJSON(b []byte) []byte {
	b = append(b, `{"id":`...)
	b = AppendJSONString(b, c.ID)
	b = append(b, `,"kind":"`...)
	b = append(b, kindNames[c.Kind]...)
	b = append(b, `","name":`...)
	b = appendText(b, c.Name)
	b = append(b, `,"creator":`...)
	b = appendText(b, c.Creator)
	b = append(b, `,"members":[`...)
	for i, m := range c.Members {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendJSONString(b, m)
	}
	b = append(b, `],"memberCount":`...)
	b = strconv.AppendInt(b, int64(c.MemberCount), 10)
	b = append(b, `,"attributes":`...)
	b = appendRaw(b, c.Attributes)
	b = append(b, `,"visibility":"`...)
	b = append(b, visibilityNames[c.Visibility]...)
	b = append(b, `","unique":`...)
	b = strconv.AppendBool(b, c.Unique)
	b = append(b, `,"createdAt":`...)
	b = c.CreatedAt.AppendJSON(b)
	b = append(b, `,"updatedAt":`...)
	b = c.UpdatedAt.AppendJSON(b)
	b = append(b, `,"lastMessageAt":`...)
	b = appendTime(b, c.LastMessageAt)
	b = append(b, `,"lastMessage":`...)
	if c.LastMessage == nil {
		b = append(b, "null"...)
	} else {
		b = c.LastMessage.AppendJSON(b)
	}
	b = append(b, `,"expiresAt":`...)
	b = appendTime(b, c.ExpiresAt)
	if c.Viewer != nil {
		b = c.Viewer.append(b)
	}
	return append(b, '}')
}

func (v *Viewer) append(b []byte) []byte {
	b = append(b, `,"muted":`...)
	b = strconv.AppendBool(b, v.Muted)
	b = append(b, `,"role":"`...)
	b = append(b, roleNames[v.Role]...)
	b = append(b, `","unreadMessagesCount":`...)
	b = strconv.AppendInt(b, v.UnreadMessagesCount, 10)
	b = append(b, `,"unreadMessagesMentioned":`...)
	b = strconv.AppendBool(b, v.UnreadMessagesMentioned)
	b = append(b, `,"lastDeliveredAt":`...)
	b = appendTime(b, v.LastDeliveredAt)
	b = append(b, `,"lastReadAt":`...)
	return appendTime(b, v.LastReadAt)
}

func appendText(b []byte, s *string) []byte {
	if s == nil {
		return append(b, "null"...)
	}
	return AppendJSONString(b, *s)
}

func appendTime(b []byte, t *Time) []byte {
	if t == nil {
		return append(b, "null"...)
	}
	return t.AppendJSON(b)
}

// appendRaw keeps everything on one line, however it was stored.
func appendRaw(b []byte, raw json.RawMessage) []byte {
	if len(raw) == 0 {
		return append(b, "{}"...)
	}
	if bytes.ContainsAny(raw, "\r\n") {
		var line bytes.Buffer
		if json.Compact(&line, raw) == nil {
			raw = line.Bytes()
		}
	}
	return append(b, raw...)
}
