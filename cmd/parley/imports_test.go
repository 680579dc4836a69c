package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport is which of our packages each package may import, its tests aside. A
// folder stands for those below it too, unless they have a line of their own.
var mayImport = map[string][]string{
	"model":               {},
	"sse":                 {"model"},
	"migrations":          {},
	"files":               {},
	"repo/cluster":        {},
	"repo/repotest":       {"migrations", "repo", "repo/cluster"},
	"repo":                {"model", "migrations"},
	"chat":                {"model", "repo", "sse", "files"},
	"handlers":            {"model", "repo", "chat", "sse"},
	"openapi":             {},
	"openapi/generate":    {"model"}, // a command
	"openapi/openapitest": {"openapi"},
	"web":                 {},
	"api":                 {"model", "handlers", "openapi", "web"},
	"cmd":                 nil, // everything
}

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-e", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "parley/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], "parley/")
		rule := pkg
		for _, known := mayImport[rule]; !known; _, known = mayImport[rule] {
			i := strings.LastIndexByte(rule, '/')
			if i < 0 {
				t.Errorf("no rule says what %s may import", pkg)
				break
			}
			rule = rule[:i]
		}
		if rule == "cmd" {
			continue
		}
		for _, imported := range fields[1:] {
			ours, ok := strings.CutPrefix(imported, "parley/")
			if ok && !slices.Contains(mayImport[rule], ours) {
				t.Errorf("%s must not import %s", pkg, ours)
			}
		}
		if slices.Contains(fields[1:], "net/http") && slices.Contains([]string{"model", "repo", "chat"}, rule) {
			t.Errorf("%s must not import net/http", pkg)
		}
	}
}
