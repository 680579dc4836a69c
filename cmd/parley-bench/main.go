// Parley-bench measures a Parley server over real HTTP, each figure beside its
// yardstick in the same run. It starts the server and its database itself, with
// a data folder that nobody else uses, and stops them whatever happens.
//
// Each scenario is one file, scenario_*.go, and says there what it does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// scenario is one thing to measure.
type scenario struct {
	name  string
	about string
	limit time.Duration // for one round; a run that hangs ends
	run   func(context.Context, *bench) error
}

var scenarios = []scenario{
	{"sends", "durable sends a second, beside requests that store nothing and pgbench", 5 * time.Minute, runSends},
	{"fanout", "deliveries a second to 1,000 streams, beside a bare write loop", 5 * time.Minute, runFanout},
	{"latency", "from a send to the last of 500 receivers, at fixed rates", 10 * time.Minute, runLatency},
	{"idle", "memory of streams on which nothing happens", 15 * time.Minute, runIdle},
	{"history", "pages of a conversation of 1,000,000 messages, beside one of 1,000", 15 * time.Minute, runHistory},
	{"list", "the list of 1,000 conversations with unread and last message", 5 * time.Minute, runList},
	{"queries", "the sample queries of applications on 100,000 conversations, and a hostile one", 15 * time.Minute, runQueries},
	{"receipts", "what 500 readers of a group cost, and receipts of one-to-one conversations", 5 * time.Minute, runReceipts},
	{"reconnect", "5,000 streams cut and resumed at once", 10 * time.Minute, runReconnect},
	{"room", "a chatroom of 15,000 seats: what it carries, and what it sheds beyond", 15 * time.Minute, runRoom},
	{"crash", "kill -9 under load: nothing lost, nothing twice, all in order", 10 * time.Minute, runCrash},
}

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == bareCommand:
		err = bareMain(os.Args[2])
	case len(os.Args) > 1 && os.Args[1] == plainCommand:
		err = plainMain(os.Args[2:])
	default:
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "parley-bench:", err)
		os.Exit(1)
	}
}

func run() error {
	opts, write, err := parseFlags()
	if err != nil {
		return err
	}
	files, err := raiseOpenFiles()
	if err != nil {
		return err
	}
	if need := uint64(max(opts.sizes.idleClear, opts.sizes.seats) + 500); files < need {
		return fmt.Errorf("only %d files may be open, %d are needed: raise the limit with ulimit -n", files, need)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{options: opts, out: os.Stderr}
	at := time.Now()
	var failures []string
	for _, s := range scenarios {
		if !slices.Contains(opts.run, s.name) || ctx.Err() != nil {
			continue
		}
		if err := b.runScenario(ctx, s); err != nil {
			failures = append(failures, s.name+": "+err.Error())
		}
	}
	r := b.report(context.WithoutCancel(ctx), at, failures)
	err = write(r, os.Stdout)
	if len(failures) > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d scenarios failed", len(failures), len(opts.run)))
	}
	return err
}

// runScenario runs one and cleans up behind it, even when it panics.
func (b *bench) runScenario(ctx context.Context, s scenario) error {
	ctx, cancel := context.WithTimeout(ctx, s.limit*time.Duration(b.count))
	defer cancel()
	b.scenario = s.name
	defer b.cleanUp()
	return s.run(ctx, b)
}

// parseFlags reads the command line; write is how the report is to be written.
func parseFlags() (opts options, write func(report, io.Writer) error, err error) {
	var all []string
	for _, s := range scenarios {
		all = append(all, s.name)
	}
	which := flag.String("run", strings.Join(all, ","), "scenarios to run, comma-separated")
	quick := flag.Bool("quick", false, "small sizes and short windows: to try the bench, not to measure")
	flag.IntVar(&opts.count, "count", 1, "rounds of each figure; medians are shown")
	flag.DurationVar(&opts.window, "window", 5*time.Second, "how long each rate is measured")
	flag.StringVar(&opts.binary, "server", "bin/parley", "the server's program")
	flag.StringVar(&opts.dir, "dir", os.TempDir(), "where the servers' data folders are made, on a disk worth measuring")
	flag.BoolVar(&opts.keep, "keep", false, "keep the servers' data folders and logs")
	asJSON := flag.Bool("json", false, "write JSON instead of a table")
	asMarkdown := flag.Bool("markdown", false, "write the tables of docs/PERFORMANCE.md")
	flag.Usage = usage
	flag.Parse()
	opts.sizes = fullSizes
	if *quick {
		opts.sizes, opts.window = quickSizes, min(opts.window, time.Second)
	}
	opts.run = strings.Split(*which, ",")
	for _, name := range opts.run {
		if !slices.Contains(all, name) {
			return opts, nil, fmt.Errorf("there is no scenario %q; there are %s", name, strings.Join(all, ", "))
		}
	}
	if opts.count < 1 || opts.window < 100*time.Millisecond || flag.NArg() > 0 {
		return opts, nil, errors.New("-count is at least 1, -window at least 100ms, and there are no arguments beside the flags")
	}
	if opts.binary, err = filepath.Abs(opts.binary); err == nil {
		_, err = os.Stat(opts.binary)
	}
	if err != nil {
		return opts, nil, fmt.Errorf("%w: build the server first: go build -o bin/parley ./cmd/parley", err)
	}
	switch {
	case *asJSON:
		return opts, report.writeJSON, nil
	case *asMarkdown:
		return opts, report.writeMarkdown, nil
	}
	return opts, report.writeTable, nil
}

func usage() {
	w := flag.CommandLine.Output()
	fmt.Fprintln(w, "usage: parley-bench [flags]\n\nscenarios:")
	for _, s := range scenarios {
		fmt.Fprintf(w, "  %-10s %s\n", s.name, s.about)
	}
	fmt.Fprintln(w, "\nflags:")
	flag.PrintDefaults()
}
