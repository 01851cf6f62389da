package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/coordd/coordd/locksmith/slots"
)

// takenBy marks the slots that agents took themselves.
const takenBy = "locksmithd"

// notWanted is the reason for staying up when none has failed.
const notWanted = "the reboot is no longer wanted"

const (
	storeTimeout  = 10 * time.Second // of one step's talk with the store; the step is then tried again
	rebootTimeout = 2 * time.Minute  // of the reboot command
)

// Config says for which machine an agent speaks.
type Config struct {
	Group    *slots.Group
	Machine  Machine
	ID       string // machine id, unique in the group
	Hostname string // for people
	Zone     string // failure domain, may be empty
	Reason   string // why the machine reboots, for people

	Poll    time.Duration // between two looks whether a reboot is wanted
	BackOff time.Duration // after a reboot that could not be started
	Log     *slog.Logger
}

// Validate says what is wrong with c, or nil.
func (c *Config) Validate() error {
	switch {
	case c.Group == nil || c.Machine == nil || c.Log == nil:
		return errors.New("agent: group, machine and log are needed")
	case c.ID == "":
		return errors.New("agent: the machine id is empty")
	case c.Poll <= 0 || c.BackOff <= 0:
		return fmt.Errorf("agent: poll interval %v and back-off %v must be above 0", c.Poll, c.BackOff)
	}
	return nil
}

// Agent is the state machine of one machine. It belongs to one goroutine.
type Agent struct {
	config Config
	state  State
	slot   *slots.Slot // in Holding, Rebooting and Verifying
	bootID string      // of the present boot, from Starting on
	until  time.Time   // in BackingOff: when it ends
	failed error       // in GivingUp: why the reboot could not be started; nil: none is wanted
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
// nothing needs to be done, unless a slot becomes free; 0 means go on at once.
// After an error the state is as before and the same step may be tried again.
func (a *Agent) Step(ctx context.Context, now time.Time) (idle time.Duration, err error) {
	if a.state == Rebooting {
		return 0, a.reboot(ctx) // divides its time itself
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	switch a.state {
	case Starting:
		return 0, a.start(ctx)
	case Idle:
		return a.look()
	case Waiting:
		return a.acquire(ctx, now)
	case Holding:
		return 0, a.announce(ctx)
	case Verifying:
		return 0, a.verify(ctx)
	case GivingUp:
		return 0, a.giveUp(ctx, now)
	case BackingOff:
		if now.Before(a.until) {
			return a.until.Sub(now), nil
		}
		a.become(Idle)
	}
	return 0, nil
}

// become changes the state.
func (a *Agent) become(next State, why ...any) {
	if !a.state.CanBecome(next) {
		panic(fmt.Sprintf("agent: %s cannot become %s", a.state, next))
	}
	a.config.Log.Info(next.String(), append([]any{"was", a.state.String()}, why...)...)
	a.state = next
}

// start finds out what the machine was about when the last agent ended.
func (a *Agent) start(ctx context.Context) error {
	bootID, err := a.config.Machine.BootID()
	if err != nil {
		return err
	}
	slot, r, err := a.config.Group.Find(ctx, a.config.ID)
	if errors.Is(err, slots.ErrNotHeld) {
		a.bootID = bootID
		a.become(Idle)
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case r.TakenBy != takenBy && (r.Phase == slots.Held || r.Phase == slots.Draining):
		// An operator took it, for purposes of his own: it stays his until a reboot is wanted.
		a.bootID = bootID
		a.become(Idle, "slot of", r.TakenBy)
		return nil
	case r.Phase == slots.Back || r.Phase == slots.Verifying:
	case r.BootID == bootID:
		a.bootID, a.slot = bootID, slot
		a.become(Holding, "why", "only the agent was restarted", "fence", slot.Fence())
		return nil
	default:
		if err := slot.SetPhase(ctx, slots.Back, bootID, ""); err != nil {
			return err
		}
	}
	a.bootID, a.slot = bootID, slot
	a.become(Verifying, "boot", bootID, "fence", slot.Fence())
	return nil
}

// look is the step of Idle.
func (a *Agent) look() (time.Duration, error) {
	wanted, err := a.config.Machine.Wanted()
	if err != nil || !wanted {
		return a.config.Poll, err
	}
	a.become(Waiting)
	return 0, nil
}

// acquire is the step of Waiting.
func (a *Agent) acquire(ctx context.Context, now time.Time) (time.Duration, error) {
	wanted, err := a.config.Machine.Wanted()
	if err != nil {
		return 0, err
	}
	if !wanted {
		a.become(Idle, "why", notWanted)
		return 0, nil
	}
	c := &a.config
	slot, err := c.Group.Acquire(ctx, slots.Record{
		ID: c.ID, Hostname: c.Hostname, Zone: c.Zone, BootID: a.bootID,
		TakenBy: takenBy, Reason: c.Reason, Since: now.UTC(),
	})
	if errors.Is(err, slots.ErrFull) {
		return c.Poll, nil
	}
	if err != nil {
		return 0, err
	}
	a.slot = slot
	a.become(Holding, "fence", slot.Fence())
	return 0, nil
}

// announce is the step of Holding: the record says that the machine goes before
// it does, or a crash right after would look like a restart of the agent alone.
func (a *Agent) announce(ctx context.Context) error {
	wanted, err := a.config.Machine.Wanted()
	if err != nil {
		return err
	}
	if !wanted {
		a.failed = nil
		a.become(GivingUp, "why", notWanted)
		return nil
	}
	err = a.slot.SetPhase(ctx, slots.Rebooting, a.bootID, "")
	if errors.Is(err, slots.ErrNotHeld) {
		a.become(Waiting, "why", err)
		return nil
	}
	if err != nil {
		return err
	}
	a.become(Rebooting, "fence", a.slot.Fence())
	return nil
}

// reboot is the step of Rebooting: the last look, then the command at once.
func (a *Agent) reboot(ctx context.Context) error {
	verifyCtx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err := a.slot.Verify(verifyCtx)
	if errors.Is(err, slots.ErrNotHeld) {
		a.become(Waiting, "why", err)
		return nil
	}
	if err != nil {
		return err
	}
	wanted, err := a.config.Machine.Wanted()
	if err != nil {
		return err
	}
	if !wanted {
		a.failed = nil
		a.become(GivingUp, "why", notWanted)
		return nil
	}
	rebootCtx, cancel := context.WithTimeout(ctx, rebootTimeout)
	defer cancel()
	if a.failed = a.config.Machine.Reboot(rebootCtx); a.failed != nil {
		a.become(GivingUp, "why", a.failed)
		return nil
	}
	a.become(Gone)
	return nil
}

// giveUp is the step of GivingUp. It is a state of its own, so that a repeat
// after an error of the store does not run the reboot again.
func (a *Agent) giveUp(ctx context.Context, now time.Time) error {
	why := notWanted
	if a.failed != nil {
		why = a.failed.Error()
	}
	err := a.slot.SetPhase(ctx, slots.Held, a.bootID, why)
	if err == nil {
		err = a.slot.Release(ctx)
	}
	if err != nil && !errors.Is(err, slots.ErrNotHeld) {
		return err
	}
	a.slot = nil
	if a.failed != nil {
		a.until = now.Add(a.config.BackOff)
		a.become(BackingOff, "for", a.config.BackOff)
		return nil
	}
	a.become(Idle)
	return nil
}

// verify is the step of Verifying. Being able to write to the store is the
// health that is asked for.
func (a *Agent) verify(ctx context.Context) error {
	err := a.slot.SetPhase(ctx, slots.Verifying, a.bootID, "")
	if err == nil {
		err = a.slot.Release(ctx)
	}
	if err != nil && !errors.Is(err, slots.ErrNotHeld) {
		return err
	}
	a.slot = nil
	a.become(Idle, "why", "the machine is back and the slot released")
	return nil
}
