package line

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestOf(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""},
		{" two\n\twords ", "two words"},
		{"\x1b[2Jred\x00\xff", "[2Jred"},
		{"ümläute und mehr", "ümläute und mehr"},
		{"\u202eabc\u2028def", "abc def"},
		{strings.Repeat("x", 20), strings.Repeat("x", 20)},
		{strings.Repeat("x", 21), strings.Repeat("x", 17) + "…"},
		{strings.Repeat("ü", 11), strings.Repeat("ü", 8) + "…"},
		{strings.Repeat(" ", 100) + "y", "…"},
	} {
		got := Of(test.in, 20)
		if got != test.want {
			t.Errorf("%q: %q, want %q", test.in, got, test.want)
		}
		if len(got) > 20 || !utf8.ValidString(got) {
			t.Errorf("%q: %q has %d bytes", test.in, got, len(got))
		}
	}
	if got := Printable("a\nb  c"); got != "a b  c" {
		t.Errorf("%q", got)
	}
}
