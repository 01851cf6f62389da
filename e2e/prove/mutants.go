package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

// mutantArms put the defects of today's lock libraries back into package recipes, one at
// a time. They are built from the tree that the program is run in.
func mutantArms() []arm {
	return []arm{{"9 the defects D1 to D8 put back: they survive", false, func(ctx context.Context, _ string) (outcome, error) {
		out, err := exec.CommandContext(ctx, "go", "run", "./e2e/mutants", "-run", "^locks/D[1-8]-").CombinedOutput()
		tally := regexp.MustCompile(`(\d+) of (\d+) killed`).FindSubmatch(out)
		if tally == nil {
			return outcome{}, fmt.Errorf("e2e/mutants: %w: %s", err, out)
		}
		killed, errKilled := strconv.Atoi(string(tally[1]))
		all, errAll := strconv.Atoi(string(tally[2]))
		if errKilled != nil || errAll != nil {
			return outcome{}, fmt.Errorf("e2e/mutants: %s", tally[0])
		}
		return outcome{trials: all, violations: all - killed, note: "each was killed by its test"}, nil
	}}}
}
