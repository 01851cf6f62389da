package recipes

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The code in docs/RECIPES.md is taken from examples, which are compiled and run, line by line: without comments, and
// without what is done about an error.
func TestCodeInTheDocsStandsInExamples(t *testing.T) {
	docs, err := os.ReadFile("../docs/RECIPES.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(docs), "```go\n")[1:]
	if len(blocks) == 0 {
		t.Error("it shows no code")
	}
	examples := readExamples(t)
	for _, block := range blocks {
		code, _, _ := strings.Cut(block, "```")
		for line := range strings.Lines(code) {
			line, _, _ = strings.Cut(" "+line, " // ")
			line = assignment.ReplaceAllString(strings.TrimSpace(line), "")
			if !strings.HasPrefix(line, "//") && !strings.Contains(examples, line) {
				t.Errorf("in no example: %s", line)
			}
		}
	}
}

var assignment = regexp.MustCompile(`^err :?= `)

func readExamples(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, pattern := range []string{
		"example_*test.go", "coordtest/example_test.go", "fence/example_test.go", "fence/*/example_test.go", "../e2e/databases/example_test.go",
	} {
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
