package model

import (
	"database/sql/driver"
	"fmt"
	"time"
)

// Time is an instant as clients see it: UTC, to the millisecond.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.000Z"

// At truncates t to what clients can see of it.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Millisecond)} }

// AppendJSON appends t as a JSON string.
func (t Time) AppendJSON(b []byte) []byte {
	u := t.UTC()
	b = u.AppendFormat(append(b, '"'), time.RFC3339) // for which there is a short way, as for no layout with three digits
	ms := u.Nanosecond() / 1e6
	return append(b[:len(b)-1], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z', '"')
}

// MarshalJSON writes t as RFC 3339 with milliseconds.
func (t Time) MarshalJSON() ([]byte, error) { return t.AppendJSON(make([]byte, 0, 26)), nil }

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Time) UnmarshalJSON(b []byte) error {
	at, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(b))
	t.Time = at
	return err
}

// String is t as RFC 3339 with milliseconds.
func (t Time) String() string { return t.UTC().Format(timeLayout) }

// ParseTime reads RFC 3339 with any offset and any fraction of a second.
func ParseTime(s string) (Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return Time{}, fmt.Errorf("must be a time such as 2026-11-20T10:52:31.492Z")
	}
	if y := t.UTC().Year(); y < 1 || y > 9999 {
		return Time{}, fmt.Errorf("must be a time in the years 1 to 9999")
	}
	return Time{t.UTC()}, nil
}

// Scan reads a timestamptz column.
func (t *Time) Scan(v any) error {
	at, ok := v.(time.Time)
	if !ok {
		return fmt.Errorf("a time cannot be read from %T", v)
	}
	*t = Time{at.UTC()}
	return nil
}

// Value writes a timestamptz column.
func (t Time) Value() (driver.Value, error) { return t.Time, nil }
