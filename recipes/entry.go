package recipes

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// rewatchPause spaces out attempts to watch again after a watch broke.
const rewatchPause = 100 * time.Millisecond

// entry is one attempt's place in a lock's queue.
//
// Removing an entry whose enqueue was not answered must also stop that enqueue from being applied later: it may wait in
// a proxy or in a member for any time. So the removal deletes the key and writes a mark in the same transaction, and
// every enqueue compares that there is no mark. The store puts the two in some order: enqueue first, and its key is
// deleted; removal first, and the enqueue finds the mark. The mark lives as long as the lease, and without the lease the
// put of the enqueue fails. An answered enqueue is not applied twice and needs no mark.
//
// etcd's layout has no room for a mark: every key below the name is a contender. There the janitor keeps an entry in
// doubt and removes it whenever it comes back, until the session has ended.
type entry struct {
	session *Session
	what    string // a word for the errors
	path    string // of the lock or the election
	queue   string // what the keys of all in the queue begin with
	key     string
	mark    string // "" in etcd's layout
	value   string

	// ctx ends with the session, when the key was deleted by somebody, and at Unlock.
	ctx    context.Context
	cancel context.CancelCauseFunc

	// Owned by enqueue, unchanged after it.
	unanswered int   // transactions sent whose outcome is unknown
	revision   int64 // create revision of key, 0 until known
	cluster    uint64
	joined     *mvccpb.KeyValue // of an attached session: the key as it was found, somebody else's to remove

	// answer is the header of the store's last answer that is about the entry.
	answer atomic.Pointer[pb.ResponseHeader]

	// removing says that a removal was sent whose outcome is unknown.
	removing atomic.Bool
}

// place is somebody's key in the queue.
type place struct {
	key      string
	revision int64
}

func (s *Session) newEntry(path, reason string) *entry {
	id := newAttemptID()
	return s.begin(&entry{
		what: "lock", path: path, queue: path + queueDir,
		key: path + queueDir + id, mark: path + abandonedDir + id, value: s.holder(reason),
	})
}

// newEtcdEntry is an attempt in the layout of etcd's lock library: <name>/<lease in hexadecimal>. There all attempts of
// one lease are one; here each has its own key, which changes nothing for others: they look at the prefix and the create
// revision. Attached sessions keep to the letter, for those on whose behalf they act.
func (s *Session) newEtcdEntry(what, name, value string) *entry {
	queue := name + "/"
	key := fmt.Sprintf("%s%x", queue, int64(s.lease))
	if !s.attached {
		key += "-" + newAttemptID()
	}
	return s.begin(&entry{what: what, path: queue, queue: queue, key: key, value: value})
}

func (s *Session) begin(e *entry) *entry {
	e.session = s
	e.ctx, e.cancel = context.WithCancelCause(s.ctx)
	return e
}

func newAttemptID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// enqueue enters the queue and returns who is directly ahead, nil when nobody is. With onlyIfFree it enters only an empty
// queue and returns ErrLocked otherwise. It is repeated until answered: it compares that its key is not there yet.
func (e *entry) enqueue(ctx context.Context, onlyIfFree bool) (ahead *place, err error) {
	created := false
	err = e.session.retry(ctx, func(ctx context.Context) error {
		e.unanswered++
		resp, err := e.enqueueTxn(ctx, onlyIfFree).Commit()
		if err == nil || refused(err) {
			e.unanswered--
		}
		if err != nil {
			return err
		}
		e.cluster = resp.Header.ClusterId
		e.answer.Store(resp.Header)
		created = resp.Succeeded
		// The reads come before the put, so what they return is ahead of it.
		found := first(resp)
		switch {
		case created:
			e.revision, ahead = resp.Header.Revision, placeOf(found)
		case found != nil:
			e.revision = found.CreateRevision
			if e.session.attached {
				e.joined = found
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case e.revision == 0 && onlyIfFree:
		return nil, ErrLocked
	case e.revision == 0:
		return nil, e.lost()
	}
	if created {
		return ahead, nil
	}
	return e.ahead(ctx)
}

func (e *entry) enqueueTxn(ctx context.Context, onlyIfFree bool) clientv3.Txn {
	fresh := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(e.key), "=", 0)}
	if e.mark != "" {
		fresh = append(fresh, clientv3.Compare(clientv3.CreateRevision(e.mark), "=", 0))
	}
	if onlyIfFree {
		fresh = append(fresh, clientv3.Compare(clientv3.CreateRevision(e.queue).WithPrefix(), "=", 0))
	}
	return e.session.client.Txn(ctx).
		If(fresh...).
		Then(e.getLast(), clientv3.OpPut(e.key, e.value, clientv3.WithLease(e.session.lease))).
		Else(clientv3.OpGet(e.key))
}

// getLast reads the youngest entry of the queue, or the youngest of those ahead of e once e has a revision.
func (e *entry) getLast() clientv3.Op {
	opts := append(clientv3.WithLastCreate(), clientv3.WithKeysOnly())
	if e.revision != 0 {
		opts = append(opts, clientv3.WithMaxCreateRev(e.revision-1))
	}
	return clientv3.OpGet(e.queue, opts...)
}

// guard compares that e is still the entry it was when it entered the queue.
func (e *entry) guard() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(e.key), "=", e.revision)
}

// ahead returns who is directly ahead. In the same snapshot e was still in the queue; if it was not, the error is a
// *LostError.
func (e *entry) ahead(ctx context.Context) (*place, error) { return e.read(ctx, e.getLast()) }

// read returns the first key that op finds, in a snapshot in which e is still in the queue.
func (e *entry) read(ctx context.Context, op clientv3.Op) (found *place, err error) {
	err = e.session.retry(ctx, func(ctx context.Context) error {
		resp, err := e.session.client.Txn(ctx).If(e.guard()).Then(op).Commit()
		if err != nil {
			return err
		}
		if !resp.Succeeded {
			return e.lost()
		}
		e.answer.Store(resp.Header)
		found = placeOf(first(resp))
		return nil
	})
	if errors.Is(err, ErrLost) {
		e.cancel(err)
	}
	return found, err
}

// first is the first key of the first response of a transaction, nil when there is none.
func first(resp *clientv3.TxnResponse) *mvccpb.KeyValue {
	if len(resp.Responses) == 0 || len(resp.Responses[0].GetResponseRange().GetKvs()) == 0 {
		return nil
	}
	return resp.Responses[0].GetResponseRange().GetKvs()[0]
}

func placeOf(kv *mvccpb.KeyValue) *place {
	if kv == nil {
		return nil
	}
	return &place{key: string(kv.Key), revision: kv.CreateRevision}
}

// lost is the error of an entry that is not in the queue any more: the session's end if that explains it.
func (e *entry) lost() error {
	if err := e.session.Valid(); err != nil {
		return err
	}
	return &LostError{What: e.what + " " + e.path, Err: ErrKeyDeleted}
}

// acquire enters the queue and returns when e is first. After an error e is given up.
func (e *entry) acquire(ctx context.Context, onlyIfFree bool) error {
	ctx, stop := join(ctx, e.ctx)
	defer stop()
	ahead, err := e.enqueue(ctx, onlyIfFree)
	return e.settle(ctx, ahead, err)
}

// settle is the second half of acquire.
func (e *entry) settle(ctx context.Context, ahead *place, err error) error {
	if err == nil && (ahead != nil || !e.session.attached) {
		e.session.spawn(e.watchOwn)
	}
	if err == nil {
		err = e.wait(ctx, ahead)
	}
	if err == nil {
		err = e.session.Valid()
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx) // nobody is there to hold it
	}
	if err != nil {
		e.abandon()
		return fmt.Errorf("recipes: %s %s: %w", e.what, e.path, err)
	}
	return nil
}

// wait returns nil when e is in the queue with nobody ahead. Only the entry directly ahead is watched, so a release wakes
// one waiter.
func (e *entry) wait(ctx context.Context, ahead *place) (err error) {
	for ahead != nil {
		if err := e.awaitGone(ctx, *ahead); err != nil {
			return err
		}
		if ahead, err = e.ahead(ctx); err != nil {
			return err
		}
	}
	return nil
}

// awaitGone returns nil when p may be gone: it was seen deleted, or the watch broke, which the caller's next read settles.
// The watch starts at the present and the read follows it; a watch from a past revision would wait for the store to
// catch it up, 100 ms on etcd.
func (e *entry) awaitGone(ctx context.Context, p place) error {
	// Watches of one metadata share a stream, so the caller's context gives its end only.
	watchCtx, stop := join(clientv3.WithRequireLeader(e.ctx), ctx)
	defer stop()
	for resp := range e.session.client.Watch(watchCtx, p.key, clientv3.WithCreatedNotify(), clientv3.WithFilterPut()) {
		switch {
		case resp.Err() != nil:
		case len(resp.Events) > 0:
			return nil
		case resp.Created:
			found, err := e.read(ctx, clientv3.OpGet(p.key, clientv3.WithKeysOnly()))
			if err != nil || found == nil || *found != p {
				return err
			}
		}
	}
	if !sleep(ctx, rewatchPause) {
		return context.Cause(ctx)
	}
	return nil
}

// watchOwn ends e.ctx when somebody deletes the key. It starts after the enqueue's revision and so misses nothing.
func (e *entry) watchOwn() {
	from := e.revision + 1
	for {
		if e.seenDeleted(from) {
			e.cancel(e.lost())
			return
		}
		if !sleep(e.ctx, rewatchPause) {
			return
		}
		from = e.recheck(from)
	}
}

// recheck looks whether e is still in the queue after its watch broke, perhaps because the watch's position was compacted
// away, and returns the revision to watch from.
func (e *entry) recheck(from int64) int64 {
	err := e.session.retry(e.ctx, func(ctx context.Context) error {
		resp, err := e.session.client.Txn(ctx).If(e.guard()).Commit()
		if err != nil {
			return err
		}
		if !resp.Succeeded {
			return e.lost()
		}
		from = resp.Header.Revision + 1
		return nil
	})
	if errors.Is(err, ErrLost) {
		e.cancel(err)
	}
	return from
}

// seenDeleted watches the key and reports whether it was deleted; false means that the watch broke.
func (e *entry) seenDeleted(from int64) bool {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(e.ctx))
	defer cancel()
	for resp := range e.session.client.Watch(ctx, e.key, clientv3.WithRev(from), clientv3.WithFilterPut()) {
		if resp.Err() == nil && len(resp.Events) > 0 {
			return true
		}
	}
	return false
}

// remove takes e out of the queue for good and reports whether it was there with its revision, or may have been. It can
// be repeated, by several at a time.
func (e *entry) remove(ctx context.Context) (held bool, err error) {
	maybe := e.removing.Swap(true)
	resp, err := e.removeTxn(ctx).Commit()
	if err != nil {
		if !maybe && refused(err) {
			e.removing.Store(false)
		}
		return false, err
	}
	e.answer.Store(resp.Header)
	if e.unanswered == 0 {
		return resp.Succeeded || maybe, nil
	}
	if !resp.Succeeded {
		return maybe, nil
	}
	for _, kv := range resp.Responses[0].GetResponseDeleteRange().GetPrevKvs() {
		held = kv.CreateRevision == e.revision
	}
	return held || maybe, nil
}

func (e *entry) removeTxn(ctx context.Context) clientv3.Txn {
	txn := e.session.client.Txn(ctx)
	if e.unanswered == 0 {
		return txn.If(e.guard()).Then(clientv3.OpDelete(e.key))
	}
	// By name: an enqueue in doubt can have given the key a revision nobody here knows, and nobody else uses the name.
	byName := clientv3.OpDelete(e.key, clientv3.WithPrevKV())
	if e.mark == "" {
		return txn.If(clientv3.Compare(clientv3.CreateRevision(e.key), ">", 0)).Then(byName)
	}
	return txn.Then(byName, clientv3.OpPut(e.mark, "", clientv3.WithLease(e.session.lease)))
}

// mayReturn says that an enqueue which is still on its way can bring the key back after its removal.
func (e *entry) mayReturn() bool { return e.unanswered > 0 && e.mark == "" }

// abandon gives the attempt up: its entry is removed now, or by the janitor. The session's end removes it too, unless the
// lease is somebody else's.
func (e *entry) abandon() {
	e.cancel(ErrUnlocked)
	ctx := e.session.ctx
	if e.session.attached {
		if e.joined != nil || e.revision == 0 && e.mark == "" {
			return // what an enqueue in doubt may have left is for the lease's next attempt to join
		}
		ctx = context.WithoutCancel(ctx)
	}
	if ctx.Err() != nil || e.unanswered == 0 && e.revision == 0 {
		return
	}
	err := e.session.try(ctx, func(ctx context.Context) error {
		_, err := e.remove(ctx)
		return err
	})
	if err != nil || e.mayReturn() {
		e.session.janitor.adopt(e)
	}
}
