// Command mutants puts known defects into the tree, one at a time, and runs the test that is there to find it. A defect
// that its test does not find survives: then the test proves nothing. The tree itself stays as it is: go builds with a
// replaced file.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	pattern := flag.String("run", "", "a regular expression for the names of the mutants to try")
	list := flag.Bool("list", false, "list the mutants and try none")
	timeout := flag.Duration("timeout", 20*time.Second, "after which a test that hangs has failed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *pattern, *list, *timeout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, pattern string, list bool, timeout time.Duration) error {
	chosen, err := choose(all(), pattern)
	if err != nil {
		return err
	}
	if list {
		for _, m := range chosen {
			fmt.Printf("%-30s %s\n%-30s %s in %s\n", m.name, m.what, "", m.test, m.pkg)
		}
		return nil
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	return hunter{root, timeout, runtime.GOMAXPROCS(0)}.hunt(ctx, os.Stdout, chosen)
}

// all is every mutant there is.
func all() []mutant { return slices.Concat(locks, fences, slots, agents, agentRules) }

// choose returns the mutants whose name matches.
func choose(from []mutant, expr string) ([]mutant, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	chosen := slices.DeleteFunc(slices.Clone(from), func(m mutant) bool { return !re.MatchString(m.name) })
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no mutant's name matches %q", expr)
	}
	return chosen, nil
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
