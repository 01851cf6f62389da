package blocker

import (
	"cmp"
	"context"
	"fmt"

	"github.com/coordd/coordd/locksmith/command"
)

// program is an argument vector of the operator's. Its exit code is the answer: 0
// lets the machine reboot, 1 forbids it, and its first line of output says why.
type program []string

func (program) Name() string { return "command" }

func (p program) Blocks(ctx context.Context) ([]string, error) {
	result, err := command.Run(ctx, p, command.Options{})
	switch {
	case err != nil:
		return nil, err
	case result.ExitCode == 0:
		return nil, nil
	case result.ExitCode == 1:
		return []string{fmt.Sprintf("%s: %s", p[0], cmp.Or(result.FirstLine(), "no reason is given"))}, nil
	}
	return nil, fmt.Errorf("%s: %w", p[0], result.ExitError())
}
