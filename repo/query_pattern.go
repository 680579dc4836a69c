package repo

import (
	"fmt"
	"strings"

	"parley/model"
)

// maxBound is the largest number in a repetition that PostgreSQL takes.
const maxBound = 255

// advanced writes a pattern as a regular expression of PostgreSQL (an ARE). Every
// character is written as its code, so that nothing in it means anything else there.
func advanced(p *model.Pattern) string {
	w := &areWriter{captures: p.Refs, numbers: make(map[int]int)}
	var folded bool
	walkPattern(p.Root, func(n *model.PatternNode) { folded = folded || n.Fold })
	if folded {
		w.out.WriteString("(?i)") // references alone need it, and get it for ASCII: classes name both cases
	}
	w.node(p.Root)
	return w.out.String()
}

func walkPattern(n *model.PatternNode, f func(*model.PatternNode)) {
	f(n)
	for _, sub := range n.Subs {
		walkPattern(sub, f)
	}
}

type areWriter struct {
	out      strings.Builder
	captures bool // whether groups must be: PostgreSQL is far faster without
	looks    int
	numbers  map[int]int // of groups, as PostgreSQL counts them: none inside a look-around
}

func (w *areWriter) node(n *model.PatternNode) {
	switch n.Op {
	case model.PatternEmpty:
		w.out.WriteString("(?:)")
	case model.PatternClass:
		w.class(n.Class)
	case model.PatternConcat:
		for _, sub := range n.Subs {
			w.node(sub)
		}
	case model.PatternChoice:
		w.within("(?:", n)
	case model.PatternRepeat:
		w.repeat(n)
	case model.PatternGroup:
		if w.captures && w.looks == 0 {
			w.numbers[n.Index] = len(w.numbers) + 1
			w.within("(", n)
		} else {
			w.within("(?:", n)
		}
	case model.PatternRef:
		// Apart from a digit behind it.
		_, _ = fmt.Fprintf(&w.out, `(?:\%d)`, w.numbers[n.Index])
	case model.PatternLook:
		w.looks++
		w.within("(?"+lookSign(n), n)
		w.looks--
	case model.PatternStart:
		w.out.WriteString(`\A`)
	case model.PatternEnd:
		w.out.WriteString(`\Z`)
	case model.PatternLineStart:
		w.out.WriteString(`(?:\A|(?<=\u000a))`)
	case model.PatternLineEnd:
		w.out.WriteString(`(?:\Z|(?=\u000a))`)
	case model.PatternWord:
		w.word(n.Not)
	}
}

func lookSign(n *model.PatternNode) string {
	sign := "="
	if n.Not {
		sign = "!"
	}
	if n.Behind {
		sign = "<" + sign
	}
	return sign
}

// within writes the parts of a node between parentheses, with | between choices.
func (w *areWriter) within(open string, n *model.PatternNode) {
	w.out.WriteString(open)
	for i, sub := range n.Subs {
		if i > 0 {
			w.out.WriteByte('|')
		}
		w.node(sub)
	}
	w.out.WriteByte(')')
}

// word writes out \y, which PostgreSQL reads by the locale.
func (w *areWriter) word(not bool) {
	const word = `[0-9A-Za-z_]`
	if not {
		w.out.WriteString(`(?:(?<=` + word + `)(?=` + word + `)|(?<!` + word + `)(?!` + word + `))`)
		return
	}
	w.out.WriteString(`(?:(?<=` + word + `)(?!` + word + `)|(?<!` + word + `)(?=` + word + `))`)
}

// repeat writes a repetition; one beyond PostgreSQL's bound is several in a row.
func (w *areWriter) repeat(n *model.PatternNode) {
	w.out.WriteString("(?:")
	least, most := n.Min, n.Max
	for {
		w.atom(n.Subs[0])
		a := min(least, maxBound)
		least -= a
		if most < 0 && least == 0 {
			_, _ = fmt.Fprintf(&w.out, "{%d,}", a)
			break
		}
		b := a // what is left out at the end must be left out of every part before
		if most >= 0 && least == 0 {
			b = min(most, maxBound)
		}
		if most >= 0 {
			most -= b
		}
		_, _ = fmt.Fprintf(&w.out, "{%d,%d}", a, b)
		if least == 0 && most == 0 {
			break
		}
	}
	w.out.WriteByte(')')
}

// atom writes a node so that a quantifier may follow.
func (w *areWriter) atom(n *model.PatternNode) {
	if n.Op == model.PatternClass && len(n.Class) > 0 {
		w.node(n)
		return
	}
	w.out.WriteString("(?:")
	w.node(n)
	w.out.WriteByte(')')
}

func (w *areWriter) class(r model.Runes) {
	if len(r) == 0 {
		w.out.WriteString("(?!)") // nothing is in it
		return
	}
	if len(r) == 2 && r[0] == r[1] {
		w.rune(r[0])
		return
	}
	w.out.WriteByte('[')
	if rest := r.Negate(); len(rest) > 0 && len(rest) < len(r) {
		w.out.WriteByte('^')
		r = rest
	}
	for i := 0; i < len(r); i += 2 {
		w.rune(r[i])
		if r[i] < r[i+1] {
			w.out.WriteByte('-')
			w.rune(r[i+1])
		}
	}
	w.out.WriteByte(']')
}

func (w *areWriter) rune(c rune) {
	switch {
	case c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
		w.out.WriteRune(c)
	case c <= 0xFFFF:
		_, _ = fmt.Fprintf(&w.out, `\u%04x`, c)
	default:
		_, _ = fmt.Fprintf(&w.out, `\U%08x`, c)
	}
}
