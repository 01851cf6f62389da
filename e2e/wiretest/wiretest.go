// Package wiretest holds the tables of docs/WIRE.md to what tests find: a test that
// knows what is served makes the rows, and fails where the page has others.
package wiretest

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/WIRE.md anew")

// Check fails t where the table of that name in the page, a path to docs/WIRE.md, does
// not consist of these rows; with -update it writes them instead.
func Check(t testing.TB, page, name string, rows []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	made, err := replace(string(text), name, rows)
	switch {
	case err != nil:
		t.Fatal(err)
	case made == string(text):
	case *update:
		if err := os.WriteFile(page, []byte(made), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table of %s in docs/WIRE.md is not what this test finds: run it with -update and look at the change", name)
	}
}

// replace puts rows between the marks of a table.
func replace(page, name string, rows []string) (string, error) {
	begin, end := "<!-- table of "+name+" -->\n", "<!-- end of "+name+" -->\n"
	before, rest, ok := strings.Cut(page, begin)
	if !ok {
		return "", fmt.Errorf("docs/WIRE.md has no line %q", strings.TrimSpace(begin))
	}
	_, after, ok := strings.Cut(rest, end)
	if !ok {
		return "", fmt.Errorf("docs/WIRE.md has no line %q", strings.TrimSpace(end))
	}
	return before + begin + strings.Join(rows, "\n") + "\n" + end + after, nil
}
