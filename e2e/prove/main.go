// Command prove shows that the locks of package recipes hold, with real processes,
// sockets and faults. It runs experiments that must find a violation, because
// something is left out on purpose, and others that must find none; it prints
// what each found and exits 1 if one came out otherwise.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// The roles of this program's other processes, as its first argument.
const (
	roleWorker   = "worker"
	roleResource = "resource"
)

func main() {
	if code, ok := runRole(os.Args); ok {
		os.Exit(code)
	}
	bin := flag.String("bin", "bin", "folder of the executables coordd and coordctl")
	server := flag.String("server", "", "server to prove it on, which takes etcd's flags (default: coordd in the folder of -bin)")
	only := flag.String("run", "", "run the arms that this regular expression matches")
	quick := flag.Bool("quick", false, "few trials")
	flag.Parse()
	if *server == "" {
		*server = filepath.Join(*bin, "coordd")
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, programs{server: *server, ctl: filepath.Join(*bin, "coordctl")}, *quick, pattern))
}

// runRole is the main of this program's other processes.
func runRole(args []string) (code int, ok bool) {
	if len(args) < 2 {
		return 0, false
	}
	switch args[1] {
	case roleWorker:
		return runWorker(), true
	case roleResource:
		return runResource(), true
	}
	return 0, false
}

// run gives the proof a folder of its own, and cleans up after it if all went well.
func run(ctx context.Context, p programs, quick bool, only *regexp.Regexp) (exitCode int) {
	dir, err := os.MkdirTemp("", "coordd-prove-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
		return 1
	}
	begin := time.Now()
	findings, err := prove(ctx, p, dir, sizeOf(quick), only)
	agree := tabulate(os.Stdout, findings)
	fmt.Printf("%v\n", time.Since(begin).Round(time.Second))
	if err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
	}
	if err != nil || !agree {
		fmt.Fprintf(os.Stderr, "Logs: %s\n", dir)
		return 1
	}
	os.RemoveAll(dir)
	return 0
}
