package trigger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/coordd/coordd/locksmith/line"
)

// needrestart asks needrestart(1) about the kernel, and about nothing else: what
// else it can tell is cured by restarting services.
type needrestart struct {
	log *slog.Logger

	mu    sync.Mutex // guards what follows, and that it is run by one at a time
	last  kernel     // the last answer; none at first
	since time.Time  // when that was asked for
}

// freshness is for how long an answer serves. A run reads every kernel image of the
// machine, and the agent looks every few seconds.
const freshness = time.Minute

func newNeedrestart(log *slog.Logger) (*needrestart, error) {
	if _, err := exec.LookPath("needrestart"); err != nil {
		return nil, fmt.Errorf("triggers.needrestart: %w", err)
	}
	return &needrestart{log: log}, nil
}

// Name is needrestart.
func (*needrestart) Name() string { return "needrestart" }

// Wanted says what needrestart did, a minute ago at most. That it cannot tell which
// kernel is to be expected is no reason for a reboot, and no error either: some
// kernels are in no file. In a container it says nothing about the kernel at all,
// which is an error.
func (n *needrestart) Wanted(ctx context.Context) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last.status != "" && time.Since(n.since) < freshness {
		return n.last.why(), nil
	}
	asked := time.Now()
	k, err := askKernel(ctx)
	if err != nil {
		return "", err
	}
	if k.status == kernelUnknown && n.last.status != kernelUnknown { // once
		n.log.Warn("needrestart cannot tell which kernel is to be expected", "running", k.running)
	}
	n.last, n.since = k, asked
	return k.why(), nil
}

func askKernel(ctx context.Context) (kernel, error) {
	r, err := run(ctx, []string{"needrestart", "-b", "-k"}) // batch mode, which restarts nothing; the kernel
	if err != nil {
		return kernel{}, err
	}
	if r.ExitCode != 0 {
		return kernel{}, r.ExitError()
	}
	return parseKernel(r.Stdout)
}

// Values of NEEDRESTART-KSTA, from needrestart's README.batch.md.
const (
	kernelUnknown      = "0"
	kernelCurrent      = "1"
	kernelRebuilt      = "2" // another build of the same version is installed
	kernelOtherVersion = "3"
)

// kernel is what needrestart says of the kernel.
type kernel struct {
	status, running, expected string
}

// parseKernel reads the output of needrestart -b.
func parseKernel(out string) (kernel, error) {
	var k kernel
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "NEEDRESTART-KCUR":
			k.running = value
		case "NEEDRESTART-KEXP":
			k.expected = value
		case "NEEDRESTART-KSTA":
			if k.status != "" && k.status != value {
				return kernel{}, errors.New("NEEDRESTART-KSTA has two values")
			}
			k.status = value
		}
	}
	switch k.status {
	case kernelUnknown, kernelCurrent, kernelRebuilt, kernelOtherVersion:
		return k, nil
	case "":
		return kernel{}, errors.New("there is no NEEDRESTART-KSTA in its output")
	}
	return kernel{}, fmt.Errorf("NEEDRESTART-KSTA is %s", line.Of(fmt.Sprintf("%q", k.status), maxWhy))
}

// why returns why this kernel wants a reboot, or "".
func (k kernel) why() string {
	switch k.status {
	case kernelRebuilt:
		return line.Of(fmt.Sprintf("kernel %s runs, a newer build of it is installed", k.running), maxWhy)
	case kernelOtherVersion:
		return line.Of(fmt.Sprintf("kernel %s runs, %s is expected", k.running, k.expected), maxWhy)
	}
	return ""
}
