package recipes

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes/fence"
)

func newKeyValue(key, value string) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value)}
}

// everyNthReplyLost loses the reply of every n-th enqueue or removal, after the store has applied it.
func everyNthReplyLost(n int32) txnFault {
	return everyNthReplyLostOf(n, func(req *pb.TxnRequest) bool { return isEnqueue(req) || isRemoval(req) })
}

func everyNthReplyLostOf(n int32, concerned func(*pb.TxnRequest) bool) txnFault {
	var count atomic.Int32
	return func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		err := send(ctx)
		if concerned(req) && count.Add(1)%n == 0 {
			return errors.Join(err, lostReply())
		}
		return err
	}
}

func TestCommits(t *testing.T) {
	f := newFixture(t)
	m := f.mutex(f.session, "one")
	at := f.revision()
	expect := func(what string, commits int64) {
		t.Helper()
		now := f.revision()
		if now-at != commits {
			t.Errorf("%s took %d commits, want %d", what, now-at, commits)
		}
		at = now
	}
	holder := f.lock(m)
	expect("an uncontended Lock", 1)
	waiter := f.lockLater(t.Context(), m)
	f.awaitQueue(m, 2)
	expect("entering the queue", 1)
	f.unlock(holder)
	next := <-waiter
	if next.err != nil {
		t.Fatal(next.err)
	}
	expect("a handoff", 1)
	if _, err := m.TryLock(t.Context()); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	expect("a losing TryLock", 0)
	f.unlock(next.hold)
	expect("an Unlock", 1)
	f.unlock(next.hold)
	expect("a repeated Unlock", 0)
	if _, err := m.TryLock(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("a winning TryLock", 1)
}

func TestLostReplyOfUnlock(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	m := f.mutex(f.session, "one")
	holder := f.lock(m)
	faults.set(func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		err := send(ctx)
		if isRemoval(req) {
			faults.set(nil)
			return errors.Join(err, lostReply())
		}
		return err
	})
	f.unlock(holder)
	if keys := f.queue(m); len(keys) != 0 {
		t.Fatalf("left behind: %v", keys)
	}
}

func TestUnconfirmedUnlockIsFinishedByTheJanitor(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	m := f.mutex(f.session, "one")
	holder := f.lock(m)
	ctx, cancel := context.WithCancel(t.Context())
	faults.set(func(_ context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		faults.set(nil)
		cancel()
		return lostReply()
	})
	if err := holder.Unlock(ctx); err == nil || errors.Is(err, ErrLost) {
		t.Fatalf("an unlock that was not sent: %v", err)
	}
	if err := holder.Valid(); !errors.Is(err, ErrUnlocked) {
		t.Errorf("Valid after Unlock: %v", err)
	}
	f.awaitQueue(m, 0)
	f.unlock(holder)
}

func TestOperatorDeletesTheHoldersKey(t *testing.T) {
	f := newFixture(t)
	m := f.mutex(f.session, "one")
	holder := f.lock(m)
	if _, err := f.client.Delete(t.Context(), holder.Key()); err != nil {
		t.Fatal(err)
	}
	<-holder.Context().Done()
	var lost *LostError
	if cause := context.Cause(holder.Context()); !errors.As(cause, &lost) || !errors.Is(cause, ErrLost) || !errors.Is(cause, ErrKeyDeleted) {
		t.Errorf("cause is %v", cause)
	}
	for what, err := range map[string]error{"Valid": holder.Valid(), "Verify": holder.Verify(t.Context()), "Unlock": holder.Unlock(t.Context())} {
		if !errors.Is(err, ErrLost) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := f.session.Valid(); err != nil {
		t.Errorf("the session ended too: %v", err)
	}
}

func TestWaiterOfADeadSessionFails(t *testing.T) {
	for what, kill := range map[string]func(*fixture, *Session) error{
		"closed":  func(f *fixture, s *Session) error { return s.Close() },
		"revoked": func(f *fixture, s *Session) error { _, err := f.client.Revoke(f.Context(), s.Lease()); return err },
	} {
		t.Run(what, func(t *testing.T) {
			f := newFixture(t)
			m := f.mutex(f.session, "one")
			holder := f.lock(m)
			other := openSession(t, f.client, 60)
			waiter := f.lockLater(t.Context(), f.mutex(other, "one"))
			f.awaitQueue(m, 2)
			if err := kill(f, other); err != nil {
				t.Fatal(err)
			}
			if o := <-waiter; !errors.Is(o.err, ErrLost) {
				t.Fatalf("Lock returned %v, %v", o.hold, o.err)
			}
			f.unlock(holder)
		})
	}
}

func TestCancelLeavesNoKey(t *testing.T) {
	f := newFixture(t)
	m := f.mutex(f.session, "one")
	holder := f.lock(m)
	ctx, cancel := context.WithCancel(t.Context())
	waiter := f.lockLater(ctx, m)
	f.awaitQueue(m, 2)
	cancel()
	if o := <-waiter; !errors.Is(o.err, context.Canceled) {
		t.Fatalf("Lock returned %v, %v", o.hold, o.err)
	}
	if keys := f.queue(m); len(keys) != 1 || keys[0] != holder.Key() {
		t.Fatalf("queue is %v, held by %s", keys, holder.Key())
	}
	if _, err := m.Lock(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestTokensRise(t *testing.T) {
	f := newFixture(t)
	m := f.mutex(f.session, strings.Repeat("long ", 100))
	var last fence.Token
	for range 5 {
		h := f.lock(m)
		token := h.Token()
		if n := len(token.String()); n > fence.MaxTextBytes {
			t.Errorf("%d bytes: %s", n, token)
		}
		if !last.IsZero() {
			if c, err := last.Compare(token); err != nil || c >= 0 {
				t.Errorf("%s is not above %s: %v", token, last, err)
			}
		}
		last = token
		f.unlock(h)
	}
}

func TestGuardRefusesAStaleHolder(t *testing.T) {
	f := newFixture(t)
	m := f.mutex(f.session, "one")
	write := func(h *Hold) bool {
		resp, err := f.client.Txn(t.Context()).If(h.Guard()).Then(clientv3.OpPut(m.path+"/data", "")).Commit()
		if err != nil {
			t.Fatal(err)
		}
		return resp.Succeeded
	}
	stale := f.lock(m)
	if !write(stale) {
		t.Error("the owner was refused")
	}
	f.unlock(stale)
	owner := f.lock(m)
	if write(stale) {
		t.Error("a stale holder was admitted")
	}
	if !write(owner) {
		t.Error("the next owner was refused")
	}
}

func TestDo(t *testing.T) {
	f := newFixture(t)
	m := f.mutex(f.session, "one")
	failure := errors.New("failure")
	err := m.Do(t.Context(), func(ctx context.Context, token fence.Token) error {
		if keys := f.queue(m); len(keys) != 1 || token.Revision() == 0 {
			t.Errorf("queue is %v, token %s", keys, token)
		}
		return failure
	})
	if !errors.Is(err, failure) || errors.Is(err, ErrLost) {
		t.Errorf("Do returned %v", err)
	}
	err = m.Do(t.Context(), func(ctx context.Context, _ fence.Token) error {
		if _, err := f.client.Delete(t.Context(), f.queue(m)[0]); err != nil {
			t.Error(err)
		}
		<-ctx.Done()
		return nil
	})
	if !errors.Is(err, ErrLost) {
		t.Errorf("Do hid the loss: %v", err)
	}
	func() {
		defer func() { recover() }()
		m.Do(t.Context(), func(context.Context, fence.Token) error { panic("inside") })
	}()
	if keys := f.queue(m); len(keys) != 0 {
		t.Errorf("left behind: %v", keys)
	}
}

func TestHolderMetadata(t *testing.T) {
	f := newFixture(t)
	f.options.Reason = "kernel update"
	h := f.lock(f.mutex(f.session, "one"))
	resp, err := f.client.Get(t.Context(), h.Key())
	if err != nil {
		t.Fatal(err)
	}
	var holder Holder
	if err := json.Unmarshal(resp.Kvs[0].Value, &holder); err != nil {
		t.Fatal(err)
	}
	if holder.Reason != "kernel update" || holder.Host == "" || holder.PID == 0 || holder.Identity == "" || holder.Since.IsZero() {
		t.Errorf("metadata is %+v", holder)
	}
	if clientv3.LeaseID(resp.Kvs[0].Lease) != f.session.Lease() {
		t.Error("the entry has not the session's lease")
	}
}
