package trigger

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/coordd/coordd/locksmith/command"
)

// commandTimeout is how long a program may take. needrestart looks into every kernel image of the machine.
const commandTimeout = time.Minute

// sentinelCommand is a program that says by its exit status whether a reboot is wanted.
type sentinelCommand []string

func newSentinelCommand(argv []string) (sentinelCommand, error) {
	if _, err := exec.LookPath(argv[0]); err != nil {
		return nil, fmt.Errorf("triggers.sentinel_command: %w", err)
	}
	return argv, nil
}

// Name says which program; its arguments may be secret.
func (c sentinelCommand) Name() string { return "sentinel command " + c[0] }

// Wanted runs the program. The reason is the first line of its output.
func (c sentinelCommand) Wanted(ctx context.Context) (string, error) {
	r, err := run(ctx, c)
	if err != nil {
		return "", err
	}
	switch r.ExitCode {
	case 0:
		if why := r.FirstLine(); why != "" {
			return why, nil
		}
		return "it says so", nil
	case 1:
		return "", nil
	}
	return "", r.ExitError()
}

// run runs a program that answers a question: briefly, and in time.
func run(ctx context.Context, argv []string) (command.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	r, err := command.Run(ctx, argv, command.Options{})
	if err == nil && len(r.Stdout) >= command.MaxOutput {
		err = errors.New("its output is too long for an answer")
	}
	return r, err
}
