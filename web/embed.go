// Package web holds what browsers are given: the client library, and a page to chat on.
package web

import (
	"embed"
	"io/fs"

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

//go:embed page
var pageFiles embed.FS

// Page is the files of the page to chat on, by name.
var Page = files(pageFiles, "page")

func files(fsys fs.FS, folder string) map[string][]byte {
	list, err := fs.ReadDir(fsys, folder)
	if err != nil {
		panic(err) // it is embedded
	}
	all := make(map[string][]byte, len(list))
	for _, f := range list {
		if all[f.Name()], err = fs.ReadFile(fsys, folder+"/"+f.Name()); err != nil {
			panic(err)
		}
	}
	return all
}

func small(module string) []byte {
	m := minify.New()
	m.Add("text/javascript", &js.Minifier{})
	out, err := m.String("text/javascript", module)
	if err != nil {
		panic("web: parley.js: " + err.Error()) // a test would have said so
	}
	return []byte(out)
}
