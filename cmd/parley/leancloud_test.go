package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"parley/model"
)

// legacyCodes are all error codes of the system that Parley replaces.
var legacyCodes = []int{
	0, 1006, 4100, 4101, 4102, 4103, 4105, 4106, 4107, 4108, 4109, 4110, 4111, 4112, 4113, 4114, 4115, 4116, 4117, 4200, 4201,
	4300, 4301, 4302, 4303, 4304, 4305, 4306, 4307, 4308, 4309, 4310, 4311, 4312, 4313, 4314, 4315, 4316, 4317, 4318, 4320,
	4321, 4322, 4323, 4324, 4325, 4401, 4402, 4403, 4404, 4405, 4406, 4407, 4408, 4543, 4544, 4546, 4548, 4561, 4563,
}

// TestLegacyCodes: each old code is mapped to a code that exists, or explained; and
// each old number that our codes carry stands in the table beside them.
func TestLegacyCodes(t *testing.T) {
	page, err := os.ReadFile("../../docs/LEANCLOUD.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "## Error codes")
	if !ok {
		t.Fatal("docs/LEANCLOUD.md has no section on error codes")
	}
	rows := make(map[int]string)
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \| (.+) \|$`).FindAllStringSubmatch(table, -1) {
		n, _ := strconv.Atoi(m[1])
		rows[n] = m[2]
	}
	names := regexp.MustCompile("`([a-z]+(?:_[a-z]+)*)`")
	for _, code := range legacyCodes {
		text, ok := rows[code]
		if !ok {
			t.Errorf("%d is neither mapped nor explained", code)
			continue
		}
		if strings.HasPrefix(text, "not applicable: ") || strings.HasPrefix(text, "not yet: ") {
			continue
		}
		mapped := false
		for _, m := range names.FindAllStringSubmatch(text, -1) {
			if _, known := model.ProblemOf(model.Code(m[1])); known {
				mapped = true
			}
		}
		if !mapped && !strings.Contains(text, "event `session_closed`") {
			t.Errorf("%d is mapped to no code of ours: %s", code, text)
		}
	}
	for _, code := range model.Codes() {
		if p, _ := model.ProblemOf(code); p.Legacy != 0 && !strings.Contains(rows[p.Legacy], "`"+string(code)+"`") {
			t.Errorf("%s carries %d, but the table does not say so: %q", code, p.Legacy, rows[p.Legacy])
		}
	}
}
