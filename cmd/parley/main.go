// Command parley is the server (parley serve), and two tools for its operator:
// migrate and token. It reads the configuration, puts the parts together, and
// takes them apart in order. It decides nothing about chat.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

const usage = `Parley is a self-hosted instant-messaging service: REST to act, one event stream to hear.

  parley serve                     run the server; it needs no configuration to try out
  parley migrate                   bring the database's schema up to date and exit
  parley token --client Tom        print a token for Tom
               [--server]          with server scope
               [--ttl 1h]          good for so long
               --grant invite      print a grant instead (create, invite, kick, history, block, unblock):
               --conversation ID     for this conversation (but for create),
               [--members Mary,Bob]  for exactly these clients,
               [--jti ID]            to be used once

"parley serve --help" lists all that can be configured.
`

// run does what the arguments say until it is done, ctx ends or a signal comes. It
// returns the exit code: 0, 1 for a failure, 2 for a bad command line or configuration.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, getenv, stdout, stderr)
	var bad configError
	switch {
	case err == nil, errors.Is(err, errHelp):
		return 0
	case errors.As(err, &bad):
		fmt.Fprintln(stderr, bad.Error())
		return 2
	}
	fmt.Fprintln(stderr, "parley:", err)
	return 1
}

func dispatch(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	// A second signal finds the default in place again and ends the process at once.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch command {
	case "serve":
		c, err := load(command, args, getenv, stdout, nil)
		if err != nil {
			return err
		}
		return serve(ctx, c, stdout, stderr)
	case "migrate":
		c, err := load(command, args, getenv, stdout, nil)
		if err != nil {
			return err
		}
		return migrate(ctx, c, stdout, stderr)
	case "token":
		return token(args, getenv, stdout)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return nil
	case "":
		return configError{fmt.Errorf("say what to do\n\n%s", usage)}
	}
	return configError{fmt.Errorf("there is no command %q\n\n%s", command, usage)}
}
