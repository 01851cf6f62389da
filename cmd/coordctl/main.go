// Command coordctl reads, writes and watches the keys of a coordd or etcd cluster, holds leases and shows how the
// cluster's members are doing. Names, flags, outputs and exit codes are those of etcdctl, so that a script written
// for one runs with the other.
package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	// etcdctl accepts a command by any unambiguous prefix of its name, and scripts use it (`endpoint stat`).
	cobra.EnablePrefixMatching = true
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns the process's exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	return report(stderr, err)
}
