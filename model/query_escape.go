package model

import (
	"errors"
	"fmt"
	"strconv"
	"unicode"
)

// The classes that have a letter, and the ASCII ones that have a name.
var (
	digitRunes = Runes{'0', '9'}
	wordRunes  = Runes{'0', '9', 'A', 'Z', '_', '_', 'a', 'z'}
	spaceRunes = Runes{'\t', '\r', ' ', ' '}

	namedRunes = map[string]Runes{
		"alpha": {'A', 'Z', 'a', 'z'}, "digit": digitRunes, "alnum": {'0', '9', 'A', 'Z', 'a', 'z'},
		"upper": {'A', 'Z'}, "lower": {'a', 'z'}, "space": spaceRunes, "blank": {'\t', '\t', ' ', ' '},
		"punct": {'!', '/', ':', '@', '[', '`', '{', '~'}, "word": wordRunes, "xdigit": {'0', '9', 'A', 'F', 'a', 'f'},
		"cntrl": {1, 31, 127, 127}, "print": {' ', '~'}, "graph": {'!', '~'}, "ascii": {1, 127},
	}
)

func isWord(c rune) bool { return wordRunes.has(c) }

// escape reads what follows a backslash outside of brackets.
func (p *patternParser) escape() (*PatternNode, error) {
	c := p.next()
	switch c {
	case 'b', 'B':
		p.pos++
		return &PatternNode{Op: PatternWord, Not: c == 'B'}, nil
	case 'A':
		p.pos++
		return &PatternNode{Op: PatternStart}, nil
	case 'z':
		p.pos++
		return &PatternNode{Op: PatternEnd}, nil
	case 'Z': // at the end, or before the newline there
		p.pos++
		newline := &PatternNode{Op: PatternRepeat, Subs: []*PatternNode{class(Runes{'\n', '\n'})}, Max: 1}
		end := &PatternNode{Op: PatternConcat, Subs: []*PatternNode{newline, {Op: PatternEnd}}}
		return &PatternNode{Op: PatternLook, Subs: []*PatternNode{end}}, nil
	}
	if c >= '1' && c <= '9' {
		return p.reference()
	}
	set, err := p.escapedClass()
	if err != nil || set != nil {
		return class(set), err // as in Perl, i does not widen these
	}
	c, err = p.escapedRune()
	return p.literal(c), err
}

func (p *patternParser) reference() (*PatternNode, error) {
	n, _ := p.number()
	if n > 9 {
		return nil, errors.New("only the groups 1 to 9 can be referred to")
	}
	if p.looks > 0 || !p.closed[n] {
		return nil, fmt.Errorf("\\%d must refer to a group before it, neither of them in a look-around", n)
	}
	p.refs = true
	return &PatternNode{Op: PatternRef, Index: n, Fold: p.flags.fold}, nil
}

// escapedClass reads \d and the like; nil when something else stands here.
func (p *patternParser) escapedClass() (Runes, error) {
	c := p.next()
	var set Runes
	switch unicode.ToLower(c) {
	case 'd':
		set = digitRunes
	case 'w':
		set = wordRunes
	case 's':
		set = spaceRunes
	case 'p':
		return p.property()
	default:
		return nil, nil
	}
	p.pos++
	if unicode.IsUpper(c) {
		set = set.negate()
	}
	return set, nil
}

// property reads \p{Han}, \p{L}, \pL, \P{...}: a script or a category of Unicode.
func (p *patternParser) property() (Runes, error) {
	not := p.next() == 'P'
	p.pos++
	if !p.more() {
		return nil, errors.New("a property without a name")
	}
	name := string(p.next())
	p.pos++
	if name == "{" {
		if p.take("^") {
			not = !not
		}
		start := p.pos
		for p.more() && p.next() != '}' {
			p.pos++
		}
		name = string(p.text[start:p.pos])
		if !p.take("}") {
			return nil, errors.New("missing }")
		}
	}
	table := unicode.Categories[name]
	if table == nil {
		table = unicode.Scripts[name]
	}
	if table == nil {
		return nil, fmt.Errorf("there is no property %q", clipText(name))
	}
	set := runesOf(table)
	if not {
		set = set.negate()
	}
	return set, nil
}

var controlEscapes = map[rune]rune{'n': '\n', 'r': '\r', 't': '\t', 'f': '\f', 'v': '\v', 'a': 7, 'e': 27}

// escapedRune reads an escape that stands for one character.
func (p *patternParser) escapedRune() (rune, error) {
	if !p.more() {
		return 0, errors.New("a \\ at the end")
	}
	c := p.next()
	p.pos++
	if control, ok := controlEscapes[c]; ok {
		return control, nil
	}
	switch {
	case c == '0':
		return 0, nil // which no text holds
	case c == 'x' && p.take("{"), c == 'u' && p.take("{"):
		c, err := p.hex(1, 8)
		if err == nil && !p.take("}") {
			err = errors.New("missing }")
		}
		return c, err
	case c == 'x':
		return p.hex(2, 2)
	case c == 'u':
		return p.unicode()
	case c == 'c' && p.more() && (p.next() >= 'A' && p.next() <= 'Z' || p.next() >= 'a' && p.next() <= 'z'):
		c := p.next() & 31
		p.pos++
		return c, nil
	case isWord(c):
		return 0, fmt.Errorf("\\%c is not supported", c)
	}
	return c, nil
}

// unicode reads the digits of \uXXXX, two of them when they are the halves of one character.
func (p *patternParser) unicode() (rune, error) {
	c, err := p.hex(4, 4)
	if err != nil || c < 0xD800 || c > 0xDFFF {
		return c, err
	}
	const half = 0xDC00
	if c < half && p.take(`\u`) {
		low, err := p.hex(4, 4)
		if err == nil && low >= half && low <= 0xDFFF {
			return (c-0xD800)<<10 + (low - half) + 0x10000, nil
		}
	}
	return 0, errors.New("half of a character: it takes both, \\uD83D\\uDE00")
}

func (p *patternParser) hex(least, most int) (rune, error) {
	start := p.pos
	for p.pos-start < most && p.more() && namedRunes["xdigit"].has(p.next()) {
		p.pos++
	}
	n, err := strconv.ParseUint(string(p.text[start:p.pos]), 16, 32)
	if err != nil || p.pos-start < least || n > unicode.MaxRune {
		return 0, errors.New("a malformed character code")
	}
	return rune(n), nil
}

// bracket reads a class up to its closing bracket.
func (p *patternParser) bracket() (*PatternNode, error) {
	not := p.take("^")
	var set Runes
	for first := true; ; first = false {
		if !p.more() {
			return nil, errors.New("missing ]")
		}
		if !first && p.take("]") {
			break
		}
		item, single, err := p.bracketItem()
		if err != nil {
			return nil, err
		}
		if single && p.next() == '-' && p.pos+1 < len(p.text) && p.text[p.pos+1] != ']' {
			dash := p.pos
			p.pos++
			to, toSingle, err := p.bracketItem()
			switch {
			case err != nil:
				return nil, err
			case !toSingle: // [a-\d]: the - is one like any other
				p.pos = dash
			case to[0] < item[0]:
				return nil, errors.New("a range with its ends the wrong way round")
			default:
				item = Runes{item[0], to[0]}
			}
		}
		if single && p.flags.fold {
			item = item.fold()
		}
		set = append(set, item...)
	}
	set = set.clean()
	if not {
		set = set.negate()
	}
	return class(set), nil
}

// bracketItem reads one character, or a class within the brackets.
func (p *patternParser) bracketItem() (set Runes, single bool, err error) {
	c := p.next()
	p.pos++
	if c == '[' && (p.next() == ':' || p.next() == '.' || p.next() == '=') {
		if set, err := p.named(); set != nil || err != nil {
			return set, false, err
		}
	}
	if c != '\\' {
		return Runes{c, c}, true, nil
	}
	if p.take("b") {
		return Runes{'\b', '\b'}, true, nil
	}
	if set, err := p.escapedClass(); set != nil || err != nil {
		return set, false, err
	}
	c, err = p.escapedRune()
	return Runes{c, c}, true, err
}

// named reads [:alpha:] behind its first bracket; nil when it is none.
func (p *patternParser) named() (Runes, error) {
	start := p.pos
	if !p.take(":") {
		return nil, nil
	}
	not := p.take("^")
	from := p.pos
	for c := p.next(); c >= 'a' && c <= 'z'; c = p.next() {
		p.pos++
	}
	name := string(p.text[from:p.pos])
	if !p.take(":]") {
		p.pos = start
		return nil, nil
	}
	set := namedRunes[name]
	if set == nil {
		return nil, fmt.Errorf("there is no class [:%s:]", clipText(name))
	}
	if not {
		set = set.negate()
	}
	return set, nil
}
