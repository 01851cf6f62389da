package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// actor is the kind of who does something, and the colour of its name.
type actor string

const (
	actorDemo    actor = "0"
	actorMember  actor = "33" // yellow
	actorMachine actor = "36" // cyan
	actorWriter  actor = "35" // magenta

	good = "32" // green
	bad  = "1;31"
)

// timeline prints what happens, one line for each event.
type timeline struct {
	start time.Time
	color bool

	mu  sync.Mutex
	out io.Writer
}

func newTimeline(out *os.File) *timeline {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &timeline{start: time.Now(), out: out, color: terminal && os.Getenv("NO_COLOR") == ""}
}

func (t *timeline) line(kind actor, who, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "%6.2fs  %s  %s\n", time.Since(t.start).Seconds(),
		t.paint(string(kind), fmt.Sprintf("%-7s", who)), fmt.Sprintf(format, args...))
}

func (t *timeline) paint(color, s string) string {
	if !t.color {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// verdict prints the findings and reports whether all are good.
func (t *timeline) verdict(findings []finding) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, "\nVerdict, from the store's history since its first revision:\n")
	ok := true
	for _, f := range findings {
		if len(f.wrong) == 0 {
			fmt.Fprintf(t.out, "  %s  %s\n", t.paint(good, "ok    "), f.claim)
			continue
		}
		ok = false
		fmt.Fprintf(t.out, "  %s  %s\n          %s\n", t.paint(bad, "FAILED"), f.claim, strings.Join(f.wrong, "\n          "))
	}
	return ok
}
