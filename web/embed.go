// Package web holds what browsers are given: the client library.
package web

import (
	_ "embed"

	"github.com/tdewolff/minify/v2"
	"github.com/tdewolff/minify/v2/js"
)

//go:embed parley.js
var source string

// Client is the client library, an ES module, as it is served: parley.js without
// its comments, its spaces and the long names of its local variables.
var Client = small(source)

// ClientTypes is what TypeScript knows the client by.
//
//go:embed parley.d.ts
var ClientTypes []byte

func small(module string) []byte {
	m := minify.New()
	m.Add("text/javascript", &js.Minifier{})
	out, err := m.String("text/javascript", module)
	if err != nil {
		panic("web: parley.js: " + err.Error()) // a test would have said so
	}
	return []byte(out)
}
