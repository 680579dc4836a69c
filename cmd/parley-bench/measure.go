package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// bar is what DESIGN.md asks of a measure.
type bar struct {
	must, beyond float64 // alike: there is nothing beyond
	atMost       bool    // smaller is better
}

func atLeast(must, beyond float64) *bar { return &bar{must: must, beyond: beyond} }
func atMost(must, beyond float64) *bar  { return &bar{must: must, beyond: beyond, atMost: true} }

func (b *bar) String() string {
	if b == nil {
		return ""
	}
	sign := "≥"
	if b.atMost {
		sign = "≤"
	}
	if b.beyond == b.must {
		return sign + " " + number(b.must)
	}
	return fmt.Sprintf("%s %s (%s)", sign, number(b.must), number(b.beyond))
}

// measure is one figure with all the rounds it was taken in.
type measure struct {
	Scenario string    `json:"scenario"`
	Name     string    `json:"name"`
	Unit     string    `json:"unit"`
	Median   float64   `json:"median"`
	Rounds   []float64 `json:"rounds"`
	Bar      string    `json:"bar,omitempty"`
	Verdict  string    `json:"verdict,omitempty"` // missed, reached, beyond

	bar *bar
}

// settle computes what follows from the rounds.
func (m *measure) settle() {
	m.Median = median(m.Rounds)
	if m.Bar = m.bar.String(); m.bar != nil {
		m.Verdict = m.bar.verdict(m.Median)
	}
}

func (b *bar) verdict(v float64) string {
	reached := func(limit float64) bool {
		if b.atMost {
			return v <= limit
		}
		return v >= limit
	}
	switch {
	case math.IsNaN(v) || !reached(b.must):
		return "missed"
	case b.beyond != b.must && reached(b.beyond):
		return "beyond"
	}
	return "reached"
}

// median of an even number of values is the mean of the middle two; NaN of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// number writes a figure with three digits that matter, thousands separated.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1000:
		return thousands(int64(math.Round(v)))
	case v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

func thousands(n int64) string {
	text := fmt.Sprint(n)
	var b strings.Builder
	for i, c := range text {
		if i > 0 && (len(text)-i)%3 == 0 && text[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
