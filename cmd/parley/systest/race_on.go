//go:build race

package systest

// raced: the tests run with the race detector, so the server shall too.
const raced = true
