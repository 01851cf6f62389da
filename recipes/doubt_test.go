package recipes

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What a request does that arrives when nobody expects it any more. Each of these tests takes a transaction out of the
// line, lets its repetition do the work, and delivers the first one late.

// holdBack takes the next transaction that is as which says, and fails it. The function returned delivers it.
func (f *fixture) holdBack(faults *faults, which func(*pb.TxnRequest) bool) (deliver func()) {
	var held func(context.Context) error
	faults.set(func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		if !which(req) {
			return send(ctx)
		}
		held = send
		faults.set(nil)
		return lostReply()
	})
	return func() {
		f.Helper()
		if held == nil {
			f.Fatal("nothing was held back")
		}
		if err := held(f.Context()); err != nil {
			f.Fatal(err)
		}
	}
}

// puts is for a transaction that puts a key below a directory.
func puts(dir string) func(*pb.TxnRequest) bool {
	return func(req *pb.TxnRequest) bool {
		for _, op := range req.Success {
			if key := string(op.GetRequestPut().GetKey()); len(key) > 2*attemptBytes && isAttemptID(key[len(key)-2*attemptBytes:]) {
				if at := len(key) - 2*attemptBytes - len(dir); at > 0 && key[at:at+len(dir)] == dir {
					return true
				}
			}
		}
		return false
	}
}

func (f *fixture) empty(path string, dirs ...string) {
	f.Helper()
	for _, dir := range dirs {
		if n := f.countKeys(path + dir); n != 0 {
			f.Errorf("%d keys are left in %s", n, path+dir)
		}
	}
}

func TestLatePlaceInTheQueueOfASemaphore(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	s, ctx := f.semaphore(f.session, 1), t.Context()
	first := f.must(s.Acquire(ctx, 1))
	deliver := f.holdBack(&faults, puts(queueDir))
	later := f.later(acquire(s, 1))
	f.awaitWaiting(s, 1)
	f.unlock(first)
	f.unlock(f.await(later))
	deliver()
	f.empty(s.path, queueDir, holdersDir)
}

func TestLateWriterAfterADowngrade(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	m, other, ctx := f.rw(f.session, "one"), f.rw(openSession(t, f.client, 60), "one"), t.Context()
	deliver := f.holdBack(&faults, puts(writersDir))
	reading := f.must(m.Downgrade(ctx, f.must(m.Lock(ctx))))
	beside := f.must(other.RLock(ctx))
	deliver()
	if _, err := m.TryUpgrade(ctx, reading); !errors.Is(err, ErrLocked) {
		t.Fatalf("upgraded beside a reader: %v", err)
	}
	f.unlock(beside)
	f.unlock(reading)
	f.empty(m.path, queueDir)
}

func TestLateUpgradeAfterADowngrade(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	m, ctx := f.rw(f.session, "one"), t.Context()
	reading := f.must(m.RLock(ctx))
	deliver := f.holdBack(&faults, puts(writersDir))
	reading = f.must(m.Downgrade(ctx, f.must(m.TryUpgrade(ctx, reading))))
	deliver()
	f.unlock(reading)
	f.empty(m.path, queueDir)
}

func TestLateReaderAfterAnUpgrade(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	m, ctx := f.rw(f.session, "one"), t.Context()
	deliver := f.holdBack(&faults, puts(readersDir))
	f.unlock(f.must(m.TryUpgrade(ctx, f.must(m.RLock(ctx)))))
	deliver()
	f.empty(m.path, queueDir)
}

func TestLateLeaderAfterATransfer(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	ctx := t.Context()
	e := NewElection(f.session, "one", &ElectionOptions{Prefix: f.options.Prefix})
	deliver := f.holdBack(&faults, puts(holdersDir))
	first, err := e.Campaign(ctx, "first")
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan *Leadership, 1)
	go func() {
		l, err := e.Campaign(ctx, "second")
		if err != nil {
			t.Error(err)
		}
		second <- l
	}()
	f.awaitKeys(e.path+queueDir, 2) // a candidate has two keys
	places, err := e.Places(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Transfer(ctx, places[1].Key); err != nil {
		t.Fatal(err)
	}
	if err := (<-second).Resign(ctx); err != nil {
		t.Fatal(err)
	}
	deliver()
	if now, err := e.Leader(ctx); !errors.Is(err, ErrNoLeader) {
		t.Errorf("%v leads, %v", now.KV, err)
	}
}

// A candidate that gives up in the moment in which the leadership is transferred to it must not lead without knowing.
func TestTransferToWhoGivesUp(t *testing.T) {
	var faults faults
	f := newFixture(t)
	ctx, giveUp := context.WithCancel(t.Context())
	candidate := openSession(t, dial(t, startServer(t), faults.option()), 60)
	options := &ElectionOptions{Prefix: f.options.Prefix}
	e := NewElection(f.session, "one", options)
	leader, err := e.Campaign(t.Context(), "leader")
	if err != nil {
		t.Fatal(err)
	}
	given := make(chan error, 1)
	go func() {
		_, err := NewElection(candidate, "one", options).Campaign(ctx, "candidate")
		given <- err
	}()
	f.awaitKeys(e.path+queueDir, 2)
	places, err := e.Places(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	faults.set(func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		if isRemoval(req) {
			once.Do(func() {
				if err := leader.Transfer(t.Context(), places[1].Key); err != nil {
					t.Error(err)
				}
			})
		}
		return send(ctx)
	})
	giveUp()
	if err := <-given; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if now, err := e.Leader(t.Context()); !errors.Is(err, ErrNoLeader) {
		t.Errorf("%v leads, %v", now.KV, err)
	}
}

func TestLateProclaimAndLateLimit(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	ctx := t.Context()
	e := NewElection(f.session, "one", &ElectionOptions{Prefix: f.options.Prefix})
	l, err := e.Campaign(ctx, "start")
	if err != nil {
		t.Fatal(err)
	}
	s := f.semaphore(f.session, 1)
	deliver := f.holdBack(&faults, func(*pb.TxnRequest) bool { return true })
	for _, value := range []string{"old", "new"} {
		if err := l.Proclaim(ctx, value); err != nil {
			t.Fatal(err)
		}
	}
	deliver()
	if now, err := e.Leader(ctx); err != nil || string(now.KV.Value) != "new" {
		t.Errorf("proclaimed is %v, %v", now.KV, err)
	}
	deliver = f.holdBack(&faults, func(*pb.TxnRequest) bool { return true })
	for _, limit := range []int64{3, 5} {
		if err := s.SetLimit(ctx, limit); err != nil {
			t.Fatal(err)
		}
	}
	deliver()
	if limit, err := s.Limit(ctx); limit != 5 || err != nil {
		t.Errorf("limit %d, %v", limit, err)
	}
}

// Two consumers must not work on one item because a third does not know whether it gave the item back.
func TestGivingBackTwiceLeavesTheNextClaim(t *testing.T) {
	var faults faults
	f := newFixture(t)
	q, ctx := f.workQueue(f.session), t.Context()
	f.put(q, "a")
	first := f.claim(f.workQueue(openSession(t, dial(t, startServer(t), faults.option()), 60)))
	var once sync.Once
	var second *Delivery
	faults.set(func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		err := send(ctx)
		once.Do(func() { second, err = f.claim(q), lostReply() })
		return err
	})
	f.unlock(first.Hold)
	if _, err := q.TryClaim(ctx); !errors.Is(err, ErrLocked) {
		t.Errorf("the item is claimed twice: %v", err)
	}
	f.ack(second)
	f.empty(q.path, claimsDir, holdersDir, itemsDir)
}

// The same of a consumer that does not know whether it ever had it.
func TestGivenUpClaimLeavesTheNext(t *testing.T) {
	var faults faults
	f := newFixture(t)
	q := f.workQueue(f.session)
	f.put(q, "a")
	ctx, cancel := context.WithCancel(t.Context())
	var second *Delivery
	var deliver func(context.Context) error
	faults.set(func(_ context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		if puts(holdersDir)(req) {
			faults.set(nil)
			deliver, second = send, f.claim(q)
			cancel()
			return lostReply()
		}
		return send(ctx)
	})
	if _, err := f.workQueue(openSession(t, dial(t, startServer(t), faults.option()), 60)).Claim(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := q.TryClaim(t.Context()); !errors.Is(err, ErrLocked) {
		t.Errorf("the item is claimed twice: %v", err)
	}
	f.unlock(second.Hold)
	if err := deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.ack(f.claim(q))
	f.empty(q.path, claimsDir, holdersDir, itemsDir)
}

// What was given up cannot be taken again under its name: a process that begins it late must find that out, and at once.
func TestAttemptGivenUpIsOver(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	m, s, e := *f.options, SemaphoreOptions{Prefix: f.semaphores(), Limit: 1}, ElectionOptions{Prefix: f.options.Prefix + "-elections"}
	m.Attempt, s.Attempt, e.Attempt = newAttemptID(), newAttemptID(), newAttemptID()
	campaign := func(ctx context.Context) (*Hold, error) {
		l, err := NewElection(f.session, "one", &e).Campaign(ctx, "")
		if err != nil {
			return nil, err
		}
		return l.hold, nil
	}
	for what, take := range map[string]func(context.Context) (*Hold, error){
		"lock": NewMutex(f.session, "one", &m).Lock, "try": NewMutex(f.session, "two", &m).TryLock, "read": NewRWMutex(f.session, "three", &m).RLock,
		"semaphore": acquire(NewSemaphore(f.session, "one", &s), 1), "election": campaign,
	} {
		f.unlock(f.must(take(ctx)))
		if _, err := take(ctx); !errors.Is(err, ErrLost) || !errors.Is(err, ErrKeyDeleted) {
			t.Errorf("%s: taken again: %v", what, err)
		}
	}
	f.empty(f.options.Prefix, "/one"+queueDir, "/two"+queueDir, "/three"+queueDir, "-semaphores/one"+queueDir, "-elections/one"+queueDir)
	rw := NewRWMutex(f.session, "four", &m)
	f.must(rw.RLock(ctx))
	if _, err := rw.Lock(ctx); !errors.Is(err, ErrKeyDeleted) {
		t.Errorf("a reader's attempt goes on as a writer's: %v", err)
	}
}

func TestAskedReaderUpgrades(t *testing.T) {
	f := newFixture(t)
	m, ctx := f.rw(f.session, "one"), t.Context()
	reading := f.must(m.RLock(ctx))
	places, err := m.Places(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.session.AskToRelease(ctx, places[0], "please"); err != nil {
		t.Fatal(err)
	}
	<-reading.ReleaseAsked()
	f.unlock(f.must(m.TryUpgrade(ctx, reading)))
	f.empty(m.path, queueDir)
}

func TestChangedEpochEndsUpgradesAndTransfers(t *testing.T) {
	f := newOwnStoreFixture(t)
	ctx := t.Context()
	m := f.rw(f.session, "one")
	reading := f.must(m.RLock(ctx))
	if _, err := f.client.Put(ctx, EpochKey, "7"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.TryUpgrade(ctx, reading); !errors.Is(err, ErrEpochChanged) {
		t.Errorf("upgraded in another epoch: %v", err)
	}
}

func TestAttachedSessionsHaveEtcdsLayoutOnly(t *testing.T) {
	f := newFixture(t)
	attached := AttachSession(t.Context(), f.client, f.session.Lease())
	defer attached.Close()
	if _, err := f.mutex(attached, "one").Lock(t.Context()); !errors.Is(err, errAttached) {
		t.Errorf("lock: %v", err)
	}
	if _, err := f.semaphore(attached, 1).Acquire(t.Context(), 1); !errors.Is(err, errAttached) {
		t.Errorf("semaphore: %v", err)
	}
}

// What fails for good must not be tried for as long as ctx lives.
func TestTooLargeIsFinal(t *testing.T) {
	f := newFixture(t)
	for _, megabytes := range []int{1, 3} { // the second does not pass the client
		if _, err := f.workQueue(f.session).Put(t.Context(), make([]byte, megabytes<<20+700<<10)); err == nil {
			t.Errorf("%d MiB were put", megabytes)
		}
	}
}

// etcd says that it has no space of a transaction that it has applied: of the one by which the quota was passed.
func TestNoSpaceMayHaveBeenApplied(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	m := f.mutex(f.session, "one")
	faults.set(func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		if err := send(ctx); err != nil || !isEnqueue(req) {
			return err
		}
		faults.set(nil)
		return rpctypes.ErrGRPCNoSpace
	})
	if _, err := m.Lock(t.Context()); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatal(err)
	}
	f.empty(m.path, queueDir)
}

func TestTooManyRequestsPass(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	faults.set(func(context.Context, *pb.TxnRequest, func(context.Context) error) error {
		faults.set(nil)
		return rpctypes.ErrGRPCRequestTooManyRequests
	})
	f.unlock(f.lock(f.mutex(f.session, "one")))
}

// The store may grant a longer TTL than was asked for, and the delay comes behind that.
func TestLockDelayComesBehindTheTTLGranted(t *testing.T) {
	f := newFixture(t)
	s, err := NewSession(t.Context(), f.client, &SessionOptions{TTLSeconds: 1, LockDelay: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	delayed, err := f.client.TimeToLive(t.Context(), s.delayLease)
	if err != nil {
		t.Fatal(err)
	}
	if s.ttl.Seconds() <= 1 {
		t.Skip("the store grants one second")
	}
	if float64(delayed.GrantedTTL) <= s.ttl.Seconds() {
		t.Errorf("the delay's lease has %d s, the session's %v", delayed.GrantedTTL, s.ttl)
	}
}

// growingKV puts a key after each page that is read.
type growingKV struct {
	clientv3.KV
	key string
}

func (kv growingKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := kv.KV.Get(ctx, key, opts...)
	if err == nil {
		_, err = kv.Put(ctx, kv.key, "")
	}
	return resp, err
}

func TestListIsOfOneRevision(t *testing.T) {
	f := newFixture(t)
	prefix := "/" + t.Name()
	var ops []clientv3.Op
	for range 2*listPage + 100 {
		ops = append(ops, clientv3.OpPut(prefix+"/one"+writersDir+newAttemptID(), ""))
		if len(ops) == 100 {
			if _, err := f.client.Txn(t.Context()).Then(ops...).Commit(); err != nil {
				t.Fatal(err)
			}
			ops = nil
		}
	}
	all, err := List(t.Context(), growingKV{f.client, prefix + "/two" + writersDir + newAttemptID()}, prefix)
	if err != nil || len(all) != 1 || len(all[0].Places) != 2*listPage+100 {
		t.Errorf("%d names, %v", len(all), err)
	}
}

func TestLockAllLosesOneMeanwhile(t *testing.T) {
	f := newFixture(t)
	a, b := f.mutex(f.session, "a"), f.mutex(f.session, "b")
	held := f.lock(b)
	done := make(chan error, 1)
	go func() {
		_, err := LockAll(t.Context(), b, a)
		done <- err
	}()
	f.awaitQueue(b, 2)
	if _, err := f.client.Delete(t.Context(), f.queue(a)[0]); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrLost) {
		t.Errorf("locked all: %v", err)
	}
	f.unlock(held)
	f.empty(b.path, queueDir)
}

func TestAttemptOfAnotherSessionStays(t *testing.T) {
	var faults faults
	f := newFixture(t)
	m, s, ctx := *f.options, SemaphoreOptions{Prefix: f.semaphores(), Limit: 1}, t.Context()
	m.Attempt, s.Attempt = newAttemptID(), newAttemptID()
	lock, slot := f.must(NewMutex(f.session, "one", &m).Lock(ctx)), f.must(NewSemaphore(f.session, "one", &s).Acquire(ctx, 1))
	other := openSession(t, dial(t, startServer(t), faults.option()), 60)
	for what, take := range map[string]func(context.Context) (*Hold, error){
		"lock": NewMutex(other, "one", &m).Lock, "semaphore": acquire(NewSemaphore(other, "one", &s), 1),
	} {
		f.holdBack(&faults, func(req *pb.TxnRequest) bool { return puts(writersDir)(req) || puts(holdersDir)(req) })
		if _, err := take(ctx); !errors.Is(err, ErrAttemptTaken) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{"lock": lock.Verify(ctx), "semaphore": slot.Verify(ctx)} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestTryLockOfAnAttemptThatWaits(t *testing.T) {
	f := newFixture(t)
	options, ctx := *f.options, t.Context()
	options.Attempt = newAttemptID()
	m := NewMutex(f.session, "one", &options)
	held := f.lock(f.mutex(f.session, "one"))
	waiting := f.lockLater(ctx, m)
	f.awaitQueue(m, 2)
	if _, err := m.TryLock(ctx); !errors.Is(err, ErrLocked) {
		t.Errorf("TryLock: %v", err)
	}
	if o := <-waiting; !errors.Is(o.err, ErrKeyDeleted) {
		t.Errorf("the place was given up by TryLock, and Lock returned %v", o.err)
	}
	f.unlock(held)
}

// Of those who turn a hold into another at a time, one does.
func TestUpgradesAtATime(t *testing.T) {
	f := newFixture(t)
	m, ctx := f.rw(f.session, "one"), t.Context()
	for range 20 {
		reading := f.must(m.RLock(ctx))
		var turned [4]<-chan outcome
		for i := range turned {
			turned[i] = f.later(func(ctx context.Context) (*Hold, error) { return m.TryUpgrade(ctx, reading) })
		}
		var holds []*Hold
		for _, later := range turned {
			if o := <-later; o.err == nil {
				holds = append(holds, o.hold)
			} else if !errors.Is(o.err, ErrUnlocked) {
				t.Error(o.err)
			}
		}
		if len(holds) != 1 {
			t.Fatalf("%d upgrades of one hold", len(holds))
		}
		if err := holds[0].Verify(ctx); err != nil {
			t.Error(err)
		}
		f.unlock(holds[0])

		reading = f.must(m.RLock(ctx))
		later := f.later(func(ctx context.Context) (*Hold, error) { return m.TryUpgrade(ctx, reading) })
		unlocked := reading.Unlock(ctx)
		if o := <-later; o.err == nil {
			f.unlock(o.hold)
		} else if unlocked != nil {
			t.Errorf("unlock: %v, upgrade: %v", unlocked, o.err)
		}
		f.empty(m.path, queueDir)
	}
}

// Who waits must not take a later look at its own key for one at the key that it waits for.
func TestWaiterLooksAtWhatIsAheadOfIt(t *testing.T) {
	f := newFixture(t)
	m := f.mutex(f.session, "one")
	held := f.lock(m)
	e := m.exclusive()
	ahead, err := e.enqueue(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	f.unlock(held)
	e.recheck()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := e.awaitGone(ctx, *ahead); err != nil {
		t.Errorf("it waits for a key that is gone: %v", err)
	}
	e.abandon()
}
