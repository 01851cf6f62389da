package recipes

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/recipes/fence"
)

// refusal is a call with bad input. want is what its error is, nil for any.
type refusal struct {
	what string
	call func(context.Context) error
	want error
}

// refuse makes the calls: each returns an error, and soon, and none stores anything.
func (f *fixture) refuse(calls []refusal) {
	f.Helper()
	at := f.revision()
	for _, c := range calls {
		ctx, cancel := context.WithTimeout(f.Context(), 20*time.Second)
		err := c.call(ctx)
		switch {
		case err == nil:
			f.Errorf("%s: no error", c.what)
		case errors.Is(err, context.DeadlineExceeded):
			f.Errorf("%s: it was tried again and again", c.what)
		case c.want != nil && !errors.Is(err, c.want):
			f.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		cancel()
		if now := f.revision(); now != at {
			f.Errorf("%s: %d commits", c.what, now-at)
			at = now
		}
	}
}

// fails is a call of which only the error matters.
func fails[T any](call func(context.Context) (T, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := call(ctx)
		return err
	}
}

// uses are one use, at least, of each kind with a name and a prefix.
func (f *fixture) uses(s *Session, name, prefix string) map[string]func(context.Context) error {
	locks, queue := &MutexOptions{Prefix: prefix}, &QueueOptions{Prefix: prefix + "-queues"}
	m, rw := NewMutex(s, name, locks), NewRWMutex(s, name, locks)
	sem := NewSemaphore(s, name, &SemaphoreOptions{Prefix: prefix + "-semaphores", Limit: 1})
	e := NewElection(s, name, &ElectionOptions{Prefix: prefix + "-elections"})
	b := NewBarrier(s, name, &BarrierOptions{Prefix: prefix + "-barriers"})
	l := NewLatch(s, name, &LatchOptions{Prefix: prefix + "-latches"})
	q := NewQueue(s, name, queue)
	return map[string]func(context.Context) error{
		"Mutex.Lock": fails(m.Lock), "Mutex.TryLock": fails(m.TryLock),
		"RWMutex.Lock": fails(rw.Lock), "RWMutex.RLock": fails(rw.RLock),
		"LockAll":             func(ctx context.Context) error { _, err := LockAll(ctx, m); return err },
		"Semaphore.Acquire":   fails(acquire(sem, 1)),
		"Semaphore.SetLimit":  func(ctx context.Context) error { return sem.SetLimit(ctx, 1) },
		"Election.Campaign":   func(ctx context.Context) error { _, err := e.Campaign(ctx, "v"); return err },
		"Election.Run":        func(ctx context.Context) error { return e.Run(ctx, "v", nil) },
		"Barrier.Hold":        b.Hold,
		"Barrier.Release":     b.Release,
		"Barrier.Wait":        b.Wait,
		"Latch.Set":           func(ctx context.Context) error { return l.Set(ctx, 1) },
		"Latch.Wait":          l.Wait,
		"Queue.Put":           func(ctx context.Context) error { _, err := q.Put(ctx, nil); return err },
		"Queue.Claim":         fails(q.Claim),
		"DoubleBarrier.Enter": fails(NewDoubleBarrier(s, name, 1, &DoubleBarrierOptions{Prefix: prefix + "-double"}).Enter),
	}
}

func each(of string, uses map[string]func(context.Context) error, want error) (calls []refusal) {
	for what, call := range uses {
		calls = append(calls, refusal{what + " with " + of, call, want})
	}
	return calls
}

func TestBadNamesAndPrefixes(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		prefix := f.options.Prefix
		f.refuse(each("no name", f.uses(f.session, "", prefix), ErrInvalidName))
		f.refuse(each("a name of 10 KiB", f.uses(f.session, strings.Repeat("n", 10<<10), prefix), ErrInvalidName))
		f.refuse(each("a prefix of 300 bytes", f.uses(f.session, "one", strings.Repeat("p", 300)), nil))
	})
}

// Every other name is a name, and none is another's.
func TestOddNames(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		names := []string{"a", "a/b", "a%2Fb", "%", "a%", "\x00", "a\x00", "\xff\xfe", "q", "h", "..", " ", strings.Repeat("/", MaxNameBytes)}
		for _, name := range names {
			if h, err := f.mutex(f.session, name).TryLock(f.Context()); err != nil || h.Token().IsZero() {
				f.Errorf("%.20q: %v", name, err)
			}
		}
		all, err := List(f.Context(), f.client, f.options.Prefix)
		if err != nil || len(all) != len(names) {
			f.Fatalf("listed %d names, %v", len(all), err)
		}
		for _, l := range all {
			if outline(l.Places) != "holding" {
				f.Errorf("%.20q: %s", l.Name, outline(l.Places))
			}
			names = without(names, l.Name)
		}
		if len(names) > 0 {
			f.Errorf("not listed are %q", names)
		}
	})
}

func without(names []string, name string) (rest []string) {
	for _, n := range names {
		if n != name {
			rest = append(rest, n)
		}
	}
	return rest
}

func TestBadSessions(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		open := func(o SessionOptions) func(context.Context) error {
			return func(ctx context.Context) error { _, err := NewSession(ctx, f.client, &o); return err }
		}
		var calls []refusal
		for what, o := range map[string]SessionOptions{
			"a negative TTL": {TTLSeconds: -1}, "the least TTL": {TTLSeconds: -1 << 63},
			"a huge TTL": {TTLSeconds: MaxTTLSeconds + 1}, "the largest TTL": {TTLSeconds: 1<<63 - 1},
			"a negative drift": {MaxDrift: -0.1}, "a drift above a half": {MaxDrift: 0.6}, "no drift at all": {MaxDrift: math.NaN()},
			"a negative delay": {LockDelay: -1}, "a huge delay": {LockDelay: MaxLockDelay + 1},
			"a long identity": {Identity: strings.Repeat("i", MaxIdentityBytes+1)},
		} {
			calls = append(calls, refusal{what, open(o), nil})
		}
		f.refuse(append(calls, []refusal{
			{"no client", func(ctx context.Context) error { _, err := NewSession(ctx, nil, nil); return err }, nil},
			{"Run without a client", func(ctx context.Context) error { return Run(ctx, nil, nil, nil) }, nil},
			{"resumed without a client", func(ctx context.Context) error { _, err := ResumeSession(ctx, nil, 1, nil); return err }, nil},
			{"no lease", func(ctx context.Context) error { _, err := ResumeSession(ctx, f.client, 0, nil); return err }, ErrLeaseGone},
			{"a negative lease", func(ctx context.Context) error { _, err := ResumeSession(ctx, f.client, -1, nil); return err }, ErrLeaseGone},
			{"a delay that cannot be resumed", func(ctx context.Context) error {
				_, err := ResumeSession(ctx, f.client, f.session.Lease(), &SessionOptions{LockDelay: time.Second})
				return err
			}, nil},
		}...))
		s := openSession(f.T, f.client, 0)
		if s.ttl != DefaultTTLSeconds*time.Second {
			f.Errorf("a TTL of 0 s makes %v", s.ttl)
		}
		h := f.lock(f.mutex(s, "held"))
		s.Close()
		f.refuse(each("a closed session", f.uses(s, "one", f.options.Prefix), ErrSessionClosed))
		f.refuse([]refusal{
			{"Unlock with a closed session", h.Unlock, ErrSessionClosed},
			{"Verify with a closed session", h.Verify, ErrSessionClosed},
			{"AskToRelease with a closed session", func(ctx context.Context) error {
				return s.AskToRelease(ctx, Place{Key: "k", Revision: 1, State: Holding}, "")
			}, ErrSessionClosed},
		})
	})
}

func TestBadLocks(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		ctx, other := f.Context(), openSession(f.T, f.client, 60)
		with := func(o MutexOptions) func(context.Context) error {
			if !o.EtcdLayout {
				o.Prefix = f.options.Prefix
			}
			return fails(NewMutex(f.session, "one", &o).Lock)
		}
		rw, named := f.rw(f.session, "one"), strings.Repeat("0", 31)
		taken := f.must(NewMutex(other, "taken", &MutexOptions{Prefix: f.options.Prefix, Attempt: named + "1"}).Lock(ctx))
		r, gone := f.must(rw.RLock(ctx)), f.must(rw.RLock(ctx))
		m := f.lock(f.mutex(f.session, "mutex"))
		w, foreign := f.must(f.rw(f.session, "two").Lock(ctx)), f.must(f.rw(other, "three").Lock(ctx))
		s := f.must(f.semaphore(f.session, 1).Acquire(ctx, 1))
		f.unlock(gone)
		f.refuse([]refusal{
			{"a prefix that ends in a slash", fails(NewMutex(f.session, "one", &MutexOptions{Prefix: "/p/"}).Lock), nil},
			{"a long reason", with(MutexOptions{Reason: strings.Repeat("r", MaxReasonBytes+1)}), nil},
			{"an attempt that is no id", with(MutexOptions{Attempt: "one"}), nil},
			{"an attempt in capitals", with(MutexOptions{Attempt: named + "A"}), nil},
			{"an attempt of another session", fails(NewMutex(f.session, "taken", &MutexOptions{Prefix: f.options.Prefix, Attempt: taken.entry.attempt()}).TryLock), nil},
			{"a read-write lock in etcd's layout", fails(NewRWMutex(f.session, "one", &MutexOptions{EtcdLayout: true}).Lock), nil},
			{"an attempt in etcd's layout", with(MutexOptions{Attempt: named + "1", EtcdLayout: true}), nil},
			{"Downgrade of another lock's hold", func(ctx context.Context) error { _, err := rw.Downgrade(ctx, w); return err }, errNotOfLock},
			{"Downgrade of a mutex's hold", func(ctx context.Context) error { _, err := f.rw(f.session, "mutex").Downgrade(ctx, m); return err }, errNotOfLock},
			{"Downgrade of a reader", func(ctx context.Context) error { _, err := rw.Downgrade(ctx, r); return err }, errNotOfLock},
			{"Downgrade of another session's hold", func(ctx context.Context) error {
				_, err := f.rw(f.session, "three").Downgrade(ctx, foreign)
				return err
			}, errNotOfLock},
			{"TryUpgrade of a writer", func(ctx context.Context) error { _, err := f.rw(f.session, "two").TryUpgrade(ctx, w); return err }, errNotOfLock},
			{"TryUpgrade of a semaphore's hold", func(ctx context.Context) error { _, err := rw.TryUpgrade(ctx, s); return err }, errNotOfLock},
			{"TryUpgrade of what was unlocked", func(ctx context.Context) error { _, err := rw.TryUpgrade(ctx, gone); return err }, ErrUnlocked},
			{"Verify of what was unlocked", gone.Verify, ErrUnlocked},
			{"the same lock twice", func(ctx context.Context) error {
				_, err := LockAll(ctx, f.mutex(f.session, "a"), f.mutex(f.session, "b"), f.mutex(other, "a"))
				return err
			}, nil},
			{"asking nobody", func(ctx context.Context) error { return f.session.AskToRelease(ctx, Place{}, "") }, nil},
			{"asking a place without a revision", func(ctx context.Context) error {
				return f.session.AskToRelease(ctx, Place{Key: f.options.Prefix, State: Holding}, "")
			}, nil},
			{"asking at length", func(ctx context.Context) error {
				return f.session.AskToRelease(ctx, Place{Key: r.Key(), Revision: r.granted, Lease: f.session.lease, State: Holding}, strings.Repeat("r", MaxReasonBytes+1))
			}, nil},
		})
		at := f.revision()
		if err := gone.Unlock(ctx); err != nil || f.revision() != at {
			f.Errorf("Unlock again: %v, %d commits", err, f.revision()-at)
		}
		for what, h := range map[string]*Hold{"read": r, "mutex": m, "write": w, "of another session": foreign} {
			if err := h.Verify(ctx); err != nil {
				f.Errorf("bad input took the hold %s: %v", what, err)
			}
		}
	})
}

func TestBadSemaphores(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		limited := func(limit int64) *Semaphore {
			return NewSemaphore(f.session, "new", &SemaphoreOptions{Prefix: f.semaphores(), Limit: limit})
		}
		set := func(limit int64) func(context.Context) error {
			return func(ctx context.Context) error { return limited(0).SetLimit(ctx, limit) }
		}
		f.refuse([]refusal{
			{"a weight of 0", fails(acquire(limited(3), 0)), nil},
			{"a negative weight", fails(acquire(limited(3), -1)), nil},
			{"a weight above the limit", fails(acquire(limited(3), 4)), ErrWeightExceedsLimit},
			{"the largest weight", fails(acquire(limited(3), 1<<63-1)), ErrWeightExceedsLimit},
			{"no limit", fails(acquire(limited(0), 1)), ErrNoLimit},
			{"a negative limit", fails(acquire(limited(-1), 1)), nil},
			{"a huge limit", fails(acquire(limited(MaxLimit+1), 1)), nil},
			{"set to a negative limit", set(-1), nil},
			{"set to a huge limit", set(MaxLimit + 1), nil},
			{"Limit of none", fails(limited(0).Limit), ErrNoLimit},
		})
		for _, garbage := range []string{"abc", "", "-1", "1.5", "99999999999999999999"} {
			f.store(limited(0).path+limitKey, garbage)
			f.refuse([]refusal{{"a stored limit of " + garbage, fails(acquire(limited(1), 1)), nil}, {"Limit of " + garbage, fails(limited(0).Limit), nil}})
		}
		f.store(limited(0).path+limitKey, "2")
		for _, garbage := range []string{"", "no JSON", "{}", `{"slots":"5-3"}`, `{"slots":"0-9999999999"}`, "[]"} {
			f.store(limited(0).path+holdersDir+"x", garbage)
			f.refuse([]refusal{{"a stored holder " + garbage, fails(acquire(limited(0), 1)), nil}})
			if _, err := limited(0).Places(f.Context()); err != nil {
				f.Errorf("Places beside a holder %q: %v", garbage, err)
			}
		}
	})
}

// store puts a value beside the recipes.
func (f *fixture) store(key, value string) {
	f.Helper()
	if _, err := f.client.Put(f.Context(), key, value); err != nil {
		f.Fatal(err)
	}
}

func TestBadElections(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		e, ctx := f.election(f.session), f.Context()
		large := strings.Repeat("v", 3<<20)
		etcds := NewElection(f.session, f.options.Prefix+"/etcds", &ElectionOptions{EtcdLayout: true})
		l, theirs := f.campaign(e, "v"), f.campaign(etcds, "v")
		transfer := func(l *Leadership, to string) func(context.Context) error {
			return func(ctx context.Context) error { return l.Transfer(ctx, to) }
		}
		f.refuse([]refusal{
			{"a transfer to nobody", transfer(l, ""), ErrNoCandidate},
			{"a transfer to garbage", transfer(l, "\x00/%"), ErrNoCandidate},
			{"a transfer to a path", transfer(l, e.path+queueDir), ErrNoCandidate},
			{"a transfer to oneself", transfer(l, l.Key()), ErrNoCandidate},
			{"a transfer to one's own candidacy", transfer(l, e.path+queueDir+l.hold.entry.attempt()), ErrNoCandidate},
			{"a transfer in etcd's layout", transfer(theirs, "x"), nil},
			{"a candidate of 3 MiB", func(ctx context.Context) error { _, err := e.Campaign(ctx, large); return err }, nil},
			{"a proclamation of 3 MiB", func(ctx context.Context) error { return l.Proclaim(ctx, large) }, nil},
			{"a prefix in etcd's layout", func(ctx context.Context) error {
				_, err := NewElection(f.session, "one", &ElectionOptions{Prefix: "/p", EtcdLayout: true}).Campaign(ctx, "v")
				return err
			}, nil},
			{"a long reason", func(ctx context.Context) error {
				_, err := NewElection(f.session, "one", &ElectionOptions{Prefix: f.options.Prefix, Reason: large}).Campaign(ctx, "v")
				return err
			}, nil},
		})
		for _, leading := range []*Leadership{l, theirs} {
			if err := leading.Verify(ctx); err != nil {
				f.Errorf("bad input ended the leadership: %v", err)
			}
			f.resign(leading)
		}
		f.refuse([]refusal{
			{"Proclaim after Resign", func(ctx context.Context) error { return l.Proclaim(ctx, "v") }, ErrUnlocked},
			{"Transfer after Resign", transfer(l, e.path+queueDir+newAttemptID()), ErrUnlocked},
			{"Leader of nobody", fails(e.Leader), ErrNoLeader},
		})
	})
}

func TestBadQueues(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		q := f.workQueue(f.session)
		put := func(value string) func(context.Context) error {
			return func(ctx context.Context) error { _, err := q.Put(ctx, []byte(value)); return err }
		}
		f.refuse([]refusal{
			{"an item of 3 MiB", put(strings.Repeat("v", 3<<20)), nil},
			{"TryClaim of nothing", fails(q.TryClaim), ErrLocked},
			{"a long reason", fails(NewQueue(f.session, "one", &QueueOptions{Reason: strings.Repeat("r", MaxReasonBytes+1)}).Claim), nil},
		})
		for _, garbage := range []string{"", "x", "-1", "18446744073709551615", "18446744073709551616"} {
			f.store(q.path+lastKey, garbage)
			f.refuse([]refusal{{"a last number of " + garbage, put("v"), ErrNotQueue}})
		}
		f.store(q.path+lastKey, "7")
		f.put(q, "v")
		d := f.claim(q)
		f.ack(d)
		f.refuse([]refusal{{"Ack twice", d.Ack, ErrUnlocked}})
		if err := d.Unlock(f.Context()); err != nil {
			f.Errorf("Unlock after Ack: %v", err)
		}
		f.store(q.path+itemsDir+"garbage", "v")
		if d := f.claim(q); d.Item != "garbage" {
			f.Errorf("claimed %q", d.Item)
		} else {
			f.ack(d)
		}
	})
}

func TestBadGates(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		barrier := func(o BarrierOptions) func(context.Context) error { return NewBarrier(f.session, "one", &o).Hold }
		parties := func(n int) func(context.Context) error {
			return fails(NewDoubleBarrier(f.session, "one", n, &DoubleBarrierOptions{Prefix: f.options.Prefix}).Enter)
		}
		long, l := strings.Repeat("r", MaxReasonBytes+1), f.latch(f.session, "one")
		set := func(n int) func(context.Context) error {
			return func(ctx context.Context) error { return l.Set(ctx, n) }
		}
		down := func(id string) func(context.Context) error {
			return func(ctx context.Context) error { return l.CountDown(ctx, id) }
		}
		f.refuse([]refusal{
			{"a barrier's long reason", barrier(BarrierOptions{Reason: long}), nil},
			{"a barrier's prefix that ends in a slash", barrier(BarrierOptions{Prefix: "/p/"}), nil},
			{"no parties", parties(0), nil}, {"-1 parties", parties(-1), nil}, {"too many parties", parties(MaxParties + 1), nil},
			{"a double barrier's long reason", fails(NewDoubleBarrier(f.session, "one", 1, &DoubleBarrierOptions{Reason: long}).Enter), nil},
			{"a count of 0", set(0), nil}, {"a count of -1", set(-1), nil}, {"a huge count", set(MaxLatchCount + 1), nil},
			{"CountDown without a latch", down("a"), ErrNoLatch}, {"Wait without a latch", l.Wait, ErrNoLatch},
		})
		f.set(l, 3)
		f.refuse([]refusal{
			{"no operation", down(""), ErrInvalidName}, {"a long operation", down(strings.Repeat("o", 10<<10)), ErrInvalidName},
			{"another count", set(2), ErrLatchCount},
		})
		for _, id := range []string{"\x00", "a/b", "\xff"} {
			if err := l.CountDown(f.Context(), id); err != nil {
				f.Errorf("operation %q: %v", id, err)
			}
		}
		f.remaining(l, 0)
		for _, garbage := range []string{"many", "0", "-3", "99999999999999999999"} {
			f.store(l.cell().key, garbage)
			f.refuse([]refusal{
				{"CountDown from " + garbage, down("a"), nil}, {"Wait from " + garbage, l.Wait, nil},
				{"Set beside " + garbage, set(3), ErrLatchCount}, {"Count of " + garbage, fails(l.Count), nil},
			})
		}
	})
}

// Somebody writes garbage where a round's outcome belongs, while a party waits for it.
func TestBadOutcomeBreaksTheRound(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		b := NewDoubleBarrier(f.session, "one", 2, &DoubleBarrierOptions{Prefix: f.options.Prefix})
		done := make(chan error, 1)
		go func() { done <- fails(b.Enter)(f.Context()) }()
		f.awaitKeys(b.rounds(), 1)
		dir, _, _ := strings.Cut(f.below(b.rounds())[0], memberDir)
		f.store(dir+"outcome", "garbage")
		if err := <-done; !errors.Is(err, ErrBarrierBroken) {
			f.Errorf("Enter: %v", err)
		}
	})
}

func TestBadEpoch(t *testing.T) {
	f := newOwnStoreFixture(t)
	f.store(EpochKey, "garbage")
	f.refuse([]refusal{
		{"a session beside garbage", func(ctx context.Context) error { _, err := NewSession(ctx, f.client, nil); return err }, nil},
		{"raising garbage", func(ctx context.Context) error { _, err := BumpEpoch(ctx, f.client); return err }, nil},
	})
	if leases, err := f.client.Leases(f.Context()); err != nil || len(leases.Leases) != 1 {
		t.Errorf("leases are %v, %v", leases, err)
	}
}

// Two clusters have a lock of one name; what is guarded for the one is not for holders of the other.
func TestTokenOfAnotherCluster(t *testing.T) {
	ours, theirs := newFixture(t), newOwnStoreFixture(t)
	theirs.options = ours.options
	a, b := ours.lock(ours.mutex(ours.session, "one")).Token(), theirs.lock(theirs.mutex(theirs.session, "one")).Token()
	guard := fence.NewGuard(a.Fields().Resource)
	if err := guard.Advance(a); err != nil {
		t.Fatal(err)
	}
	if err := guard.Do(b, func() error { panic("admitted") }); !errors.Is(err, fence.ErrIncomparable) {
		t.Errorf("a token of another cluster: %v", err)
	}
	text := a.String()
	for _, mangled := range []string{"", text[1:], text[:len(text)-1] + "\x00", text + " ", text + text, strings.ToUpper(text), strings.Replace(text, ":x:", ":s", 1)} {
		if token, err := fence.Parse(mangled); !errors.Is(err, fence.ErrMalformed) {
			t.Errorf("%q is read as %s, %v", mangled, token, err)
		}
	}
	if token, err := fence.Parse(text); err != nil || token != a {
		t.Errorf("%q is read as %s, %v", text, token, err)
	}
}
