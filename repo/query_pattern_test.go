package repo_test

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"parley/model"
	"parley/repo"
	"parley/repo/repotest"
)

// matchesInSQL asks PostgreSQL what a pattern matches.
func matchesInSQL(t testing.TB, s *repo.Store, p *model.Pattern, text string) bool {
	t.Helper()
	var yes bool
	if err := s.Get(t.Context(), &yes, `SELECT $1::text COLLATE "C" ~ $2::text COLLATE "C"`, text, repo.Advanced(p)); err != nil {
		t.Fatalf("%s: %v", repo.Advanced(p), err)
	}
	return yes
}

// TestPatterns has the answers that Perl's dialect gives, and those that API.md fixes.
func TestPatterns(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	long := strings.Repeat("x", 300)
	tests := []struct {
		pattern, options string
		yes, no          []string
	}{
		{`[\u4e00-\u9fa5]`, "", []string{"中文", "a中"}, []string{"", "english", "ａ"}},
		{`^((?!教育).)*$`, "", []string{"", "数学", "教x育"}, []string{"教育", "在线教育x", "a\nb"}},
		{`^((?!教育).)*$`, "s", []string{"a\nb"}, []string{"a\n教育"}},
		{`^((?!kw).)*$`, "i", []string{"k w"}, []string{"aKWa", "\u212Aw"}},
		{`NBA`, "i", []string{"the nba"}, []string{"nb a"}},
		{`é|ß|Я`, "i", []string{"É", "ẞ", "я"}, []string{"e", "ss"}},
		{`a.b`, "", []string{"axb", "a😀b", "a\rb"}, []string{"a\nb", "ab"}},
		{`a.b`, "s", []string{"a\nb"}, nil},
		{`a[^x]b`, "", []string{"a\nb"}, []string{"axb"}},
		{`^b`, "", []string{"b"}, []string{"a\nb"}},
		{`^b$`, "m", []string{"a\nb\nc"}, []string{"a\nbc"}},
		{`^a$`, "", []string{"a"}, []string{"a\n"}},
		{`\Aa\z`, "m", []string{"a"}, []string{"a\n", "b\na"}},
		{`a\Z`, "", []string{"a", "a\n"}, []string{"a\nb"}},
		{` a  b # c` + "\n" + `[ ]`, "x", []string{"ab "}, []string{"ab", "a b"}},
		{`a\ b\#`, "x", []string{"a b#"}, nil},
		{`(a|b)\1`, "", []string{"aa", "bb"}, []string{"ab", "a1"}},
		{`(a|b)\1`, "i", []string{"aA"}, []string{"aB"}},
		{`(?:(x)|y)(?=z).\1`, "", []string{"xzx"}, []string{"yz"}},
		{`^(a(?=(b)))b(c)\3$`, "", []string{"abcc"}, []string{"abcb"}},
		{`^.{1,300}$`, "", []string{long}, []string{long + "x", ""}},
		{`^x{300}$`, "", []string{long}, []string{long[1:]}},
		{`^x{256,}$`, "", []string{long}, []string{long[:255]}},
		{`^x{0}y{2}?$`, "", []string{"yy"}, []string{"xyy"}},
		{`\bcat\b`, "", []string{"a cat.", "猫cat猫"}, []string{"cats", "_cat"}},
		{`\Bat`, "", []string{"cat"}, []string{"at"}},
		{`^\w+$`, "", []string{"a_9"}, []string{"é", "教"}},
		{`^\W$`, "i", []string{"é", "!"}, []string{"s", "k", "S"}},
		{`^[\d-x]+$`, "", []string{"1-x"}, []string{"w"}},
		{`^\s$`, "", []string{" ", "\v", "\n"}, []string{"\u3000", "x"}},
		{`^[]^\-a-c\\]+$`, "", []string{`]^-b\`}, []string{"d", "["}},
		{`^[^]]$`, "", []string{"["}, []string{"]"}},
		{`^[[:upper:]_]+$`, "", []string{"A_"}, []string{"a", "["}},
		{`^\p{Han}+$`, "", []string{"漢字"}, []string{"かな"}},
		{`^\P{Lu}$`, "", []string{"a", "1"}, []string{"A"}},
		{`[\ud83d\ude00-\ud83d\ude4f]`, "", []string{"x😀"}, []string{"x", "🚀"}},
		{`^\x{1F600}\u{41}\x41$`, "", []string{"😀AA"}, nil},
		{`***:a`[3:], "", []string{":a"}, []string{"a"}},
		{`[.*+?^${}()|\\]`, "", []string{"$", "{", "\\"}, []string{"a"}},
		{`^a{,2}$`, "", []string{"a{,2}"}, []string{"aa"}},
		{`(?<=a)b(?<!c)`, "", []string{"ab"}, []string{"cb", "b"}},
		{`^(?i:a)b$`, "", []string{"Ab"}, []string{"AB"}},
		{`^a(?i)b|c$`, "", []string{"aB", "C"}, []string{"AB"}},
		{`(?=a)*b`, "", []string{"b"}, []string{"a"}},
		{``, "", []string{"", "x"}, nil},
		{`^(|a)$`, "", []string{"", "a"}, []string{"b"}},
		{`\0`, "", nil, []string{"", "a", "0"}},
		{`x[^\x00-\x{10FFFF}]*y`, "", []string{"xy"}, []string{"xay"}},
		{`a%_b`, "", []string{"a%_b"}, []string{"axxb"}},
		{`'; DROP TABLE members; --`, "", []string{"'; DROP TABLE members; --"}, []string{""}},
	}
	for _, tt := range tests {
		p, err := model.ParsePattern(tt.pattern, tt.options)
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
			continue
		}
		for i, list := range [][]string{tt.yes, tt.no} {
			for _, text := range list {
				if got := matchesInSQL(t, s, p, text); got != (i == 0) {
					t.Errorf("/%s/%s matches %.20q: %v (as %.200s)", tt.pattern, tt.options, text, got, repo.Advanced(p))
				}
				if got := matches(p, text); got != (i == 0) {
					t.Errorf("the oracle: /%s/%s matches %.20q: %v", tt.pattern, tt.options, text, got)
				}
			}
		}
	}
}

// patternParts are what Go's dialect and ours have in common.
var patternParts = []string{"a", "b", "B", "é", "教", "\n", ".", "^", "$", "|", "*", "+", "?", "{2}", "{1,3}", "{0,2}?", "(", ")", "(?:", "(?i)", "(?s)", "(?m)",
	"(?i:", "[ab]", "[^a\n]", "[b-é]", `\d`, `\w`, `\W`, `\b`, `\B`, `\x{e9}`, `\.`, `\A`, `\z`, "1", "_", " ", "[[:alpha:]]", `[\d_-]`}

// TestPatternsAgree compares PostgreSQL with what we write for it, with Go where it
// takes the same pattern, and with a matcher that tries everything.
func TestPatternsAgree(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := chance{rand.New(rand.NewPCG(seed, 2))}
	texts := []string{"a", "b", "B", "É", "é", "教", "\n", "1", "_", " ", ".", "k"}
	compared := 0
	for compared < 500 {
		var b, text strings.Builder
		for range 1 + r.IntN(7) {
			b.WriteString(one(r, patternParts...))
		}
		for range r.IntN(6) {
			text.WriteString(one(r, texts...))
		}
		theirs, goErr := regexp.Compile(b.String())
		p, err := model.ParsePattern(b.String(), "")
		if err != nil {
			if goErr == nil && !strings.Contains(err.Error(), "nothing to repeat") { // Go takes a** too
				t.Fatalf("%q: Go takes it: %v", b.String(), err)
			}
			continue
		}
		compared++
		want := matches(p, text.String())
		if got := matchesInSQL(t, s, p, text.String()); got != want {
			t.Fatalf("%q on %q: %v, want %v (as %s)", b.String(), text.String(), got, want, repo.Advanced(p))
		}
		if goErr == nil && theirs.MatchString(text.String()) != want {
			t.Fatalf("%q on %q: %v, but Go says otherwise", b.String(), text.String(), want)
		}
	}
}
