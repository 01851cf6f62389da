package agent

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordd/coordd/locksmith/slots"
)

// run starts the agent, and returns its states as it enters them and how to end it.
func (w *world) run() (states <-chan string, end func()) {
	heard := make(chan string, 1000)
	was := ""
	w.agent.config.Tell = func(s slots.Status, within time.Duration) {
		if within <= 0 {
			w.Errorf("the agent promises to be heard of within %v", within)
		}
		if s.State != was {
			was = s.State
			heard <- s.State
		}
	}
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	ended := make(chan struct{})
	go func() { defer close(ended); defer close(heard); w.agent.Run(ctx) }()
	return heard, func() { cancel(); <-ended }
}

// await returns when the agent has entered a state.
func (w *world) await(states <-chan string, want State) {
	w.Helper()
	for s := range states {
		if s == want.String() {
			return
		}
	}
	w.Fatalf("the agent has ended in %s before it was %s", w.agent.State(), want)
}

// awaitQueued returns when the machine is in the queue.
func (w *world) awaitQueued() {
	w.Helper()
	for s := (&slots.State{}); s.Waiting == 0; {
		var err error
		if s, err = w.group.State(w.Context()); err != nil {
			w.Fatal(err)
		}
	}
}

// TestRunWakesForASlot has nothing but the watch to wake the agent before its next look.
func TestRunWakesForASlot(t *testing.T) {
	inWorld(t, func(w *world) {
		w.agent.config.Poll = time.Hour
		other := w.take("m0", "locksmithd")
		states, end := w.run()
		defer end()
		w.await(states, Queued)
		w.awaitQueued()
		w.release(other)
		w.await(states, Gone)
		if w.machine.reboots != 1 {
			t.Errorf("%d reboots", w.machine.reboots)
		}
		if resp, err := w.client.Get(t.Context(), "test/"+t.Name()+"/agents/", clientv3.WithPrefix()); err != nil || resp.Count != 1 {
			t.Errorf("a machine that goes down is not heard of any more: %v, %v", resp, err)
		}
	})
}

// TestRunEndsInQueue: who is told to end leaves the queue, and is absent.
func TestRunEndsInQueue(t *testing.T) {
	inWorld(t, func(w *world) {
		w.agent.config.Poll = time.Hour
		w.take("m0", "locksmithd")
		states, end := w.run()
		w.await(states, Queued)
		w.awaitQueued()
		end()
		resp, err := w.client.Get(t.Context(), "test/"+t.Name()+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range resp.Kvs {
			if kv.Lease != 0 {
				t.Errorf("left behind: %s", kv.Key)
			}
		}
		w.waiting(0)
		w.stays()
	})
}

// TestRunWakes: a trigger that tells by itself is asked at once.
func TestRunWakes(t *testing.T) {
	inWorld(t, func(w *world) {
		changed, asked := make(chan struct{}, 1), make(chan struct{}, 100)
		w.agent.config.Poll, w.agent.config.Changed = time.Hour, changed
		w.machine.wanted = nil
		w.machine.onWanted = func() { asked <- struct{}{} }
		states, end := w.run()
		defer end()
		<-asked // and wants nothing
		changed <- struct{}{}
		<-asked
		w.await(states, Idle)
	})
}

// dead is a store that does not answer.
type dead struct{ clientv3.KV }

func (dead) Get(context.Context, string, ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return nil, status.Error(codes.Unavailable, "the store is down")
}

func (dead) Txn(ctx context.Context) clientv3.Txn { return deadTxn{} }

type deadTxn struct{ clientv3.Txn }

func (t deadTxn) If(...clientv3.Cmp) clientv3.Txn  { return t }
func (t deadTxn) Then(...clientv3.Op) clientv3.Txn { return t }
func (deadTxn) Commit() (*clientv3.TxnResponse, error) {
	return nil, status.Error(codes.Unavailable, "the store is down")
}

// TestStoreIsDown: whatever the agent is about, it stays there until the store is back.
func TestStoreIsDown(t *testing.T) {
	for _, at := range []State{Starting, Queued, Holding, Draining, Rebooting, Verifying, Failed, GivingUp} {
		t.Run(at.String(), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.leadTo(at)
				reboots := w.machine.reboots
				alive := w.client.KV
				w.client.KV = dead{alive}
				for range 3 {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
					w.agent.Step(ctx, w.now)
					cancel()
					if w.agent.State() != at || w.machine.reboots != reboots {
						t.Fatalf("%s without a store, %d reboots", w.agent.State(), w.machine.reboots)
					}
				}
				w.client.KV = alive
				w.machine.sick = ""
				for range 20 {
					if _, err := w.agent.Step(t.Context(), w.now); err != nil {
						t.Fatal(err)
					}
					if s := w.agent.State(); s == Gone {
						w.boot()
					} else if s == Idle && len(w.machine.wanted) == 0 || s == BackingOff {
						w.phases()
						return
					}
				}
				t.Errorf("still %s with a store", w.agent.State())
			})
		})
	}
}

// leadTo brings the agent into a state.
func (w *world) leadTo(at State) {
	w.Helper()
	switch at {
	case Starting: // of a machine that has come back
		w.toLastMoment()
		w.steps(Rebooting, Gone)
		w.boot()
		return
	case Verifying, Failed:
		w.toLastMoment()
		w.steps(Rebooting, Gone)
		w.machine.sick, w.health.Deadline = "nginx is not running", time.Minute
		w.boot()
		w.steps(Verifying)
		if at == Failed {
			w.now = w.now.Add(time.Hour)
			w.steps(Failed)
		}
		return
	case GivingUp:
		w.machine.refuse = errRefused
		w.toLastMoment()
		w.steps(Rebooting, GivingUp)
		return
	}
	path := []State{Idle, Queued, Holding, Draining, Rebooting}
	for _, s := range path {
		w.steps(s)
		if s == at {
			break
		}
	}
	if at == Rebooting {
		w.steps(Rebooting) // looked, and about to verify the slot
	}
}
