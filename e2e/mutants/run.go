package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// hunter runs tests of a module with mutants in it.
type hunter struct {
	root    string        // of the module
	timeout time.Duration // after which a test that hangs has failed
	atOnce  int           // how many mutants are tried at a time
}

// hunt tries every mutant, after their tests have passed in the tree as it is. The error says how many survived, or what
// kept it from telling.
func (h hunter) hunt(ctx context.Context, w io.Writer, mutants []mutant) error {
	began := time.Now()
	if err := h.passWithout(ctx, mutants); err != nil {
		return err
	}
	var mu sync.Mutex // guards w and survived
	survived := 0
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(h.atOnce)
	for _, m := range mutants {
		group.Go(func() error {
			o, err := h.try(ctx, m)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if o.passed {
				survived++
			}
			_, err = fmt.Fprintf(w, "%-14s%6.1f s  %-32s %s\n", o.verdict(), o.took.Seconds(), m.name, m.what)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	n := len(mutants)
	fmt.Fprintf(w, "%d of %d killed (%d %%), in %.0f s\n", n-survived, n, 100*(n-survived)/n, time.Since(began).Seconds())
	if survived > 0 {
		return fmt.Errorf("%d survived", survived)
	}
	return nil
}

// passWithout runs the tests of the mutants in the tree as it is.
func (h hunter) passWithout(ctx context.Context, mutants []mutant) error {
	tests := map[string][]string{} // by package
	for _, m := range mutants {
		if !slices.Contains(tests[m.pkg], m.test) {
			tests[m.pkg] = append(tests[m.pkg], m.test)
		}
	}
	for pkg, names := range tests {
		outcomes, err := h.test(ctx, nil, pkg, names...)
		if err != nil {
			return err
		}
		for i, o := range outcomes {
			if !o.passed {
				return fmt.Errorf("%s of %s fails without a mutant\n%s", names[i], pkg, o.output)
			}
		}
	}
	return nil
}

// try runs the test that must fail with m in the tree.
func (h hunter) try(ctx context.Context, m mutant) (outcome, error) {
	files, err := m.mutated(h.root)
	if err != nil {
		return outcome{}, err
	}
	outcomes, err := h.test(ctx, files, m.pkg, m.test)
	if err != nil {
		return outcome{}, err
	}
	return outcomes[0], nil
}

// test builds a package's tests with some files replaced, and runs those of the names given, one after the other.
func (h hunter) test(ctx context.Context, files map[string]string, pkg string, names ...string) (outcomes []outcome, err error) {
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	overlay, err := writeOverlay(h.root, dir, files)
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(dir, "test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", overlay, "-o", binary, pkg)
	build.Dir = h.root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build of %s: %w\n%s", pkg, err, out)
	}
	for _, name := range names {
		o, err := h.run(ctx, binary, pkg, name)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w\n%s", name, pkg, err, o.output)
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

// outcome is what came of a test.
type outcome struct {
	passed, hung bool
	took         time.Duration
	output       []byte
}

// verdict is the outcome of a test that was meant to fail.
func (o outcome) verdict() string {
	switch {
	case o.passed:
		return "SURVIVED"
	case o.hung:
		return "killed (hung)"
	default:
		return "killed"
	}
}

// run runs one test. That it fails is an outcome, that it does not run is an error.
func (h hunter) run(ctx context.Context, binary, pkg, name string) (o outcome, err error) {
	cmd := exec.CommandContext(ctx, binary, "-test.v", "-test.run=^"+name+"$", "-test.timeout="+h.timeout.String())
	cmd.Dir = filepath.Join(h.root, pkg)
	began := time.Now()
	o.output, err = cmd.CombinedOutput()
	o.took, o.passed = time.Since(began), err == nil
	o.hung = bytes.Contains(o.output, []byte("panic: test timed out"))
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil || err != nil && !errors.As(err, &exit):
		return o, errors.Join(ctx.Err(), err)
	case !bytes.Contains(o.output, []byte("=== RUN   "+name+"\n")):
		return o, errors.New("there is no such test")
	case bytes.Contains(o.output, []byte("--- SKIP: "+name+" ")):
		return o, errors.New("it was skipped")
	}
	return o, nil
}
