package model

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// A Pattern is a regular expression in the dialect that queries take: that of Perl,
// as the old system had it, as far as a machine without its own memory can match it, and
// with the \uXXXX of JavaScript. It is parsed here, so that no text of a client is ever read as
// PostgreSQL's dialect, which differs in much. Letters' case and the options are
// resolved while parsing: a tree says what it means by itself.
//
// \d, \w, \s and \b are about ASCII; the option i is about all of Unicode. $ is the very end.
type Pattern struct {
	Root   *PatternNode
	Groups int  // that are captured
	Refs   bool // some \1 needs what a group captured
	Size   int  // how much there is to match, repetitions multiplied out
}

// PatternOp is what a PatternNode matches.
type PatternOp uint8

// What there is.
const (
	PatternEmpty     PatternOp = iota
	PatternClass               // one character out of Class
	PatternConcat              // Subs one after another
	PatternChoice              // one of Subs
	PatternRepeat              // Subs[0] from Min to Max times; Max -1: any number
	PatternGroup               // Subs[0], captured as Index
	PatternRef                 // what group Index captured; Fold: in any case
	PatternLook                // Subs[0] follows here; Behind: precedes; Not: does not. Takes up nothing
	PatternStart               // the start of the text
	PatternEnd                 // its end
	PatternLineStart           // the start of a line
	PatternLineEnd             // its end
	PatternWord                // a word begins or ends; Not: neither
)

// PatternNode is a part of a Pattern.
type PatternNode struct {
	Op          PatternOp
	Subs        []*PatternNode
	Class       Runes
	Min, Max    int
	Index       int
	Not, Behind bool
	Fold        bool
}

const (
	maxPatternText   = 4096 // characters
	maxPatternSize   = 2000
	maxPatternDepth  = 50
	maxPatternRepeat = 1000
	// What may be left out costs PostgreSQL far more than a character does.
	optionalSize = 5
)

// ParsePattern reads a regular expression with options out of "imsx". Its errors are about the pattern alone.
func ParsePattern(text, options string) (*Pattern, error) {
	if utf8.RuneCountInString(text) > maxPatternText {
		return nil, fmt.Errorf("must be at most %d characters", maxPatternText)
	}
	p := &patternParser{text: []rune(text), names: make(map[string]bool), closed: make(map[int]bool)}
	for _, o := range options {
		p.flags.set(o, true)
	}
	root, err := p.choice(0)
	if err == nil && p.pos < len(p.text) {
		err = errors.New("unmatched )") // nothing else ends a choice
	}
	if err == nil {
		err = p.checkRefs()
	}
	if err != nil {
		return nil, fmt.Errorf("does not compile: %w, at character %d", err, p.pos)
	}
	size := root.size()
	if size > maxPatternSize {
		return nil, errors.New("is too large, repetitions multiplied out")
	}
	return &Pattern{Root: root, Groups: p.groups, Refs: p.refs, Size: size}, nil
}

// size stops counting once it is too large.
func (n *PatternNode) size() int {
	total := 0
	for _, sub := range n.Subs {
		total = min(total+sub.size(), maxPatternSize+1)
	}
	total = max(total, 1)
	if n.Op == PatternRepeat {
		total *= max(1, n.Max, n.Min)
		if n.Min == 0 || n.Max < 0 {
			total += optionalSize
		}
	}
	return min(total+len(n.Class)/8, maxPatternSize+1)
}

type patternFlags struct{ fold, lines, dotAll, extended bool }

func (f *patternFlags) set(letter rune, on bool) bool {
	switch letter {
	case 'i':
		f.fold = on
	case 'm':
		f.lines = on
	case 's':
		f.dotAll = on
	case 'x':
		f.extended = on
	default:
		return false
	}
	return true
}

type patternParser struct {
	text   []rune
	pos    int
	flags  patternFlags
	groups int
	looks  int // look-arounds around here
	names  map[string]bool

	closed  map[int]bool // groups that have ended, those inside look-arounds aside: these can be referred to
	refs    bool         // some are
	longest int          // the largest bound of a repetition
}

func (p *patternParser) checkRefs() error {
	const storable = 255 // a longer repetition has to be written as several, and groups in it would be captured twice
	if p.refs && p.longest > storable {
		return fmt.Errorf("beside a reference to a group a repetition may be at most %d times", storable)
	}
	return nil
}

func (p *patternParser) more() bool { return p.pos < len(p.text) }

// next is the character here; -1 at the end.
func (p *patternParser) next() rune {
	if p.more() {
		return p.text[p.pos]
	}
	return -1
}

func (p *patternParser) take(text string) bool {
	at := p.pos
	for _, c := range text {
		if at == len(p.text) || p.text[at] != c {
			return false
		}
		at++
	}
	p.pos = at
	return true
}

// choice reads up to a ) or the end.
func (p *patternParser) choice(depth int) (*PatternNode, error) {
	if depth > maxPatternDepth {
		return nil, fmt.Errorf("groups lie more than %d deep", maxPatternDepth)
	}
	outside := p.flags // (?i) holds to the end of the group it is in
	defer func() { p.flags = outside }()
	first, err := p.concat(depth)
	if err != nil || p.next() != '|' {
		return first, err
	}
	n := &PatternNode{Op: PatternChoice, Subs: []*PatternNode{first}}
	for p.take("|") {
		sub, err := p.concat(depth)
		if err != nil {
			return nil, err
		}
		n.Subs = append(n.Subs, sub)
	}
	return n, nil
}

func (p *patternParser) concat(depth int) (*PatternNode, error) {
	n := &PatternNode{Op: PatternConcat}
	for {
		if err := p.skip(); err != nil {
			return nil, err
		}
		if c := p.next(); c < 0 || c == '|' || c == ')' {
			break
		}
		sub, err := p.repeated(depth)
		if err != nil {
			return nil, err
		}
		if sub != nil {
			n.Subs = append(n.Subs, sub)
		}
	}
	switch len(n.Subs) {
	case 0:
		return &PatternNode{Op: PatternEmpty}, nil
	case 1:
		return n.Subs[0], nil
	}
	return n, nil
}

// skip passes over what means nothing: comments, and white space under x.
func (p *patternParser) skip() error {
	for p.more() {
		switch c := p.next(); {
		case p.take("(?#"):
			for !p.take(")") {
				if p.pos++; p.pos > len(p.text) {
					return errors.New("the comment does not end")
				}
			}
		case p.flags.extended && (c == ' ' || c >= '\t' && c <= '\r'):
			p.pos++
		case p.flags.extended && c == '#':
			for p.more() && p.next() != '\n' {
				p.pos++
			}
		default:
			return nil
		}
	}
	return nil
}

// repeated reads an atom and the quantifier behind it; nil when there is nothing to match.
func (p *patternParser) repeated(depth int) (*PatternNode, error) {
	atom, err := p.atom(depth)
	if err != nil {
		return nil, err
	}
	if err := p.skip(); err != nil {
		return nil, err
	}
	least, most, ok, err := p.quantifier()
	switch {
	case ok && atom == nil: // (?i)*
		return nil, errors.New("nothing to repeat")
	case err != nil || !ok:
		return atom, err
	}
	if p.take("+") {
		return nil, errors.New("possessive quantifiers are not supported")
	}
	p.take("?") // lazy or greedy: whether there is a match is the same
	if _, _, again, err := p.quantifier(); again || err != nil {
		return nil, errors.New("nothing to repeat")
	}
	return &PatternNode{Op: PatternRepeat, Subs: []*PatternNode{atom}, Min: least, Max: most}, nil
}

func (p *patternParser) quantifier() (least, most int, ok bool, err error) {
	switch {
	case p.take("*"):
		return 0, -1, true, nil
	case p.take("+"):
		return 1, -1, true, nil
	case p.take("?"):
		return 0, 1, true, nil
	case p.next() != '{':
		return 0, 0, false, nil
	}
	start := p.pos
	p.pos++
	least, digits := p.number()
	most = least
	if digits && p.take(",") {
		if most, ok = p.number(); !ok {
			most = -1
		}
	}
	if !digits || !p.take("}") { // then it is a brace like any other
		p.pos = start
		return 0, 0, false, nil
	}
	if least > maxPatternRepeat || most > maxPatternRepeat {
		return 0, 0, false, fmt.Errorf("a repetition may be at most %d times", maxPatternRepeat)
	}
	if most >= 0 && most < least {
		return 0, 0, false, errors.New("a repetition with its bounds the wrong way round")
	}
	p.longest = max(p.longest, least, most)
	return least, most, true, nil
}

// number reads decimal digits; a number too long for any use is some large one.
func (p *patternParser) number() (n int, ok bool) {
	start := p.pos
	for c := p.next(); c >= '0' && c <= '9'; c = p.next() {
		p.pos++
	}
	n, err := strconv.Atoi(string(p.text[start:p.pos]))
	if err != nil {
		n = maxPatternRepeat + 1
	}
	return n, p.pos > start
}

func (p *patternParser) atom(depth int) (*PatternNode, error) {
	c := p.next()
	p.pos++
	switch c {
	case '(':
		return p.group(depth)
	case '[':
		return p.bracket()
	case '\\':
		return p.escape()
	case '.':
		if p.flags.dotAll {
			return class(anyRune), nil
		}
		return class(Runes{'\n', '\n'}.negate()), nil
	case '^':
		return p.anchor(PatternStart, PatternLineStart), nil
	case '$':
		return p.anchor(PatternEnd, PatternLineEnd), nil
	case '*', '+', '?':
		return nil, errors.New("nothing to repeat")
	case '{':
		p.pos--
		_, _, ok, err := p.quantifier()
		if ok || err != nil {
			return nil, errors.New("nothing to repeat")
		}
		p.pos++
	}
	return p.literal(c), nil
}

func (p *patternParser) anchor(whole, line PatternOp) *PatternNode {
	if p.flags.lines {
		return &PatternNode{Op: line}
	}
	return &PatternNode{Op: whole}
}

func (p *patternParser) literal(c rune) *PatternNode { return p.class(Runes{c, c}) }

// class is a class under the present options.
func (p *patternParser) class(r Runes) *PatternNode {
	if p.flags.fold {
		r = r.fold()
	}
	return class(r)
}

func class(r Runes) *PatternNode { return &PatternNode{Op: PatternClass, Class: r.storable()} }

// group reads what follows an opening parenthesis; nil when that only sets options.
func (p *patternParser) group(depth int) (*PatternNode, error) {
	outside := p.flags
	defer func() { p.flags = outside }()
	n := &PatternNode{}
	switch {
	case !p.take("?"):
		p.capture(n)
	case p.take(":"):
	case p.take("="):
		n.Op = PatternLook
	case p.take("!"):
		n.Op, n.Not = PatternLook, true
	case p.take("<="):
		n.Op, n.Behind = PatternLook, true
	case p.take("<!"):
		n.Op, n.Behind, n.Not = PatternLook, true, true
	case p.take("<"), p.take("P<"):
		if err := p.name(); err != nil {
			return nil, err
		}
		p.capture(n)
	default:
		whole, err := p.options()
		if err != nil {
			return nil, err
		}
		if whole {
			outside = p.flags // they hold from here on
			return nil, nil
		}
	}
	if n.Op == PatternLook {
		p.looks++
		defer func() { p.looks-- }()
	}
	sub, err := p.choice(depth + 1)
	if err != nil {
		return nil, err
	}
	if !p.take(")") {
		return nil, errors.New("missing )")
	}
	if n.Op == PatternEmpty {
		return sub, nil
	}
	n.Subs = []*PatternNode{sub}
	if n.Op == PatternGroup && p.looks == 0 {
		p.closed[n.Index] = true
	}
	return n, nil
}

func (p *patternParser) capture(n *PatternNode) {
	p.groups++
	n.Op, n.Index = PatternGroup, p.groups
}

// name reads that of a group. Nothing can refer to it by name, but it must be one.
func (p *patternParser) name() error {
	start := p.pos
	for c := p.next(); c == '_' || c < 128 && isWord(c); c = p.next() {
		p.pos++
	}
	name := string(p.text[start:p.pos])
	if name == "" || name[0] >= '0' && name[0] <= '9' || !p.take(">") {
		return errors.New("the name of a group is malformed")
	}
	if p.names[name] {
		return errors.New("two groups have one name")
	}
	p.names[name] = true
	return nil
}

// options reads i, m, s, x and - up to a colon, or to the closing parenthesis: then whole is true.
func (p *patternParser) options() (whole bool, err error) {
	on := true
	for {
		c := p.next()
		p.pos++
		switch {
		case c == '-' && on:
			on = false
		case p.flags.set(c, on):
		case c == ':':
			return false, nil
		case c == ')':
			return true, nil
		default:
			return false, errors.New("this kind of group is not supported")
		}
	}
}
