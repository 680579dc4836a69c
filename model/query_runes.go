package model

import (
	"slices"
	"sort"
	"sync"
	"unicode"
)

// Runes is a set of characters: pairs of first and last, in order and apart from one another.
type Runes []rune

// anyRune is every character that a text of ours can hold.
var anyRune = Runes{1, 0xD7FF, 0xE000, unicode.MaxRune}

func (r Runes) has(c rune) bool {
	i := sort.Search(len(r)/2, func(i int) bool { return r[2*i+1] >= c })
	return i < len(r)/2 && r[2*i] <= c
}

// Has reports whether a character is in the set.
func (r Runes) Has(c rune) bool { return r.has(c) }

// clean puts pairs in order and joins those that touch.
func (r Runes) clean() Runes {
	pairs := make([][2]rune, 0, len(r)/2)
	for i := 0; i < len(r); i += 2 {
		pairs = append(pairs, [2]rune{r[i], r[i+1]})
	}
	slices.SortFunc(pairs, func(a, b [2]rune) int { return int(a[0] - b[0]) })
	var out Runes
	for _, p := range pairs {
		if n := len(out); n > 0 && p[0] <= out[n-1]+1 {
			out[n-1] = max(out[n-1], p[1])
			continue
		}
		out = append(out, p[0], p[1])
	}
	return out
}

func (r Runes) negate() Runes {
	var out Runes
	next := rune(0)
	for i := 0; i < len(r); i += 2 {
		if r[i] > next {
			out = append(out, next, r[i]-1)
		}
		next = r[i+1] + 1
	}
	if next <= unicode.MaxRune {
		out = append(out, next, unicode.MaxRune)
	}
	return out
}

// Negate is the set of all other characters.
func (r Runes) Negate() Runes { return r.negate().storable() }

// storable leaves out what no text of ours can hold: U+0000 and surrogates.
func (r Runes) storable() Runes {
	var out Runes
	for i := 0; i < len(r); i += 2 {
		for j := 0; j < len(anyRune); j += 2 {
			if lo, hi := max(r[i], anyRune[j]), min(r[i+1], anyRune[j+1]); lo <= hi {
				out = append(out, lo, hi)
			}
		}
	}
	return out
}

// folding are the characters that have others which differ in case alone, in order.
var folding = sync.OnceValue(func() []rune {
	var list []rune
	for c := rune(0); c <= unicode.MaxRune; c++ {
		if unicode.SimpleFold(c) != c {
			list = append(list, c)
		}
	}
	return list
})

// fold adds those that differ from a character of the set in case alone.
func (r Runes) fold() Runes {
	out := slices.Clone(r)
	list := folding()
	for i := 0; i < len(r); i += 2 {
		from, _ := slices.BinarySearch(list, r[i])
		for _, c := range list[from:] {
			if c > r[i+1] {
				break
			}
			for other := unicode.SimpleFold(c); other != c; other = unicode.SimpleFold(other) {
				out = append(out, other, other)
			}
		}
	}
	return out.clean()
}

func runesOf(t *unicode.RangeTable) Runes {
	var out Runes
	for _, x := range t.R16 {
		out = out.stretch(rune(x.Lo), rune(x.Hi), rune(x.Stride))
	}
	for _, x := range t.R32 {
		out = out.stretch(rune(x.Lo), rune(x.Hi), rune(x.Stride))
	}
	return out.clean()
}

func (r Runes) stretch(lo, hi, stride rune) Runes {
	if stride == 1 {
		return append(r, lo, hi)
	}
	for c := lo; c <= hi; c += stride {
		r = append(r, c, c)
	}
	return r
}
