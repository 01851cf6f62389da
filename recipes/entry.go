package recipes

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// rewatchPause spaces out attempts to watch again after a watch broke.
const rewatchPause = 100 * time.Millisecond

// entry is one attempt's key in the store, with what belongs to it: its place in a queue or, where a grant is written, the
// grant. Owning it is that key's create revision.
//
// Removing an entry whose creation was not answered must also stop that creation from being applied later: it may wait in
// a proxy or in a member for any time. So the removal deletes the key and writes a mark in the same transaction, and
// every creation compares that there is no mark. The store puts the two in some order: creation first, and its key is
// deleted; removal first, and the creation finds the mark. The mark lives as long as the lease, and without the lease the
// put of the creation fails. A creation of which every try was answered is not applied again and needs no mark: one request
// is one entry in the store's log. What goes on under another key, as from the queue to the holders or from writing to
// reading, takes the doubt along or leaves the mark.
//
// etcd's layout has no room for a mark: every key below the name is a contender. There the janitor keeps an entry in
// doubt and removes it whenever it comes back, until the session has ended.
type entry struct {
	session *Session
	what    string // a word for the errors
	path    string // of the lock, the semaphore or the election
	line    string // what the keys begin with that e waits for
	key     string
	beside  []string // further keys, put with key
	also    []string // further keys that are removed with key: those beside it, and those the attempt may have got since
	mark    string   // "" in etcd's layout
	named   bool     // whether another process may have begun the attempt and left a creation in doubt
	value   string   // as it is in the store once create has returned
	about   string   // who it is, beside a value that says something else; "" without
	delayed bool     // whether the session's lock delay holds for it

	// ctx ends with the session, when the key was deleted by somebody, and at Unlock.
	ctx    context.Context
	cancel context.CancelCauseFunc

	// Owned by create, unchanged after it.
	unanswered int   // transactions sent whose outcome is unknown
	revision   int64 // create revision of key, 0 until known
	cluster    uint64
	joined     *mvccpb.KeyValue // of an attached session: the key as it was found, somebody else's to remove

	proclaiming sync.Mutex // held through a proclaim, guards modified
	modified    int64      // mod revision of key after the last proclaim, 0 before the first

	// answer is the header of the store's last answer that is about the entry.
	answer atomic.Pointer[pb.ResponseHeader]

	// removing says that a removal was sent whose outcome is unknown.
	removing atomic.Bool

	watched sync.Once // watchOwn has begun

	asked   chan struct{} // closed once asker is set
	asker   atomic.Pointer[Holder]
	askOnce sync.Once
}

// What stands below the key of an entry, in keys of its own.
const (
	delaySuffix = "/d" // with the lease of the lock delay
	aboutSuffix = "/m"
	askSuffix   = "/a" // somebody asks the owner to release
)

// place is somebody's key in the queue.
type place struct {
	key      string
	revision int64
	seen     int64 // a revision at which it was there
	line     int64 // how many keys the line had then, 0 if it was not asked
}

// newEtcdEntry is an attempt in the layout of etcd's lock library: <name>/<lease in hexadecimal>. There all attempts of
// one lease are one; here each has its own key, which changes nothing for others: they look at the prefix and the create
// revision. Attached sessions keep to the letter, for those on whose behalf they act.
func (s *Session) newEtcdEntry(what, name, value string) *entry {
	line := name + "/"
	key := fmt.Sprintf("%s%x", line, int64(s.lease))
	if !s.attached {
		key += "-" + newAttemptID()
	}
	return s.begin(&entry{what: what, path: line, line: line, key: key, value: value})
}

func (s *Session) begin(e *entry) *entry {
	e.session = s
	e.asked = make(chan struct{})
	e.ctx, e.cancel = context.WithCancelCause(s.ctx)
	return e
}

const attemptBytes = 16

// newAttemptID returns a name that is never used twice. It begins with the time, in milliseconds, so that keys of attempts
// stand in a queue about in the order of their creation: a store finds the one before more quickly then. Nothing depends
// on it.
func newAttemptID() string {
	id := make([]byte, attemptBytes)
	binary.BigEndian.PutUint64(id, uint64(time.Now().UnixMilli())<<16)
	rand.Read(id[6:]) // never fails
	return hex.EncodeToString(id)
}

// enqueue enters the line and returns who is directly ahead, nil when nobody is. With onlyIfFree it enters only an empty
// line and returns ErrLocked otherwise.
func (e *entry) enqueue(ctx context.Context, onlyIfFree bool) (ahead *place, err error) {
	var only []clientv3.Cmp
	if onlyIfFree {
		only = append(only, clientv3.Compare(clientv3.CreateRevision(e.line).WithPrefix(), "=", 0))
	}
	created, before, err := e.create(ctx, only, e.getLast())
	switch {
	case err != nil:
		return nil, err
	case e.revision == 0 && onlyIfFree:
		return nil, ErrLocked
	case e.revision == 0:
		return nil, e.lost()
	case created:
		return e.nextOf(before), nil
	}
	if ahead, err = e.ahead(ctx); err == nil && ahead != nil && onlyIfFree {
		return nil, ErrLocked // a named attempt that was begun to wait
	}
	return ahead, err
}

// create puts e's keys in a transaction that holds under the conditions, and performs ops in it before. It is repeated
// until answered: it compares that the key is not there yet. e.revision is 0 afterwards if the conditions did not hold.
// created reports that this call put the keys and knows it; before is what ops found then.
func (e *entry) create(ctx context.Context, only []clientv3.Cmp, ops ...clientv3.Op) (created bool, before []*pb.ResponseOp, err error) {
	err = e.session.retry(ctx, func(ctx context.Context) error {
		e.unanswered++
		resp, err := e.createTxn(ctx, only, ops).Commit()
		if err == nil || refused(err) {
			e.unanswered--
		}
		if err != nil {
			return err
		}
		e.cluster = resp.Header.ClusterId
		e.answer.Store(resp.Header)
		if created = resp.Succeeded; created {
			e.revision, before = resp.Header.Revision, resp.Responses
			return nil
		}
		return e.recognise(resp)
	})
	return created, before, err
}

func (e *entry) createTxn(ctx context.Context, only []clientv3.Cmp, ops []clientv3.Op) clientv3.Txn {
	fresh := append(only[:len(only):len(only)], clientv3.Compare(clientv3.CreateRevision(e.key), "=", 0))
	otherwise := []clientv3.Op{clientv3.OpGet(e.key)}
	if e.mark != "" {
		fresh = append(fresh, clientv3.Compare(clientv3.CreateRevision(e.mark), "=", 0), e.session.epoch.unchanged())
		otherwise = append(otherwise, clientv3.OpGet(EpochKey), clientv3.OpGet(e.mark, clientv3.WithKeysOnly()))
	}
	if e.named { // it may be there as something else, a reader for a writer
		for _, key := range e.also {
			fresh = append(fresh, clientv3.Compare(clientv3.CreateRevision(key), "=", 0))
		}
	}
	return e.session.client.Txn(ctx).If(fresh...).Then(append(ops[:len(ops):len(ops)], e.puts()...)...).Else(otherwise...)
}

// puts are for the key of e and those beside it. They are put in one transaction and so have one create revision.
func (e *entry) puts() []clientv3.Op {
	ops := e.putsOf(e.key)
	for _, key := range e.beside {
		ops = append(ops, e.putsOf(key)...)
	}
	return ops
}

// putsOf are for one key and what stands below it.
func (e *entry) putsOf(key string) []clientv3.Op {
	lease := clientv3.WithLease(e.session.lease)
	ops := []clientv3.Op{clientv3.OpPut(key, e.value, lease)}
	if e.about != "" {
		ops = append(ops, clientv3.OpPut(key+aboutSuffix, e.about, lease))
	}
	if e.delayed && e.session.delayLease != clientv3.NoLease {
		ops = append(ops, clientv3.OpPut(key+delaySuffix, e.value, clientv3.WithLease(e.session.delayLease)))
	}
	return ops
}

// recognise looks why a creation changed nothing: the key is there from a try before, or of another session's, or the
// epoch is another one, or the attempt was given up, or else the conditions did not hold.
func (e *entry) recognise(resp *clientv3.TxnResponse) error {
	if e.mark != "" {
		if err := e.session.sameEpoch(resp, 1); err != nil {
			return err
		}
	}
	found := first(resp)
	switch {
	case found == nil && e.mark != "" && firstOf(resp.Responses[2:]) != nil:
		return e.lost()
	case found == nil:
		return nil
	case found.Lease != int64(e.session.lease) && e.mark != "":
		e.unanswered = 0 // what has the name is not to be removed
		return ErrAttemptTaken
	}
	e.revision, e.value = found.CreateRevision, string(found.Value)
	if e.session.attached {
		e.joined = found
	}
	return nil
}

// sameEpoch ends the session if answer i of resp, which is of EpochKey, is of another epoch than the session's.
func (s *Session) sameEpoch(resp *clientv3.TxnResponse, i int) error {
	var revision int64
	if kv := firstOf(resp.Responses[i:]); kv != nil {
		revision = kv.ModRevision
	}
	if revision == s.epoch.revision {
		return nil
	}
	s.end(ErrEpochChanged)
	return context.Cause(s.ctx)
}

// nextOf is who was directly ahead when e entered the line, by what getLast found just before. The count is of all keys
// of the line, whatever the limit.
func (e *entry) nextOf(before []*pb.ResponseOp) *place {
	p := placeOf(firstOf(before), e.revision)
	if p != nil {
		p.line = before[0].GetResponseRange().GetCount()
	}
	return p
}

// getLast reads the youngest of the line, or the youngest of those ahead of e once e has a revision.
func (e *entry) getLast() clientv3.Op {
	opts := append(clientv3.WithLastCreate(), clientv3.WithKeysOnly())
	if e.revision != 0 {
		opts = append(opts, clientv3.WithMaxCreateRev(e.revision-1))
	}
	return clientv3.OpGet(e.line, opts...)
}

// guard compares that e is still the entry it was when it entered the queue.
func (e *entry) guard() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(e.key), "=", e.revision)
}

// ahead returns who is directly ahead. In the same snapshot e was still in the queue; if it was not, the error is a
// *LostError.
func (e *entry) ahead(ctx context.Context) (*place, error) { return e.read(ctx, e.getLast()) }

// read returns the first key that op finds, in a snapshot in which e is still there.
func (e *entry) read(ctx context.Context, op clientv3.Op) (*place, error) {
	resp, err := e.readAll(ctx, op)
	if err != nil {
		return nil, err
	}
	return placeOf(first(resp), resp.Header.Revision), nil
}

// readAll returns what ops find, in a snapshot in which e is still there; if it is not, the error is a *LostError.
func (e *entry) readAll(ctx context.Context, ops ...clientv3.Op) (answer *clientv3.TxnResponse, err error) {
	err = e.session.retry(ctx, func(ctx context.Context) error {
		resp, err := e.session.client.Txn(ctx).If(e.guard()).Then(ops...).Commit()
		if err != nil {
			return err
		}
		if !resp.Succeeded {
			return e.lost()
		}
		e.answer.Store(resp.Header)
		answer = resp
		return nil
	})
	if errors.Is(err, ErrLost) {
		e.cancel(err)
	}
	return answer, err
}

// first is the first key of the first response of a transaction, nil when there is none.
func first(resp *clientv3.TxnResponse) *mvccpb.KeyValue { return firstOf(resp.Responses) }

func firstOf(answers []*pb.ResponseOp) *mvccpb.KeyValue {
	if len(answers) == 0 || len(answers[0].GetResponseRange().GetKvs()) == 0 {
		return nil
	}
	return answers[0].GetResponseRange().GetKvs()[0]
}

func placeOf(kv *mvccpb.KeyValue, seen int64) *place {
	if kv == nil {
		return nil
	}
	return &place{key: string(kv.Key), revision: kv.CreateRevision, seen: seen}
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
	if err == nil {
		err = e.wait(ctx, ahead)
	}
	if err == nil && !e.session.attached {
		e.beginWatch(e.revision)
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
		gone, err := e.awaitGone(ctx, *ahead)
		if err != nil || gone && ahead.line == 1 {
			return err
		}
		if ahead, err = e.ahead(ctx); err != nil {
			return err
		}
	}
	return nil
}

// awaitGone waits until p may be gone: it was seen deleted, or the watch broke. gone reports that it was, at a revision at
// which e was there; else the caller's next read settles it. A prompt store sends what happened since p was seen. On
// another the watch starts at the present and a read follows it; a watch from a past revision would wait for the store to
// catch it up, 100 ms on etcd.
func (e *entry) awaitGone(ctx context.Context, p place) (gone bool, err error) {
	from, to := e.besides(p)
	if to == nil {
		defer e.watchBeside(p)()
	}
	opts, prompt := append(to, clientv3.WithFilterPut()), e.session.prompt.Load()
	if prompt {
		opts = append(opts, clientv3.WithRev(p.seen+1))
	}
	for resp := range e.session.watch(ctx, from, opts...) {
		switch {
		case resp.Err() != nil:
		case resp.Created && !prompt && resp.Header.Revision != p.seen: // else it was there when the watch began
			found, err := e.read(ctx, clientv3.OpGet(p.key, clientv3.WithKeysOnly()))
			if err != nil || found == nil || found.revision != p.revision {
				return err == nil, err
			}
		}
		switch { // what went in one transaction comes in one response
		case mentions(resp.Events, e.key):
			err := e.lost()
			e.cancel(err)
			return false, err
		case mentions(resp.Events, p.key):
			e.answer.Store(resp.Header)
			return len(to) > 0, nil
		}
	}
	if !sleep(ctx, rewatchPause) {
		return false, context.Cause(ctx)
	}
	return false, nil
}

// shortLine bounds how many keys a waiter watches that are nothing to it.
const shortLine = 32

// besides is the range to watch for p and for e itself, so that what happens to the two comes in its order. Where attempts
// are named by time, as they are in recipes' own layout, few stand between them, and never more than the line had. Where
// that may be many, or they stand in different directories, p is to be watched alone: to is nil.
func (e *entry) besides(p place) (from string, to []clientv3.OpOption) {
	dir := e.key[:len(e.key)-len(e.attempt())]
	if e.mark == "" || p.line == 0 || p.line > shortLine || !strings.HasPrefix(p.key, dir) {
		return p.key, nil
	}
	return min(p.key, e.key), []clientv3.OpOption{clientv3.WithRange(max(p.key, e.key) + "\x00")}
}

// mentions reports whether one of the events is of the key.
func mentions(events []*clientv3.Event, key string) bool {
	return slices.ContainsFunc(events, func(event *clientv3.Event) bool { return string(event.Kv.Key) == key })
}

// remove takes e away for good and reports whether it was there with its revision, or may have been. It can be repeated,
// by several at a time.
func (e *entry) remove(ctx context.Context) (held bool, err error) {
	maybe := e.removing.Swap(true)
	resp, err := e.removeTxn(ctx).Commit()
	if err != nil {
		if !maybe && refused(err) {
			e.removing.Store(false)
		}
		if errors.Is(err, rpctypes.ErrNoSpace) && e.mark != "" { // for the mark, but the lock must not wait for that
			_, _ = e.session.client.Txn(ctx).Then(e.deletes()...).Commit()
		}
		return false, err
	}
	e.answer.Store(resp.Header)
	if !e.inDoubt() {
		return resp.Succeeded || maybe, nil
	}
	if !resp.Succeeded {
		return maybe, nil
	}
	for _, kv := range resp.Responses[0].GetResponseDeleteRange().GetPrevKvs() {
		held = held || string(kv.Key) == e.key && kv.CreateRevision == e.revision
	}
	return held || maybe, nil
}

func (e *entry) removeTxn(ctx context.Context) clientv3.Txn {
	txn := e.session.client.Txn(ctx)
	switch {
	case !e.inDoubt() && e.mark == "":
		return txn.If(e.guard()).Then(clientv3.OpDelete(e.key))
	case !e.inDoubt():
		return txn.If(e.guard()).Then(e.deletes()...).Else(e.deletesOfRest()...)
	}
	// By name: a creation in doubt can have given the key a revision nobody here knows, and nobody else uses the name.
	if e.mark == "" {
		return txn.If(clientv3.Compare(clientv3.CreateRevision(e.key), ">", 0)).Then(e.deletes()...)
	}
	return txn.Then(append(e.deletes(), e.putMark())...)
}

// alsoRemove adds to what is removed with e. It is for the time before others have e.
func (e *entry) alsoRemove(key string) {
	if !slices.Contains(e.also, key) {
		e.also = append(e.also, key)
	}
}

// inDoubt says that a creation may still be on its way.
func (e *entry) inDoubt() bool { return e.unanswered > 0 || e.named }

// putMark says that e was given up, for as long as the session's lease lives.
func (e *entry) putMark() clientv3.Op {
	return clientv3.OpPut(e.mark, "", clientv3.WithLease(e.session.lease))
}

// ends are deletes and, where there is doubt, the mark.
func (e *entry) ends() []clientv3.Op {
	if e.inDoubt() {
		return append(e.deletes(), e.putMark())
	}
	return e.deletes()
}

// deletes are for all keys of e, with what stands below them.
func (e *entry) deletes() (ops []clientv3.Op) {
	if e.mark == "" {
		return []clientv3.Op{clientv3.OpDelete(e.key, clientv3.WithPrevKV())}
	}
	for _, key := range append([]string{e.key}, e.also...) {
		ops = append(ops, clientv3.OpDelete(key, clientv3.WithPrefix(), clientv3.WithPrevKV()))
	}
	return ops
}

// deletesOfRest are for what belonged to the key and may still be there when it is gone, or is somebody else's now.
func (e *entry) deletesOfRest() []clientv3.Op {
	ops := []clientv3.Op{clientv3.OpDelete(e.key+"/", clientv3.WithPrefix())}
	for _, key := range e.also {
		ops = append(ops, clientv3.OpDelete(key, clientv3.WithPrefix()))
	}
	return ops
}

// mayReturn says that an enqueue which is still on its way can bring the key back after its removal.
func (e *entry) mayReturn() bool { return e.unanswered > 0 && e.mark == "" }

// abandonTime is how long a caller that has failed, or has no patience left, may still have to wait for the removal.
const abandonTime = 500 * time.Millisecond

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
	ctx, stop := context.WithTimeout(ctx, abandonTime)
	defer stop()
	if _, err := e.remove(ctx); err != nil || e.mayReturn() {
		e.session.janitor.adopt(e)
	}
}
