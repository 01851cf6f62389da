package health

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coordd/coordd/locksmith/command"
	"github.com/coordd/coordd/locksmith/fetch"
)

const (
	atOnce  = 8       // checks that look at the same time
	maxBody = 1 << 20 // bytes of a document that is searched
)

// Checks look at one machine. They may be run concurrently.
type Checks struct {
	timeout time.Duration
	list    []check
}

// check is one question.
type check struct {
	name string
	// look returns why the check does not pass, and, where that can be told, which instance of a thing it has found.
	look func(context.Context) (instance string, err error)
}

// New makes the checks of a configuration.
func New(c Config) (*Checks, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	checks := &Checks{timeout: c.Timeout}
	add := func(name string, look func(context.Context) (string, error)) {
		checks.list = append(checks.list, check{name, look})
	}
	if c.BootComplete {
		add("boot", askSystemd(systemd.checkBootComplete))
	}
	if c.SystemRunning {
		add("system", askSystemd(systemd.checkRunning))
	}
	for _, name := range c.Units {
		add("unit "+name, askSystemd(func(s systemd, ctx context.Context) (string, error) { return s.checkUnit(ctx, name) }))
	}
	for _, h := range c.HTTP {
		u, err := url.Parse(h.URL)
		if err != nil {
			return nil, fmt.Errorf("health: %w", err)
		}
		add("http "+u.Redacted(), func(ctx context.Context) (string, error) { return "", h.look(ctx) })
	}
	for _, address := range c.TCP {
		add("tcp "+address, func(ctx context.Context) (string, error) { return "", lookTCP(ctx, address) })
	}
	for _, argv := range c.Exec {
		add("exec "+argv[0], func(ctx context.Context) (string, error) { return "", lookExec(ctx, argv) })
	}
	return checks, nil
}

// Run looks at everything once. It ends with ctx, and each check after its time.
func (c *Checks) Run(ctx context.Context) Report {
	r := Report{Passed: true, Results: make([]Result, len(c.list))}
	var looking errgroup.Group
	looking.SetLimit(atOnce)
	for i := range c.list {
		looking.Go(func() error {
			r.Results[i] = c.list[i].run(ctx, c.timeout)
			return nil
		})
	}
	looking.Wait()
	for _, result := range r.Results {
		r.Passed = r.Passed && result.Error == ""
	}
	return r
}

func (c *check) run(ctx context.Context, timeout time.Duration) Result {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w after %v", context.DeadlineExceeded, timeout))
	defer cancel()
	start := time.Now()
	instance, err := c.look(ctx)
	r := Result{Name: c.name, Took: time.Since(start), Instance: instance}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func (h *HTTPCheck) look(ctx context.Context) error {
	request := fetch.Request{URL: h.URL, CAFile: h.CAFile}
	if h.Contains != "" {
		request.MaxBody = maxBody
	}
	got, err := fetch.Get(ctx, request)
	switch {
	case err != nil:
		return err
	case h.Status != 0 && got.Status != h.Status:
		return fmt.Errorf("status %d instead of %d", got.Status, h.Status)
	case h.Status == 0 && (got.Status < 200 || got.Status > 299):
		return fmt.Errorf("status %d", got.Status)
	case !bytes.Contains(got.Body, []byte(h.Contains)):
		return fmt.Errorf("%q does not stand in the answer", h.Contains)
	}
	return nil
}

func lookTCP(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	conn.Close() // that it was accepted is all there is to know
	return nil
}

func lookExec(ctx context.Context, argv []string) error {
	result, err := command.Run(ctx, argv, command.Options{})
	if err != nil {
		return err
	}
	if result.ExitCode != 0 {
		return result.ExitError()
	}
	return nil
}
