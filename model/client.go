package model

import (
	"errors"
	"unicode"
	"unicode/utf8"
)

// MaxClientIDLength is counted in code points.
const MaxClientIDLength = 64

var (
	errClientIDLength  = errors.New("must be 1 to 64 characters")
	errClientIDUTF8    = errors.New("must be valid UTF-8")
	errClientIDControl = errors.New("must not hold control characters")
	errClientIDSpace   = errors.New("must not begin or end with white space")
	errClientIDDots    = errors.New("must not be . or ..")
)

// ValidClientID says what keeps id from being a client's id, nil when nothing does. The
// text reads well behind the name of the field that held it.
func ValidClientID(id string) error {
	if id == "" || len(id) > MaxClientIDLength*utf8.UTFMax {
		return errClientIDLength
	}
	if id == "." || id == ".." {
		return errClientIDDots // in a path they would mean another one
	}
	if !utf8.ValidString(id) {
		return errClientIDUTF8
	}
	n := 0
	var first, last rune
	for _, c := range id {
		if unicode.IsControl(c) {
			return errClientIDControl
		}
		if n == 0 {
			first = c
		}
		last = c
		n++
	}
	if n > MaxClientIDLength {
		return errClientIDLength
	}
	if unicode.IsSpace(first) || unicode.IsSpace(last) {
		return errClientIDSpace
	}
	return nil
}
