// Package blocker tells what forbids a reboot of this machine now.
//
// Each [Blocker] asks one source: logind about inhibitors and about those who are
// logged in, programs of the operator, Prometheus about alerts, and the store about
// the members that would be left. All are asked at the same time. A blocker that
// cannot tell blocks: to reboot into a state that nobody could look at is what the
// agent is there to prevent.
//
// People who are logged in and may be overruled after a while are not among the
// blockers: they are to be warned first, and who warns must be about to reboot.
// [Grace] keeps that time; it is pure.
package blocker

import (
	"context"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/coordd/coordd/locksmith/line"
	"github.com/coordd/coordd/locksmith/login1"
)

// Blocker is one source of reasons not to reboot now.
type Blocker interface {
	// Name says in one word where the reasons come from.
	Name() string
	// Blocks returns why the machine must not reboot now; none, and no error: it may. An error blocks as well.
	Blocks(ctx context.Context) (why []string, err error)
}

// Sources are where the blockers ask.
type Sources struct {
	Inhibitors func(context.Context) ([]login1.Inhibitor, error) // as (*login1.Conn).Inhibitors
	Sessions   func(context.Context) ([]login1.Session, error)   // as (*login1.Conn).Sessions

	Store  *clientv3.Client // nil: there is no store, and nothing is asked about it
	Member string           // which of its members this machine is: MemberAuto, MemberNone, or a member's name
}

// Blockers are all that are configured.
type Blockers struct {
	timeout time.Duration
	list    []Blocker
}

// New makes the blockers of a configuration.
func New(c Config, s Sources) (*Blockers, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	b := &Blockers{timeout: c.Timeout}
	if c.Inhibitors {
		b.list = append(b.list, inhibitors{s.Inhibitors})
	}
	if c.Users.Block && c.Users.Grace == 0 {
		b.list = append(b.list, users{s.Sessions})
	}
	for _, argv := range c.Commands {
		b.list = append(b.list, program(argv))
	}
	if c.Prometheus.URL != "" {
		p, err := newPrometheus(c.Prometheus)
		if err != nil {
			return nil, err
		}
		b.list = append(b.list, p)
	}
	if c.Quorum && s.Store != nil && s.Member != MemberNone {
		b.list = append(b.list, &quorum{store: s.Store, member: s.Member, patience: min(maxPatience, c.Timeout/2)})
	}
	return b, nil
}

// Reason is one reason not to reboot now.
type Reason struct {
	Blocker string `json:"blocker"` // its name
	Why     string `json:"why"`
	Failed  bool   `json:"failed,omitempty"` // the blocker could not tell; why says what went wrong
}

func (r Reason) String() string {
	if r.Failed {
		return r.Blocker + ": cannot tell, and so blocks: " + r.Why
	}
	return r.Blocker + ": " + r.Why
}

const (
	maxReasons = 10  // that are told of one blocker
	maxWhy     = 500 // bytes of one reason
)

// Blocks asks all blockers at once and returns every reason, in the order of the
// configuration. Each blocker has its time, and an answer that it does not give in
// time is a reason too.
func (b *Blockers) Blocks(ctx context.Context) []Reason {
	found := make([][]Reason, len(b.list))
	var asking errgroup.Group
	for i, blocker := range b.list {
		asking.Go(func() error {
			found[i] = ask(ctx, blocker, b.timeout)
			return nil
		})
	}
	asking.Wait()
	return slices.Concat(found...)
}

func ask(ctx context.Context, b Blocker, timeout time.Duration) []Reason {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w after %v", context.DeadlineExceeded, timeout))
	defer cancel()
	why, err := b.Blocks(ctx)
	var reasons []Reason
	for _, w := range why[:min(len(why), maxReasons)] {
		reasons = append(reasons, Reason{Blocker: b.Name(), Why: line.Of(w, maxWhy)})
	}
	if more := len(why) - len(reasons); more > 0 {
		reasons = append(reasons, Reason{Blocker: b.Name(), Why: fmt.Sprintf("and %d more", more)})
	}
	if err != nil {
		reasons = append(reasons, Reason{Blocker: b.Name(), Why: line.Of(err.Error(), maxWhy), Failed: true})
	}
	return reasons
}
