package wiretest

import "testing"

func TestReplace(t *testing.T) {
	page := "before\n<!-- table of a -->\nold\n<!-- end of a -->\nafter\n"
	got, err := replace(page, "a", []string{"new", "rows"})
	if want := "before\n<!-- table of a -->\nnew\nrows\n<!-- end of a -->\nafter\n"; err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if again, err := replace(got, "a", []string{"new", "rows"}); err != nil || again != got {
		t.Errorf("the same rows: %q, %v", again, err)
	}
	for _, page := range []string{"", "<!-- table of a -->\n", "<!-- end of a -->\n"} {
		if _, err := replace(page, "a", nil); err == nil {
			t.Errorf("a page without the marks, %q, is taken", page)
		}
	}
}
