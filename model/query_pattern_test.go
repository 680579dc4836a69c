package model

import (
	"strings"
	"testing"
	"time"
)

func TestParsePattern(t *testing.T) {
	t.Parallel()
	good := []string{
		``, `a|`, `|`, `()`, `(a|)`, `^`, `$^`, `(?:a)*`, `a{2}{`, `{`, `a{`, `a{1`, `a{,2}`, `}`, `]`, `[]a]`, `[^]a]`, `[a-]`, `[-a]`, `[a\-z]`,
		`[\w-z]`, `[a-\d]`, `[[:alpha:][:^digit:]]`, `[[:x]`, `\u4e00`, `[\u4e00-\u9fa5]`, `[\ud83d\ude00-\ud83d\ude4f]`, `\x41\x{1F600}\u{41}`,
		`\p{Han}\P{L}\pL\p{^Lu}[\p{Greek}]`, `(?i)a(?-i)b`, `(?i:a|b)c`, `(?im-sx)`, `(?)`, `(?#x)a`, `(?<n>a)(?P<m>b)`, `(a)\1`, `a??b*?c+?d{1,2}?`,
		`(?=a)(?!b)(?<=c)(?<!d)`, `(?=a)*`, `^*`, `\b\B\A\z\Z`, `\0`, `\n\r\t\f\v\a\e\cA`, `\.\-\/\"\é`, `a{1000}`, `.{0,255}`, `(?x) a # b`,
		`^((?!教育).)*$`, "\x00",
	}
	for _, text := range good {
		if _, err := ParsePattern(text, ""); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	bad := []string{
		`(`, `)`, `a)`, `(a`, `(?`, `(?a`, `(?:`, `(?<`, `(?<n`, `(?<1>a)`, `(?<n>a)(?<n>b)`, `(?#`, `(?i`, `(?-`, `[`, `[a`, `[]`, `[^]`, `[z-a]`,
		`[[:foo:]]`, `*`, `+a`, `?`, `a**`, `a+*`, `a{2}{3}`, `a{1}*`, `a++`, `a*+`, `a{2,1}`, `{1}`, `a{1001}`, `a{99999999999999999999}`, `\`, `\u12`,
		`\ud83d`, `\ude00`, `[\ud83d]`, `\x4`, `\x{110000}`, `\x{`, `\p{Nope}`, `\p{L`, `\p`, `\q`, `\k<n>`, `\R`, `\K`, `\G`, `\8`, `(a)\2`, `\1(a)`, `(a\1)`, `\10`,
		`(?=(a))\1`, `(a)(?=\1)`, `(?>a)`, `(?(1)a)`, `(?R)`, `(?|a)`, `(a{300})\1`, `[\B]`, `[\q]`, strings.Repeat("(", 60) + strings.Repeat(")", 60),
		strings.Repeat("a", 4097), `((a{50}){50}){50}`, strings.Repeat("(?:a?)", 1000),
	}
	for _, text := range bad {
		if p, err := ParsePattern(text, ""); err == nil {
			t.Errorf("%.60q is accepted, size %d", text, p.Size)
		}
	}
}

func TestRunes(t *testing.T) {
	t.Parallel()
	r := Runes{'k', 'k', 'a', 'c', 'b', 'd', 'e', 'e'}.clean()
	if string(r) != "aekk" {
		t.Errorf("clean = %q", string(r))
	}
	if f := r.fold(); !f.Has('A') || !f.Has('K') || !f.Has('K') || f.Has('z') {
		t.Errorf("fold = %q", string(f))
	}
	if n := r.Negate(); n.Has('b') || !n.Has('f') || !n.Has('\U0010FFFF') || n.Has(0) || n.Has(0xD800) || string(n.Negate()) != string(r) {
		t.Errorf("negate = %q", string(n))
	}
}

func FuzzParsePattern(f *testing.F) {
	for _, seed := range []string{`^((?!教育).)*$`, `[\u4e00-\u9fa5]`, `(?<n>a|b)+?\1[^x-z\d]{2,}`, `(?i:\p{Han}|\x{41})`} {
		f.Add(seed, "imsx")
	}
	f.Fuzz(func(t *testing.T, text, options string) {
		start := time.Now()
		p, err := ParsePattern(text, options)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
		if err == nil && p.Size > maxPatternSize {
			t.Errorf("size %d", p.Size)
		}
	})
}
