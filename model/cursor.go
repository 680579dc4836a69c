package model

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

const (
	cursorSum = 8
	// MaxCursorLength bounds what is decoded at all. A query may be ordered by attributes, and then holds them.
	MaxCursorLength = 768 << 10
)

// EncodeCursor makes the opaque text for a place in a list. list is the list's
// identity with all parameters that must stay the same; place is whatever the list
// needs to go on, and ends up as JSON. It is bound to the list by a checksum, not
// by a secret: anybody can make one, so a place must never open what its reader could
// not ask for anyway.
func EncodeCursor(list string, place any) (string, error) {
	payload, err := json.Marshal(place)
	if err != nil {
		return "", fmt.Errorf("cursor: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(append(cursorChecksum(list, payload), payload...)), nil
}

// DecodeCursor reads into place what EncodeCursor was given for the same list. It
// fails with invalid_cursor for anything else; strings in place are then free of
// U+0000 and fit for the database.
func DecodeCursor(list, cursor string, place any) error {
	if len(cursor) > MaxCursorLength || strings.ContainsAny(cursor, "\r\n") { // which base64 skips
		return ErrInvalidCursor()
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < cursorSum {
		return ErrInvalidCursor()
	}
	sum, payload := raw[:cursorSum], raw[cursorSum:]
	if subtle.ConstantTimeCompare(sum, cursorChecksum(list, payload)) != 1 || CheckJSON("cursor", payload, MaxNesting) != nil {
		return ErrInvalidCursor()
	}
	if err := jsonv2.Unmarshal(payload, place, jsonv2.RejectUnknownMembers(true)); err != nil {
		return ErrInvalidCursor()
	}
	return nil
}

// ErrInvalidCursor answers a cursor that is not of the list it is shown to.
func ErrInvalidCursor() *Error {
	return NewError(InvalidCursor, "the cursor is damaged, or belongs to another list or to other parameters")
}

func cursorChecksum(list string, payload []byte) []byte {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d:%s", len(list), list)
	h.Write(payload)
	return h.Sum(nil)[:cursorSum]
}
