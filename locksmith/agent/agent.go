package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/locksmith/blocker"
	"github.com/coordd/coordd/locksmith/health"
	"github.com/coordd/coordd/locksmith/hooks"
	"github.com/coordd/coordd/locksmith/slots"
	"github.com/coordd/coordd/locksmith/window"
	"github.com/coordd/coordd/recipes"
)

// notWanted is the reason for staying up when nothing has failed.
const notWanted = "the reboot is no longer wanted"

const (
	storeTimeout = 10 * time.Second // of one talk with the store; the step is then tried again
	lookTimeout  = 5 * time.Minute  // of one look at the machine: triggers one after another, and blockers, sessions or checks
	askedFor     = 2 * time.Minute  // how long after an uncertain answer the machine may yet go down
	askedPoll    = time.Second      // between two looks whether it does
)

// Config says for which machine an agent speaks.
type Config struct {
	Client   *clientv3.Client // of the store, with Group
	Group    *slots.Group     // nil: the machine reboots without a slot
	Machine  Machine
	Schedule *window.Schedule
	Health   health.Config // by which the checks of Machine are judged
	Users    blocker.Users

	ID       string // machine id, unique in the group
	Hostname string // for people
	Zone     string // failure domain, may be empty
	Stage    int    // see slots.Record
	Priority int    // see slots.Record
	Version  string // of the program, for people

	Poll    time.Duration // between two looks at the machine
	BackOff time.Duration // after an attempt that came to nothing
	Longest time.Duration // that the programs of one side may take together, or the reboot
	Log     *slog.Logger
	Metrics *Metrics

	// Memory, if not empty, is a file that lasts over a reboot, for this agent alone: why the machine was rebooted.
	Memory string
	// Changed, if not nil, tells that another answer of Machine.Wanted may be expected.
	Changed <-chan struct{}
	// Tell, if not nil, is given the status whenever something was done, and within
	// what time it will be called again unless the agent hangs.
	Tell func(s slots.Status, within time.Duration)
}

// Validate says what is wrong with c, or nil.
func (c *Config) Validate() error {
	switch {
	case c.Machine == nil || c.Schedule == nil || c.Log == nil || c.Metrics == nil:
		return errors.New("agent: machine, schedule, log and metrics are needed")
	case c.Group != nil && c.Client == nil:
		return errors.New("agent: a group needs the client of its store")
	case c.ID == "":
		return errors.New("agent: the machine id is empty")
	case c.Poll <= 0 || c.BackOff < 0 || c.Longest <= 0:
		return fmt.Errorf("agent: poll interval %v and longest time %v must be above 0, and the back-off %v must not be below", c.Poll, c.Longest, c.BackOff)
	}
	return nil
}

// Agent is the state machine of one machine. It belongs to one goroutine.
type Agent struct {
	config Config
	state  State
	since  time.Time // when the state was entered
	bootID string    // of the present boot, from Starting on

	wish   string    // why a reboot is wanted; "": it is not
	wished time.Time // since when
	spent  string    // the wish that the last reboot has fulfilled, until it is seen to be gone
	opens  time.Time // when the window opens that is closed now
	why    []string  // what keeps the machine from going on
	fault  string    // why the last step failed; "": it did not
	doubts string    // of the last look: what could not be asked beside what wants the reboot

	session *recipes.Session // whose lease is behind the status and the place in the queue; nil: none
	queued  bool             // the machine is in the queue with that lease
	told    slots.Status     // that the store has with that lease
	mute    bool             // that the status could not be reported is said already

	slot    *slots.Slot    // from Holding to GivingUp, in Verifying and Failed; nil without a group
	grace   *blocker.Grace // of this attempt, from Holding on
	begun   bool           // programs before the reboot may have run: those after it must
	drained bool           // programs before the reboot have run
	looked  bool           // in Rebooting: the last look has found nothing
	until   time.Time      // in Asked and BackingOff: when it ends
	failure error          // in Asked and GivingUp: why
	retreat State          // in GivingUp: what follows
	watch   *health.Watch  // in Verifying and Failed
}

// New makes an agent that has not looked around yet.
func New(c Config) (*Agent, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Agent{config: c}, nil
}

// State is where the agent stands.
func (a *Agent) State() State { return a.state }

// Step takes the one step that the present state asks for and returns how long
// nothing needs to be done, unless a slot becomes free or a trigger says that it has
// changed; 0 means go on at once. After an error the state is as before, and the
// same step may be tried again.
func (a *Agent) Step(ctx context.Context, now time.Time) (idle time.Duration, err error) {
	idle, err = a.step(ctx, now)
	switch {
	case err == nil:
		a.fault = ""
	case ctx.Err() == nil:
		a.fault = err.Error()
	}
	return idle, err
}

func (a *Agent) step(ctx context.Context, now time.Time) (idle time.Duration, err error) {
	switch a.state {
	case Starting:
		if err := a.start(ctx, now); err != nil {
			return 0, err
		}
		a.forget()
	case Idle, Closed, Blocked:
		return a.wait(ctx, now)
	case Queued:
		return a.queue(ctx, now)
	case Holding:
		return a.hold(ctx, now)
	case Draining:
		return 0, a.drain(ctx, now)
	case Rebooting:
		return a.reboot(ctx, now)
	case Asked:
		return a.asked(ctx, now)
	case Verifying, Failed:
		return a.verify(ctx, now)
	case GivingUp:
		return 0, a.giveUp(ctx, now)
	case BackingOff:
		if now.Before(a.until) {
			return a.until.Sub(now), nil
		}
		a.become(Idle, now)
	}
	return 0, nil
}

// longest is how long the step of the present state may take, with the report of
// the status behind it. Whoever watches over the agent takes one that takes longer
// for one that hangs.
func (a *Agent) longest() time.Duration {
	const looks, talks = 2, 8 // of one step, at most: see queue
	d := looks*lookTimeout + talks*storeTimeout
	switch a.state {
	case Draining, Rebooting, Verifying, Failed, GivingUp:
		d += a.config.Longest
	}
	return d
}

// become changes the state. why says what the machine waits for there, for people.
func (a *Agent) become(next State, now time.Time, why ...string) {
	if !a.state.CanBecome(next) {
		panic(fmt.Sprintf("agent: %s cannot become %s", a.state, next))
	}
	args := []any{"state", next.String(), "was", a.state.String()}
	if a.slot != nil {
		args = append(args, "fence", a.slot.Fence())
	}
	if a.wish != "" {
		args = append(args, "wanted", a.wish)
	}
	if len(why) > 0 {
		args = append(args, "why", strings.Join(why, "; "))
	}
	a.config.Log.Info(next.String(), args...)
	a.config.Metrics.became(a.state, next)
	a.config.Metrics.holds(a.slot != nil)
	a.state, a.since, a.why = next, now, why
}

// waits notes what keeps the agent in its state, and says so when it is something else than before.
func (a *Agent) waits(why ...string) {
	if !slices.Equal(why, a.why) {
		a.config.Log.Info("waits", "state", a.state.String(), "why", strings.Join(why, "; "))
	}
	a.why = why
}

// inStore runs one talk with the store. Without a group there is nothing to talk about.
func (a *Agent) inStore(ctx context.Context, talk func(ctx context.Context) error) error {
	if a.config.Group == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := talk(ctx)
	if err == nil || errors.Is(err, slots.ErrNotHeld) || errors.Is(err, slots.ErrRefused) || errors.Is(err, slots.ErrNotQueued) {
		a.config.Metrics.talked()
	}
	return err
}

// setPhase records a phase of this possession under the present boot.
func (a *Agent) setPhase(ctx context.Context, next slots.Phase, note string) error {
	return a.inStore(ctx, func(ctx context.Context) error { return a.slot.SetPhase(ctx, next, a.bootID, note) })
}

// toHooks is what programs are told of this reboot.
func (a *Agent) toHooks(rebooted bool) hooks.Reboot {
	c := &a.config
	r := hooks.Reboot{MachineID: c.ID, Hostname: c.Hostname, Zone: c.Zone, Reason: a.wish, BootID: a.bootID, Rebooted: rebooted}
	if a.slot != nil {
		r.Group, r.Fence = c.Group.Name(), a.slot.Fence()
	}
	return r
}
