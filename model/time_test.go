package model

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestTimeAsJSON(t *testing.T) {
	times := []time.Time{
		time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999e6, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(2026, 11, 20, 12, 52, 31, 492e6, time.FixedZone("", 2*60*60)),
	}
	for range 1000 {
		times = append(times, time.UnixMilli(rand.Int64N(250_000_000_000_000)))
	}
	for _, at := range times {
		if got, want := string(Time{at}.AppendJSON(nil)), at.UTC().Format(`"2006-01-02T15:04:05.000Z"`); got != want {
			t.Errorf("%v is written as %s, want %s", at, got, want)
		}
	}
}
