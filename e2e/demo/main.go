// Command demo shows what the project is for, in half a minute and with real
// processes: a cluster of three members, and six machines that all want to reboot
// now while only one may be down. In the middle of it the cluster's leader is
// killed. At the end the store's own history, from its first revision on, says
// whether everything went as it must.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// longest bounds the whole demo.
const longest = 55 * time.Second

func main() {
	bin := flag.String("bin", "bin", "folder of the executables coordd and locksmithd")
	server := flag.String("server", "", "server to show, which takes etcd's flags (default: coordd in the folder of -bin)")
	flag.Parse()
	if *server == "" {
		*server = filepath.Join(*bin, "coordd")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, *server, filepath.Join(*bin, "locksmithd")))
}

// run gives the demo a folder of its own, and cleans up after it.
func run(ctx context.Context, server, agent string) (exitCode int) {
	for _, executable := range []string{server, agent} {
		if _, err := os.Stat(executable); err != nil {
			fmt.Fprintf(os.Stderr, "demo: %v\nBuild it first: make build\n", err)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "coordd-demo-")
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return 1
	}
	show := newTimeline(os.Stdout)
	bounded, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("not done after %v", longest))
	defer cancel()
	findings, err := play(bounded, show, dir, server, agent)
	if ctx.Err() != nil {
		os.RemoveAll(dir)
		fmt.Fprintln(os.Stderr, "demo: interrupted")
		return 130
	}
	if err != nil {
		if cause := context.Cause(bounded); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		fmt.Fprintf(os.Stderr, "demo: %v\nLogs: %s\n", err, filepath.Join(dir, "logs"))
		return 1
	}
	if !show.verdict(findings) {
		fmt.Fprintf(os.Stderr, "Logs: %s\n", filepath.Join(dir, "logs"))
		return 1
	}
	os.RemoveAll(dir)
	return 0
}
