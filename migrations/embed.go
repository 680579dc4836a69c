// Package migrations holds the numbered SQL files that make the schema. They go
// forward only, and a file is never edited once it has been released.
package migrations

import "embed"

// FS holds the files, at its root.
//
//go:embed *.sql
var FS embed.FS
