package model

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

// Reads errors.go itself, so that a new code cannot be forgotten in the catalogue.
func TestEveryCodeHasAProblem(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[Code]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Code" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared[Code(text)] = true
		}
		return true
	})
	if len(declared) < 30 {
		t.Fatalf("found only %d codes in errors.go", len(declared))
	}
	for code := range declared {
		p := problems[code]
		if p.Status < 400 || p.Status > 599 || p.Title == "" || p.Explanation == "" {
			t.Errorf("%s: incomplete problem %+v", code, p)
		}
	}
	for code := range problems {
		if !declared[code] {
			t.Errorf("%s has a problem but is no code", code)
		}
	}
}
