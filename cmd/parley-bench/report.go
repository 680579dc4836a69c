package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// report is a whole run: where it was taken and what came out.
type report struct {
	At       time.Time  `json:"at"`
	Command  string     `json:"command"`
	Commit   string     `json:"commit"`
	Machine  machine    `json:"machine"`
	Failures []string   `json:"failures,omitempty"`
	Remarks  []string   `json:"remarks,omitempty"`
	Measures []*measure `json:"measures"`
}

type machine struct {
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	OS       string `json:"os"`
	Go       string `json:"go"`
	Postgres string `json:"postgres,omitempty"`
}

func (b *bench) report(ctx context.Context, at time.Time, failures []string) report {
	for _, m := range b.measures {
		m.settle()
	}
	return report{
		At: at.UTC().Truncate(time.Second), Command: "parley-bench " + strings.Join(os.Args[1:], " "), Commit: commit(ctx),
		Machine:  machine{CPU: cpuModel(), Cores: runtime.NumCPU(), OS: kernel(), Go: runtime.Version(), Postgres: b.postgres},
		Failures: failures, Remarks: b.remarks, Measures: b.measures,
	}
}

// commit is that of the working directory, marked when files differ from it.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func (r report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTable writes the run for people.
func (r report) writeTable(w io.Writer) error {
	fmt.Fprintf(w, "\n%s, %d cores, %s, %s, PostgreSQL %s\ncommit %s, %s, %s\n",
		r.Machine.CPU, r.Machine.Cores, r.Machine.OS, r.Machine.Go, r.Machine.Postgres, r.Commit, r.At.Format(time.RFC3339), r.Command)
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"scenario", "what", "median", "unit", "bar (beyond)", "verdict", "rounds"})
	for i, m := range r.Measures {
		if i > 0 && m.Scenario != r.Measures[i-1].Scenario {
			t.AppendSeparator()
		}
		t.AppendRow(table.Row{m.Scenario, m.Name, number(m.Median), m.Unit, m.Bar, m.Verdict, rounds(m.Rounds)})
	}
	if len(r.Measures) > 0 {
		t.Render()
	}
	for _, remark := range r.Remarks {
		fmt.Fprintln(w, "remark:", remark)
	}
	for _, failure := range r.Failures {
		fmt.Fprintln(w, "FAILED:", failure)
	}
	return nil
}

// writeMarkdown writes the run as docs/PERFORMANCE.md has it: a table for each scenario.
func (r report) writeMarkdown(w io.Writer) error {
	fmt.Fprintf(w, "- Machine: %s, %d cores, %s, %s, PostgreSQL %s.\n- Commit `%s`, %s: `%s`.\n",
		r.Machine.CPU, r.Machine.Cores, r.Machine.OS, r.Machine.Go, r.Machine.Postgres, r.Commit, r.At.Format(time.DateOnly), r.Command)
	for _, s := range scenarios {
		rows := ""
		for _, m := range r.Measures {
			if m.Scenario == s.name {
				rows += m.markdown()
			}
		}
		if rows != "" {
			fmt.Fprintf(w, "\n### `%s`: %s\n\n| what | measured | bar (beyond) | |\n|---|---|---|---|\n%s", s.name, s.about, rows)
		}
	}
	for _, failure := range r.Failures {
		fmt.Fprintf(w, "\n**Failed:** %s\n", failure)
	}
	return nil
}

func (m *measure) markdown() string {
	value := number(m.Median)
	if m.Unit == "/s" {
		value += m.Unit
	} else if m.Unit != "" {
		value += " " + m.Unit
	}
	verdict := m.Verdict
	if verdict == "missed" {
		verdict = "**missed**"
	}
	return fmt.Sprintf("| %s | %s | %s | %s |\n", m.Name, value, m.Bar, verdict)
}

// rounds lists the figures that a median was taken of, when there are several.
func rounds(values []float64) string {
	if len(values) < 2 {
		return ""
	}
	text := make([]string, len(values))
	for i, v := range values {
		text[i] = number(v)
	}
	return strings.Join(text, " ")
}
