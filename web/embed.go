// Package web holds what browsers are given: the client library.
package web

import (
	_ "embed"
	"regexp"
)

//go:embed parley.js
var source []byte

// Client is the client library, an ES module, as it is served: without the
// comments and the indentation of parley.js.
var Client = strip(source)

// ClientTypes is what TypeScript knows the client by.
//
//go:embed parley.d.ts
var ClientTypes []byte

var spare = regexp.MustCompile(`(?m)^[ \t]*(//.*\n|/\*\*.*\*/\n|\n)|^[ \t]+`)

// strip takes whole lines of comments and what lines begin with out of a module.
// No string of parley.js goes over more than one line.
func strip(module []byte) []byte { return spare.ReplaceAll(module, nil) }
