package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// hunter runs tests of a module with mutants in it.
type hunter struct {
	root    string        // of the module
	dir     string        // for what is built
	timeout time.Duration // after which a test that hangs has failed
}

// hunt tries every mutant, after their tests have passed in the tree as it is. The error says how many survived, or what
// kept it from telling.
func (h hunter) hunt(ctx context.Context, w io.Writer, mutants []mutant) error {
	began := time.Now()
	if err := h.passWithout(ctx, mutants); err != nil {
		return err
	}
	survived := 0
	for _, m := range mutants {
		o, err := h.try(ctx, m)
		if err != nil {
			return err
		}
		if o.passed {
			survived++
		}
		fmt.Fprintf(w, "%-14s%6.1f s  %-30s %s\n", o.verdict(), o.took.Seconds(), m.name, m.what)
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
		tests[m.pkg] = append(tests[m.pkg], m.test)
	}
	for pkg, names := range tests {
		if err := h.build(ctx, pkg, ""); err != nil {
			return err
		}
		// Together they have the time of each.
		h.timeout *= time.Duration(len(names))
		o, err := h.run(ctx, pkg, names...)
		if err == nil && !o.passed {
			err = errors.New("it fails without a mutant")
		}
		if err != nil {
			return fmt.Errorf("tests of %s: %w\n%s", pkg, err, o.output)
		}
	}
	return nil
}

// try runs the test that must fail with m in the tree.
func (h hunter) try(ctx context.Context, m mutant) (o outcome, err error) {
	files, err := m.mutated(h.root)
	if err != nil {
		return o, err
	}
	overlay, err := writeOverlay(h.root, h.dir, files)
	if err != nil {
		return o, err
	}
	if err := h.build(ctx, m.pkg, overlay); err != nil {
		return o, fmt.Errorf("%s: %w", m.name, err)
	}
	if o, err = h.run(ctx, m.pkg, m.test); err != nil {
		return o, fmt.Errorf("%s: %w\n%s", m.name, err, o.output)
	}
	return o, nil
}

func (h hunter) binary() string { return filepath.Join(h.dir, "test") }

// build makes the binary of a package's tests.
func (h hunter) build(ctx context.Context, pkg, overlay string) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", overlay, "-o", h.binary(), pkg)
	cmd.Dir = h.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build tests of %s: %w\n%s", pkg, err, out)
	}
	return nil
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

// run runs some tests with the binary. That they fail is an outcome, that they do not run is an error.
func (h hunter) run(ctx context.Context, pkg string, tests ...string) (o outcome, err error) {
	pattern := "^(" + strings.Join(tests, "|") + ")$"
	cmd := exec.CommandContext(ctx, h.binary(), "-test.v", "-test.run="+pattern, "-test.timeout="+h.timeout.String())
	cmd.Dir = filepath.Join(h.root, pkg)
	began := time.Now()
	o.output, err = cmd.CombinedOutput()
	o.took, o.passed = time.Since(began), err == nil
	o.hung = bytes.Contains(o.output, []byte("panic: test timed out"))
	var exit *exec.ExitError
	if ctx.Err() != nil || err != nil && !errors.As(err, &exit) {
		return o, errors.Join(ctx.Err(), err)
	}
	for _, test := range tests {
		if !bytes.Contains(o.output, []byte("=== RUN   "+test+"\n")) {
			return o, fmt.Errorf("there is no %s", test)
		}
		if bytes.Contains(o.output, []byte("--- SKIP: "+test+" ")) {
			return o, fmt.Errorf("%s was skipped", test)
		}
	}
	return o, nil
}
