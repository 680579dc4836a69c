package main

import (
	"testing"
	"time"
)

func TestDelays(t *testing.T) {
	var d delays
	for ms := range 100 {
		d.add(time.Duration(ms) * time.Millisecond)
	}
	d.add(5 * time.Minute) // beyond what is told apart
	d.add(-time.Second)    // clocks of two cores
	if n := d.total(); n != 102 {
		t.Errorf("%d in all", n)
	}
	if n := d.within(9 * time.Millisecond); n != 11 {
		t.Errorf("%d within 9 ms", n)
	}
	if p50 := d.quantile(0.5); p50 != 50 {
		t.Errorf("p50 %v", p50)
	}
	if most := d.most.Load(); most != 300_000 {
		t.Errorf("most %v", most)
	}
	d.reset()
	if d.total() != 0 || d.most.Load() != 0 {
		t.Error("not empty after reset")
	}
}

func TestMoldsNumberInTurns(t *testing.T) {
	m := mold{[]byte(priorityBody("high")), []byte(priorityBody("low"))}
	own := m.clone()
	for i, want := range []string{`"high"}`, `"low"}`, `"high"}`} {
		got := string(own.number(i))
		if n, ok := indexOf([]byte(got)); n != i || !ok || got[len(got)-len(want):] != want {
			t.Errorf("message %d is %s", i, got)
		}
	}
	if n, _ := indexOf(m[0]); n != 0 {
		t.Error("a clone shares its bytes")
	}
}
