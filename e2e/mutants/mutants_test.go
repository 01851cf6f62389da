package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEveryMutantFits: what the mutants replace is in the tree as it is now, and so are their tests.
func TestEveryMutantFits(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range all() {
		if seen[m.name] {
			t.Errorf("two mutants are called %s", m.name)
		}
		seen[m.name] = true
		if _, err := m.mutated(root); err != nil {
			t.Errorf("%s: %v\nThe code has changed: let the mutant put the defect into what stands there now.", m.name, err)
		}
		if !strings.Contains(testsOf(t, filepath.Join(root, m.pkg)), "func "+m.test+"(t ") {
			t.Errorf("%s: there is no %s in %s", m.name, m.test, m.pkg)
		}
	}
}

// testsOf is the source of a package's tests.
func testsOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// module is a small one to hunt in.
var module = map[string]string{
	"go.mod": "module small\n\ngo 1.26\n",
	"sum.go": `package small

func Sum(a, b int) int { return a + b }

func Twice(a int) int {
	for range 1 {
		a += a
	}
	return a
}
`,
	"sum_test.go": `package small

import "testing"

func TestSum(t *testing.T) {
	if Sum(1, 2) != 3 {
		t.Error("1 + 2")
	}
}

func TestTwice(t *testing.T) {
	if Twice(2) != 4 {
		t.Error("2 + 2")
	}
}

func TestWrong(t *testing.T) { t.Error("always") }

func TestSkipped(t *testing.T) { t.Skip() }
`,
}

func writeModule(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range module {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func sum(test, old, new string) mutant {
	return mutant{name: "small", edits: []edit{{"sum.go", old, new}}, pkg: ".", test: test}
}

func TestHunt(t *testing.T) {
	root := writeModule(t)
	t.Cleanup(func() {
		if now, err := os.ReadFile(filepath.Join(root, "sum.go")); err != nil || string(now) != module["sum.go"] {
			t.Errorf("the tree has changed: %v", err)
		}
	})
	for _, c := range []struct {
		what   string
		mutant mutant
		want   string // in what is printed
		err    string // in the error; "" for none
	}{
		{"a defect that is found", sum("TestSum", "a + b", "a - b"), "1 of 1 killed", ""},
		{"an endless loop", sum("TestTwice", "range 1", ""), "killed (hung)", ""},
		{"a panic", sum("TestSum", "return a + b", "panic(a)"), "1 of 1 killed", ""},
		{"no defect", sum("TestSum", "a + b", "b + a"), "SURVIVED", "1 survived"},
		{"a defect that the test does not look for", sum("TestTwice", "a + b", "a - b"), "0 of 1 killed", "1 survived"},
		{"what does not compile", sum("TestSum", "a + b", "a +"), "", "build of ."},
		{"what is not there", sum("TestSum", "a * b", "a - b"), "", "stands 0 times"},
		{"what is there twice", sum("TestSum", "int", "uint"), "", "stands 4 times"},
		{"a test that is not there", sum("TestMissing", "a + b", "a - b"), "", "there is no such test"},
		{"a test that is skipped", sum("TestSkipped", "a + b", "a - b"), "", "it was skipped"},
		{"a test that always fails", sum("TestWrong", "a + b", "a - b"), "", "fails without a mutant"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			h := hunter{root: root, timeout: 5 * time.Second, atOnce: 1}
			err := h.hunt(t.Context(), &out, []mutant{c.mutant})
			if !strings.Contains(out.String(), c.want) {
				t.Errorf("printed %q, want %q", out.String(), c.want)
			}
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

// A later edit sees what an earlier one did, and the others' files stay as they are.
func TestEditsOfOneFile(t *testing.T) {
	m := mutant{edits: []edit{{"sum.go", "a + b", "a - b"}, {"sum.go", "a - b", "b - a"}}}
	files, err := m.mutated(writeModule(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || !strings.Contains(files["sum.go"], "return b - a") {
		t.Errorf("mutated: %v", files)
	}
}

func TestChoose(t *testing.T) {
	if chosen, err := choose(locks, "^locks/D7"); err != nil || len(chosen) != 1 {
		t.Errorf("chosen: %v, %v", chosen, err)
	}
	for _, expr := range []string{"nothing", "("} {
		if chosen, err := choose(locks, expr); err == nil {
			t.Errorf("%s: chosen %v", expr, chosen)
		}
	}
}

// An interrupt is neither a kill nor a survival.
func TestHuntInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	h := hunter{root: writeModule(t), timeout: time.Minute, atOnce: 1}
	if err := h.hunt(ctx, &out, []mutant{sum("TestSum", "a + b", "a - b")}); err == nil || out.Len() > 0 {
		t.Errorf("printed %q, error %v", out.String(), err)
	}
}
