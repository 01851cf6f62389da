package fence

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The code in the section on fencing of docs/RECIPES.md is taken from examples, which are compiled and run.
func TestCodeInTheDocsStandsInExamples(t *testing.T) {
	docs, err := os.ReadFile("../../docs/RECIPES.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(docs), "\n## Fencing\n")
	if !found {
		t.Fatal("the section is gone")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	examples := readExamples(t)
	blocks := strings.Split(section, "```go\n")[1:]
	if len(blocks) == 0 {
		t.Error("it shows no code")
	}
	for _, block := range blocks {
		code, _, _ := strings.Cut(block, "```")
		for line := range strings.Lines(code) {
			line, _, _ = strings.Cut(line, " // ")
			if line = strings.TrimSpace(line); !strings.Contains(examples, line) {
				t.Errorf("in no example: %s", line)
			}
		}
	}
}

func readExamples(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range []string{"example_test.go", "*/example_test.go", "../../e2e/databases/example_test.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(data)
		}
	}
	return all.String()
}
