// Command locksmithctl shows and changes the reboot slots of a group of
// machines, in a coordd or an etcd cluster. Commands, outputs and exit codes are
// those of CoreOS's and Flatcar's locksmithctl, so that scripts written for them
// run with it.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // windows name zones, and not every machine has their rules
)

// Exit codes. Success is 0.
const (
	exitError = 1 // the command failed
	exitUsage = 2 // the command line cannot be understood
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	root := newRootCommand(environ)
	root.SetArgs(doubleDashes(root, args))
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, err)
	if failed, ok := errors.AsType[*failure](err); ok {
		if failed.hint != "" {
			fmt.Fprintln(stderr, failed.hint)
		}
		return cmp.Or(failed.code, exitError)
	}
	fmt.Fprintln(stderr, "Run 'locksmithctl help' for usage.")
	return exitUsage
}

// failure is a command that was understood and did not succeed.
type failure struct {
	text string
	hint string // what to do about it, may be empty
	code int    // exit code, 0: exitError
}

func (f *failure) Error() string { return f.text }
