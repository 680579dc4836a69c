package sse

import "runtime/debug"

// waveSize is how many new streams make a wave.
const waveSize = 500

// waves gives memory back after many streams were opened at once. Opening one takes
// several times the memory that holding it does, for tokens, requests and queries; idle
// streams make no garbage of their own, so the collector would let it lie for minutes.
type waves struct {
	seen    int64 // streams opened when it last looked
	settled int64 // when it last gave memory back
}

// calm is called every second with the number of streams opened so far. It collects once a wave is over.
func (w *waves) calm(opened int64) {
	quiet := opened == w.seen
	w.seen = opened
	if !quiet || opened-w.settled < waveSize {
		return
	}
	w.settled = opened
	go giveBack()
}

// giveBack collects garbage twice: the first time pools only part with what they keep, and
// what has a finalizer only runs it. Each blocks for a whole collection.
func giveBack() {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
}
