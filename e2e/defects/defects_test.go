// Package defects plays the defects of today's lock libraries on real servers: with etcd's own packages each of them
// shows, with recipes none does. The numbers are those of docs/TESTING.md.
package defects

import (
	"context"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The key of a place in the queue is the lease, so two locks of one session share it, and both have the lock.
func TestD1TwoLocksOfOneSession(t *testing.T) {
	onEachArm(t, func(r *rig) (defect string) {
		s := r.open()
		first := r.must(s.lock(r.Context(), r.name))
		second := r.enter(r.library.lockDir(r.name), s.lock)
		select {
		case o := <-second:
			r.must(o.hold, o.err)
			return "both of one session hold the lock"
		default:
		}
		if r.free(s, r.name) {
			return "a third of the session got the lock"
		}
		r.release(first)
		o := await(r, second)
		r.must(o.hold, o.err)
		return ""
	})
}

// A TryLock that loses deletes the place of its session's waiter. When the place is taken again the waiter finds the key
// it looks for, and does not see that it is another.
func TestD2LosingTryLock(t *testing.T) {
	onEachArm(t, func(r *rig) (defect string) {
		dir := r.library.lockDir(r.name)
		holder, session, other := r.open(), r.open(), r.open()
		first := r.must(holder.lock(r.Context(), r.name))
		second := r.enter(dir, session.lock)
		if r.free(session, r.name) {
			r.Fatal("the lock was free")
		}
		third := r.enter(dir, other.lock)
		r.enter(dir, session.lock)
		r.release(first)
		got := await(r, second)
		r.must(got.hold, got.err)
		if owner := r.keys(dir)[0]; owner == got.hold.key() {
			return ""
		}
		o := await(r, third)
		r.must(o.hold, o.err)
		return "two sessions hold the lock"
	})
}

// A candidate does not look at its own key when the way is free: that of a dead session is elected.
func TestD3PhantomLeader(t *testing.T) {
	onEachArm(t, func(r *rig) (defect string) {
		dir := r.library.electionDir(r.name)
		campaign := func(s session) acquisition {
			return func(ctx context.Context, name string) (hold, error) { return s.campaign(ctx, name, "") }
		}
		leader, dead := r.open(), r.open()
		first := r.must(leader.campaign(r.Context(), r.name, ""))
		second := r.enter(dir, campaign(dead))
		r.kill(dead)
		r.release(first)
		if o := await(r, second); o.err != nil {
			return ""
		}
		if keys := r.keys(dir); len(keys) != 0 {
			r.Fatalf("candidates are %v", keys)
		}
		r.must(r.open().campaign(r.Context(), r.name, ""))
		return "the candidate of a dead session leads, and another one too"
	})
}

// A writer does not look at its own key either.
func TestD4TwoWriters(t *testing.T) {
	onEachArm(t, func(r *rig) (defect string) {
		dir := r.library.lockDir(r.name)
		holder, dead, other := r.open(), r.open(), r.open()
		first := r.must(holder.lockToWrite(r.Context(), r.name))
		second := r.enter(dir, dead.lockToWrite)
		r.kill(dead)
		third := r.enter(dir, other.lockToWrite)
		r.release(first)
		o := await(r, third)
		r.must(o.hold, o.err)
		if o := await(r, second); o.err != nil {
			return ""
		}
		return "two sessions write"
	})
}

// Whoever waits at a barrier passes when the watch ends, for whatever reason.
func TestD5BarrierWithoutWatch(t *testing.T) {
	t.Run("cancelled", func(t *testing.T) {
		onEachArm(t, func(r *rig) (defect string) {
			w := newWatches(2)
			return passes(r, w, r.open(w.option()))
		})
	})
	// What the client wants to see since it looked is compacted before it watches.
	t.Run("compacted", func(t *testing.T) {
		onEachArm(t, func(r *rig) (defect string) {
			w := newWatches(0)
			compact := r.afterFirst(reads(r.name), func() error {
				revision, err := r.put()
				if err != nil {
					return err
				}
				w.compactedTo(revision)
				_, err = r.operator.Compact(r.Context(), revision)
				return err
			})
			return passes(r, w, r.open(w.option(), compact))
		})
	})
}

// passes lets a session wait at a closed barrier until it passes or waits for good.
func passes(r *rig, w *watches, s session) (defect string) {
	open, err := r.open().holdBarrier(r.Context(), r.name)
	if err != nil {
		r.Fatal(err)
	}
	passed := make(chan error, 1)
	go func() { passed <- s.awaitBarrier(r.Context(), r.name) }()
	select {
	case err := <-passed:
		if err == nil {
			return "passed the barrier while it was closed"
		}
		r.Fatal(err)
	case <-w.settled:
	}
	if err := open(); err != nil {
		r.Fatal(err)
	}
	if err := await(r, passed); err != nil {
		r.Fatal(err)
	}
	return ""
}

// The store has done what was asked, but nobody heard it: Lock fails, and its key has the lock for as long as the session
// lives.
func TestD6GhostHolder(t *testing.T) {
	ghost := func(ctx context.Context, r *rig, s session) (defect string) {
		if h, err := s.lock(ctx, r.name); err == nil {
			r.release(h)
		}
		if !r.free(r.open(), r.name) {
			return "a Lock that failed has the lock"
		}
		return ""
	}
	t.Run("reply lost", func(t *testing.T) {
		onEachArm(t, func(r *rig) (defect string) {
			return ghost(r.Context(), r, r.open(r.afterFirst(enters, lostReply)))
		})
	})
	t.Run("caller gone", func(t *testing.T) {
		onEachArm(t, func(r *rig) (defect string) {
			ctx, cancel := context.WithCancel(r.Context())
			return ghost(ctx, r, r.open(r.afterFirst(enters, func() error {
				cancel()
				return ctx.Err()
			})))
		})
	})
}

// A name is taken for a directory: who wants "jobs" waits for who has "jobs/nightly".
func TestD7NameWithinAName(t *testing.T) {
	onEachArm(t, func(r *rig) (defect string) {
		r.must(r.open().lock(r.Context(), r.name+"/nightly"))
		if !r.free(r.open(), r.name) {
			return "a lock is taken by who has another"
		}
		return ""
	})
}

// Behind a partition the holder learns of its end after the next one has the lock: its time is counted from when it got
// the last answer, and looked at once a second.
func TestD8HolderKnowsTooLate(t *testing.T) {
	const trials = 16
	onEachArm(t, func(r *rig) (defect string) {
		r.Parallel()
		cable, next := newCable(), r.open()
		defer cable.set(false)
		var holders [trials]session
		var answered [trials]<-chan clientv3.LeaseID
		lock := func(i int) string { return fmt.Sprintf("%s-%d", r.name, i) }
		for i := range trials {
			answers := make(chan clientv3.LeaseID, 64)
			answered[i] = answers
			c := r.client(cable.option(), keptAlive(answers))
			r.openOn(c, 2) // etcd's client looks at its deadlines once a second from its first session on
			holders[i] = r.openOn(c, 2)
			r.must(holders[i].lock(r.Context(), lock(i)))
			time.Sleep(500 * time.Millisecond / trials) // etcd looks for leases that are due that often
		}
		for i, holder := range holders {
			for await(r, answered[i]) != holder.lease() {
			}
		}
		cable.set(true)
		late := make(chan bool, trials)
		for i, holder := range holders {
			go func() {
				_, err := next.lock(r.Context(), lock(i))
				late <- err == nil && !holder.over()
			}()
		}
		n := 0
		for range holders {
			if await(r, late) {
				n++
			}
		}
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("in %d of %d trials the old holder believed that it had the lock when the next one got it", n, trials)
	})
}

// What is given up is a name, not an acquisition: another's place of the same name goes.
func TestUnlockByName(t *testing.T) {
	onEachArm(t, func(r *rig) (defect string) {
		dir := r.library.lockDir(r.name)
		s := r.open()
		first := r.must(s.lock(r.Context(), r.name))
		if _, err := r.operator.Delete(r.Context(), first.key()); err != nil {
			r.Fatal(err)
		}
		r.must(r.open().lock(r.Context(), r.name))
		r.enter(dir, s.lock)
		queued := len(r.keys(dir))
		first.release(r.Context()) // what there is to be said of it is the next test's
		if len(r.keys(dir)) < queued {
			return "the place of a waiter was deleted by who had lost the lock"
		}
		return ""
	})
}

// Unlock says nothing of a lock that was lost before.
func TestUnlockWithoutLock(t *testing.T) {
	onEachArm(t, func(r *rig) (defect string) {
		first := r.must(r.open().lock(r.Context(), r.name))
		if _, err := r.operator.Delete(r.Context(), first.key()); err != nil {
			r.Fatal(err)
		}
		r.must(r.open().lock(r.Context(), r.name))
		if err := first.release(r.Context()); err == nil {
			return "a lock that another one has was released without an error"
		}
		return ""
	})
}

// A waiter whose session has ended goes on waiting.
func TestWaiterOfADeadSession(t *testing.T) {
	onEachArm(t, func(r *rig) (defect string) {
		s := r.open()
		r.must(r.open().lock(r.Context(), r.name))
		waiter := r.enter(r.library.lockDir(r.name), s.lock)
		r.kill(s)
		select {
		case o := <-waiter:
			if o.err == nil {
				r.Fatal("the lock was got")
			}
			return ""
		case <-time.After(r.aMoment):
			return "a waiter without a place waits"
		}
	})
}

// A campaign that failed leaves its key, which is elected when its turn comes.
func TestFailedCampaignIsElected(t *testing.T) {
	onEachArm(t, func(r *rig) (defect string) {
		first := r.must(r.open().campaign(r.Context(), r.name, ""))
		w := newWatches(1)
		s := r.open(w.option())
		second := r.enter(r.library.electionDir(r.name), func(ctx context.Context, name string) (hold, error) {
			return s.campaign(ctx, name, "")
		})
		select {
		case o := <-second:
			if o.err == nil {
				r.Fatal("two lead")
			}
			r.release(first)
			if keys := r.keys(r.library.electionDir(r.name)); len(keys) != 0 {
				return "the oldest candidate is one whose campaign has failed"
			}
			return ""
		case <-w.settled:
		}
		r.release(first)
		o := await(r, second)
		r.must(o.hold, o.err)
		return ""
	})
}

// Observers are not told that nobody leads.
func TestObserverOfNobody(t *testing.T) {
	onEachArm(t, func(r *rig) (defect string) {
		leaders := r.open().observe(r.Context(), r.name)
		first := r.must(r.open().campaign(r.Context(), r.name, "leader"))
		for await(r, leaders) != "leader" {
		}
		r.release(first)
		select {
		case now := <-leaders:
			if now != "" {
				r.Fatalf("%s leads", now)
			}
			return ""
		case <-time.After(r.aMoment):
			return "the last leader is still the leader to an observer"
		}
	})
}
