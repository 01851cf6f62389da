package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// section returns a section of a page of docs/.
func section(t *testing.T, page, title string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "\n## "+title+"\n")
	if !ok {
		t.Fatalf("no section %q", title)
	}
	before, _, _ := strings.Cut(after, "\n## ")
	return before
}

// blocks returns the code of a language in a text.
func blocks(text, language string) string {
	var code strings.Builder
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(text, -1) {
		code.WriteString(m[1])
	}
	return code.String()
}

// run runs a program from standard input, in a directory of its own, and returns what it printed.
func run(t *testing.T, input, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(within(t, time.Minute), program, args...)
	cmd.Stdin, cmd.Dir, cmd.WaitDelay = strings.NewReader(input), t.TempDir(), time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(out)
}

// TestTheLinesForOtherLanguages runs what docs/RECIPES.md shows, on a member of its own. Where a line ends in a comment
// with an answer, that is what was answered, in this order.
func TestTheLinesForOtherLanguages(t *testing.T) {
	m := startCluster(t, 1).Members[0]
	address := strings.TrimPrefix(m.ClientURL, "http://")
	host, port, _ := strings.Cut(address, ":")
	text := strings.NewReplacer("127.0.0.1:2379", address, `"127.0.0.1", 2379`, `"`+host+`", `+port).Replace(section(t, "RECIPES.md", "From other languages"))

	script := blocks(text, "sh")
	out := run(t, script, "bash", "-eu")
	rest := strings.ReplaceAll(strings.ReplaceAll(out, " ", ""), "\n", "")
	answers := regexp.MustCompile(`   # (\{.*\}|".*)\n`).FindAllStringSubmatch(script, -1)
	if len(answers) < 17 {
		t.Fatalf("%d answers", len(answers))
	}
	for _, answer := range answers {
		_, after, ok := strings.Cut(rest, answer[1])
		if !ok {
			t.Fatalf("%s is not what was answered, in:\n%s", answer[1], out)
		}
		rest = after
	}
	if out := run(t, blocks(text, "python"), "python3", "-"); !strings.Contains(out, "'released': True") {
		t.Errorf("python: %s", out)
	}
}
