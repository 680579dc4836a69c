package model

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxNesting is how deep objects and arrays of a client's own making may lie
// within one another, the outermost being 1.
const MaxNesting = 32

// CheckJSON fails with invalid_request unless data is one JSON value that can be
// kept and given back unharmed: no repeated names, invalid UTF-8, unpaired
// surrogates, U+0000, numbers beyond a double, nesting over depth or trailing
// data. root names the value in the errors; empty: it is the body, whose fields go
// by their bare names.
func CheckJSON(root string, data []byte, depth int) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(data))
	// Both are rare, and looking for them token by token costs more than the rest of the walk.
	mayHoldNUL := bytes.Contains(data, []byte(`\u0000`))
	for complete := false; ; complete = d.StackDepth() == 0 {
		tok, err := d.ReadToken()
		switch {
		case err == io.EOF && complete:
			return nil
		case err != nil:
			return InvalidJSON(root, err)
		case complete:
			return Invalid(orBody(root), "must not be followed by anything")
		case d.StackDepth() > depth:
			return Invalid(FieldAt(root, d.StackPointer()), "must not be nested more than %d deep", MaxNesting)
		}
		switch tok.Kind() {
		case '"':
			if mayHoldNUL && strings.Contains(tok.String(), "\x00") {
				return Invalid(FieldAt(root, d.StackPointer()), "must not hold the character U+0000")
			}
		case '0':
			if _, err := strconv.ParseFloat(tok.String(), 64); err != nil {
				return Invalid(FieldAt(root, d.StackPointer()), "must be a number that a double can hold")
			}
		}
	}
}

// InvalidJSON is the invalid_request for what a JSON decoder found wrong; err itself when it is nothing of that sort.
func InvalidJSON(root string, err error) error {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		if err == io.EOF {
			return Invalid(orBody(root), "must be JSON, and is empty")
		}
		return err
	}
	detail := "is not JSON: " + syntax.Err.Error()
	if errors.Is(err, jsontext.ErrDuplicateName) {
		detail = "must not be given twice"
	}
	return Invalid(FieldAt(root, syntax.JSONPointer), "%s", shorten(detail))
}

// FieldAt turns the place of a value into the name of a field as errors give it: members[3], attributes.a.b.
func FieldAt(root string, p jsontext.Pointer) string {
	var b strings.Builder
	b.WriteString(root)
	for token := range p.Tokens() {
		switch {
		case b.Len() > 0 && isIndex(token):
			b.WriteString("[" + token + "]")
			continue
		case b.Len() > 0:
			b.WriteByte('.')
		}
		b.WriteString(token)
	}
	return orBody(shorten(b.String()))
}

// isIndex is right for arrays; a name that consists of digits looks the same, and reads well enough.
func isIndex(token string) bool {
	for _, c := range []byte(token) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return token != ""
}

func orBody(field string) string {
	if field == "" {
		return "body"
	}
	return field
}

// shorten keeps an answer from echoing a body of a megabyte.
func shorten(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	cut := most
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
