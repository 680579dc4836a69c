package model

import (
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendJSONString appends s as a JSON string. Invalid UTF-8, which no valid request holds, becomes U+FFFD.
func AppendJSONString(b []byte, s string) []byte {
	if plain(s) {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	b, _ = jsontext.AppendQuote(b, s) // its error only says that UTF-8 was mended
	return b
}

func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
