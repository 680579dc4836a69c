package model

import (
	"strings"
	"testing"
)

func TestValidClientID(t *testing.T) {
	for _, id := range []string{"T", "Tom", "Tom Smith", "a/b", "50%", "小明", "...", "👩‍👩‍👧", strings.Repeat("x", 64), strings.Repeat("小", 64), "\u200bx"} {
		if err := ValidClientID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", ".", "..", " Tom", "Tom ", "\u00a0Tom", "Tom\u3000", "a\nb", "a\x00b", "a\u0085b", "\x7f", "\xff", "a\xc3", strings.Repeat("x", 65), strings.Repeat("小", 65), strings.Repeat("𝄞", 65)} {
		if err := ValidClientID(id); err == nil {
			t.Errorf("%q is accepted", id)
		}
	}
}
