package main

import (
	"strings"
	"testing"
)

func TestReadPassword(t *testing.T) {
	for typed, want := range map[string]string{
		"secret\n":           "secret",
		"secret\r\n":         "secret",
		"secret":             "secret", // the end of a pipe
		"with space\nrest":   "with space",
		"sx\x7fecrex\x08t\n": "secret", // backspace
		"\x7fsecret\n":       "secret",
		"wrong\x15secret\n":  "secret", // Ctrl-U
		"secret\x04":         "secret", // Ctrl-D
	} {
		if got, err := readPassword(strings.NewReader(typed)); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", typed, got, err, want)
		}
	}
	for _, typed := range []string{"", "\n", "sec\x03ret\n", strings.Repeat("x", maxPassword)} {
		if got, err := readPassword(strings.NewReader(typed)); err == nil {
			t.Errorf("%.20q: %q", typed, got)
		}
	}
}

// TestPasswordsAreReadLineByLine: nothing after the line is taken from the next who reads.
func TestPasswordsAreReadLineByLine(t *testing.T) {
	in := strings.NewReader("one\ntwo\n")
	for _, want := range []string{"one", "two"} {
		if got, err := readPassword(in); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}
