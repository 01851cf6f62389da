package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/locksmith/blocker"
	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/slots"
)

// crashing is a store whose every write, and a machine whose every deed, is a
// point at which the agent may end: after it, nothing that the agent does has an effect.
type crashing struct {
	clientv3.KV
	points []string // that were passed
	at     int      // which of them is the last; 0: none
	end    context.CancelFunc
}

var errCrashed = errors.New("the agent has crashed")

// pass counts a point and ends the agent at the one that was chosen.
func (c *crashing) pass(point string) (crashed bool) {
	c.points = append(c.points, point)
	if len(c.points) == c.at {
		c.end()
		return true
	}
	return c.at != 0 && len(c.points) > c.at
}

func (c *crashing) Txn(ctx context.Context) clientv3.Txn {
	return &crashingTxn{store: c, Txn: c.KV.Txn(ctx)}
}

type crashingTxn struct {
	clientv3.Txn
	store  *crashing
	writes bool
}

func (t *crashingTxn) If(c ...clientv3.Cmp) clientv3.Txn { t.Txn = t.Txn.If(c...); return t }
func (t *crashingTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	for _, op := range ops {
		t.writes = t.writes || !op.IsGet()
	}
	t.Txn = t.Txn.Then(ops...)
	return t
}

// Commit takes place, and the agent does not hear of it.
func (t *crashingTxn) Commit() (*clientv3.TxnResponse, error) {
	resp, err := t.Txn.Commit()
	if t.writes && err == nil && t.store.pass("write") {
		return nil, errCrashed
	}
	return resp, err
}

// A scenario is a run of a machine that may be hit by a crash at any point.
type scenario struct {
	name    string
	prepare func(w *world)
	perturb func(w *world, step int) // before each step of the first agent
	reboots bool                     // the machine must have rebooted at the end
}

var scenarios = []scenario{
	{name: "a reboot", reboots: true},
	{name: "people are warned", reboots: true, prepare: func(w *world) {
		w.users = blocker.Users{Block: true, Grace: 5 * time.Second}
		w.machine.sessions = []login1.Session{alice("1")}
	}},
	{name: "logind refuses once", reboots: true, prepare: func(w *world) { w.machine.refuse = errRefused }, perturb: func(w *world, step int) {
		if w.agent.State() == BackingOff {
			w.machine.refuse = nil
		}
	}},
	{name: "the answer is uncertain", reboots: true, prepare: func(w *world) { w.machine.refuse, w.machine.down = login1.ErrUncertain, true }},
	{name: "the wish goes in the last moment", perturb: func(w *world, step int) {
		if w.agent.State() == Rebooting {
			w.machine.wanted = nil
		}
	}},
	{name: "sick for a while after the boot", reboots: true, prepare: func(w *world) {
		w.health.Deadline = 3 * time.Second
		w.machine.sick = "nginx is not running"
	}, perturb: func(w *world, step int) {
		if w.agent.State() == Failed {
			w.machine.sick = ""
		}
	}},
}

// TestCrashPoints ends the agent at every single point of every scenario, with and
// without a boot of the machine, and demands of the rest of the run that the
// machine reboots once for a wish and that the slot is given back.
func TestCrashPoints(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				points := s.run(w, 0, false)
				if len(points) < 5 {
					w.Fatalf("only %d points: %q", len(points), points)
				}
				for at := 1; at <= len(points); at++ {
					for _, boots := range []bool{false, true} {
						s.run(w, at, boots)
					}
				}
			})
		})
	}
}

const mostSteps = 200 // of a run: more is an agent that does not come to an end

// run is one run of the scenario on a fresh machine and group, and returns the
// points that were passed.
func (s *scenario) run(base *world, at int, boots bool) (points []string) {
	base.Helper()
	name := fmt.Sprintf("crash at %d, boot %t", at, boots)
	original := base.client.KV
	defer func() { base.client.KV = original }()
	group, err := slots.NewGroup(base.client, "test/"+base.Name()+"/"+name, "web")
	if err != nil {
		base.Fatal(err)
	}
	w := &world{T: base.T, client: base.client, group: group, now: noon, machine: &simulated{wanted: []string{"a new kernel"}}}
	if s.prepare != nil {
		s.prepare(w)
	}
	w.restart()
	defer w.kill()

	ctx, cancel := context.WithCancel(base.Context())
	defer cancel()
	c := &crashing{KV: original, at: at, end: cancel}
	base.client.KV = c
	pending := false // the machine is about to go down
	w.machine.did = func(call string) {
		if len(w.machine.wanted) == 0 && call == "reboot" && !w.machine.down {
			base.Errorf("%s: a reboot that nobody wants", name)
		}
		// logind has agreed, whatever the agent heard of it.
		pending = pending || call == "reboot" && (w.machine.refuse == nil || w.machine.down)
		c.pass(call)
	}
	went := 0                     // boots that the agent has asked for
	boot := func(accident bool) { // the machine has come back: what wanted the reboot is gone
		w.boot()
		pending = false
		if !accident {
			went++
		}
		w.machine.refuse, w.machine.down = nil, false
	}
	crashed := false
	for step := 0; step < mostSteps; step++ {
		if s.perturb != nil {
			s.perturb(w, step)
		}
		_, err := w.agent.Step(ctx, w.now)
		_ = w.agent.report(ctx)
		w.now = w.now.Add(time.Second)
		switch {
		case ctx.Err() != nil && !crashed: // here it crashes: all that follows is the next agent's
			crashed = true
			ctx = base.Context()
			base.client.KV = original
			switch {
			case boots:
				boot(!pending)
			case pending:
				w.machine.down = true // it has not gone yet
				w.restart()
			default:
				w.restart()
			}
		case err != nil:
			base.Fatalf("%s: %s: %v", name, w.agent.State(), err)
		case w.agent.State() == Gone, w.agent.State() == Asked && w.machine.down:
			boot(false)
		case w.agent.State() == Idle && len(w.machine.wanted) == 0:
			w.settled(c, name, crashed, boots)
			if went > 1 || s.reboots && w.machine.boot == 0 {
				base.Errorf("%s: the agent has rebooted the machine %d times: %s", name, went, strings.Join(w.machine.calls, ", "))
			}
			return c.points
		}
	}
	base.Fatalf("%s: still %s after %d steps", name, w.agent.State(), mostSteps)
	return nil
}

// settled demands what must be true when nothing is left to do.
func (w *world) settled(c *crashing, name string, crashed, boots bool) {
	w.Helper()
	state, err := w.group.State(w.Context())
	if err != nil || len(state.Holders) != 0 || state.Waiting != 0 && !boots {
		w.Errorf("%s: at the end %+v, %v", name, state, err)
	}
	// Whoever was drained was put to work again after it.
	drained := false
	for _, call := range w.machine.calls {
		drained = call == "before" || drained && !strings.HasPrefix(call, "after")
	}
	if drained {
		w.Errorf("%s: the machine was left drained: %s", name, strings.Join(w.machine.calls, ", "))
	}
	if c.at > 0 && !crashed {
		w.Errorf("%s: the crash did not come about", name)
	}
}
