package handlers

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"parley/model"
)

// defaultLimit is how many items a list gives where API.md names no other number.
const defaultLimit = 100

// params reads the query parameters of a request. It remembers the first mistake, and
// which parameters the endpoint knows; done reports both.
type params struct {
	values url.Values
	known  map[string]bool
	err    error
}

// query parses the query parameters of a request.
func query(r *http.Request) *params {
	p := &params{known: make(map[string]bool)}
	var err error
	if p.values, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		p.err = model.Invalid("query", "is malformed")
	}
	return p
}

// done fails with invalid_request when a parameter is malformed, unknown or repeated.
func (p *params) done() error {
	if p.err != nil {
		return p.err
	}
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		if !p.known[name] {
			return model.Invalid(clip(name), "is not a parameter of this request")
		}
	}
	return nil
}

// noParams fails when a request that takes no parameters has some.
func noParams(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	return query(r).done()
}

func (p *params) fail(name, format string, args ...any) {
	if p.err == nil {
		p.err = model.Invalid(name, format, args...)
	}
}

// text is a parameter as it was sent; given is false when it was not.
func (p *params) text(name string) (value string, given bool) {
	value = p.once(name)
	p.checkText(name, value)
	return value, len(p.values[name]) > 0
}

// once is a parameter whose characters nobody minds; empty when it was not sent.
func (p *params) once(name string) string {
	p.known[name] = true
	if len(p.values[name]) > 1 {
		p.fail(name, "must not be repeated")
	}
	return p.values.Get(name)
}

func (p *params) checkText(name, value string) {
	if !utf8.ValidString(value) {
		p.fail(name, "must be valid UTF-8")
	}
	if strings.Contains(value, "\x00") {
		p.fail(name, "must not hold the character U+0000")
	}
}

// clients is a client id that may be repeated. What is wrong with one is said of the parameter, which has no places to count.
func (p *params) clients(name string) []string {
	p.known[name] = true
	ids := p.values[name]
	for _, id := range ids {
		if err := model.ValidClientID(id); err != nil {
			p.fail(name, "%q %v", clip(id), err)
		}
	}
	return ids
}

// integer is a number from least to most, or def when it was not given.
func (p *params) integer(name string, def, least, most int) int {
	text, given := p.text(name)
	if !given {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most || strconv.Itoa(n) != text {
		p.fail(name, "must be an integer from %d to %d", least, most)
		return def
	}
	return n
}

// limit is how many items a page may have.
func (p *params) limit(def, most int) int { return p.integer("limit", def, 1, most) }

// boolean is true or false, which is also what it is when it was not given.
func (p *params) boolean(name string) bool {
	text, given := p.text(name)
	if given && text != "true" && text != "false" {
		p.fail(name, "must be true or false")
	}
	return text == "true"
}

// oneOf is one of some words, or def when it was not given.
func (p *params) oneOf(name, def string, words ...string) string {
	text, given := p.text(name)
	if !given {
		return def
	}
	if !slices.Contains(words, text) {
		p.fail(name, "must be %s", strings.Join(words, " or "))
	}
	return text
}

// time is an instant, or nil when it was not given.
func (p *params) time(name string) *model.Time {
	text, given := p.text(name)
	if !given {
		return nil
	}
	t, err := model.ParseTime(text)
	if err != nil {
		p.fail(name, "%v", err)
		return nil
	}
	return &t
}

// cursor reads the place that a cursor of that list stands for; false when none was given.
func (p *params) cursor(list string, place any) bool {
	text, given := p.text("cursor")
	if !given {
		return false
	}
	if err := model.DecodeCursor(list, text, place); err != nil && p.err == nil {
		p.err = err
	}
	return true
}

// listID is the identity of a list for its cursors: what it is of, and the parameters that must stay the same.
func listID(parts ...any) string {
	var b strings.Builder
	for _, p := range parts {
		_, _ = fmt.Fprintf(&b, "%q ", fmt.Sprint(p))
	}
	return b.String()
}

func clip(name string) string {
	const most = 100
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}
