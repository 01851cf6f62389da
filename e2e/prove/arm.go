package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
)

// outcome is what was seen in the trials of an arm.
type outcome struct {
	trials, violations int
	note               string

	falselyValid int // old holders whom Valid called holders after they had been overtaken
}

// arm is an experiment that must come out in one way. Those in which something must be
// found show that the harness finds it, so that those in which nothing may be found mean
// something.
type arm struct {
	name  string
	found bool // whether violations are to be found
	run   func(ctx context.Context, name string) (outcome, error)
}

// finding is an arm that has been run.
type finding struct {
	arm
	outcome
	err error
}

// agrees reports whether the arm came out as it must.
func (f finding) agrees() bool {
	return f.err == nil && f.trials > 0 && f.falselyValid == 0 && f.found == (f.violations > 0)
}

// tabulate writes the table and reports whether all arms agree.
func tabulate(out io.Writer, findings []finding) (agree bool) {
	agree = true
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "arm\ttrials\tviolations\texpected\tverdict\t")
	for _, f := range findings {
		expected, verdict := "none", "ok"
		if f.found {
			expected = "some"
		}
		if !f.agrees() {
			agree, verdict = false, "WRONG"
		}
		note := f.note
		if f.falselyValid > 0 {
			note = fmt.Sprintf("Valid was wrong after the pause %d times", f.falselyValid)
		}
		if f.err != nil {
			note = f.err.Error()
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\t%s\n", f.name, f.trials, f.violations, expected, verdict, note)
	}
	table.Flush()
	return agree
}
