package recipes

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes/fence"
)

// Election names an office that one candidate at a time holds. Its keys are those of etcd's election library, its
// election service and etcdctl elect, <name>/<lease>: whoever created the oldest leads, and its value is what the leader
// proclaims. Elections of all of them are one. The name is a path: the candidates of "a/b" stand in the election "a" too.
// An Election holds no state and is safe for concurrent use.
type Election struct {
	session *Session
	name    string
}

// NewElection names the election. Any name is valid.
func NewElection(s *Session, name string) *Election { return &Election{s, name} }

// LeaderState is who leads at a revision of the store.
type LeaderState struct {
	// KV is the leader's key, its value what the leader proclaims; nil while nobody leads.
	KV *mvccpb.KeyValue
	// Header is that of the answer or the event that said so.
	Header *pb.ResponseHeader
}

// same reports whether both tell of the same proclamation, or both of nobody.
func (s LeaderState) same(o LeaderState) bool {
	if s.KV == nil || o.KV == nil {
		return s.KV == o.KV
	}
	return string(s.KV.Key) == string(o.KV.Key) && s.KV.ModRevision == o.KV.ModRevision
}

// Campaign stands for election with a value and returns when elected: in one snapshot of the store its key was there and
// the oldest. Each call is a candidate of its own. It repeats requests that fail for the moment, as Mutex.Lock does. After
// an error the candidacy is withdrawn, at once if the store answers, else as soon as it does; the error is a *LostError
// when the session ended or somebody deleted the key.
func (e *Election) Campaign(ctx context.Context, value string) (*Leadership, error) {
	if err := errors.Join(e.session.Valid(), ctx.Err()); err != nil {
		return nil, fmt.Errorf("recipes: election %s: %w", e.name, err)
	}
	c := e.session.newEtcdEntry("election", e.name, value)
	ctx, stop := join(ctx, c.ctx)
	defer stop()
	ahead, err := c.enqueue(ctx, false)
	entered := c.answer.Load()
	if err == nil && c.joined != nil && string(c.joined.Value) != value {
		_, err = c.proclaim(ctx, value)
	}
	if err := c.settle(ctx, ahead, err); err != nil {
		return nil, err
	}
	return newLeadership(newHold(c), entered), nil
}

// Resume takes up a leadership by its key and create revision, as one that was won on behalf of the session's lease by
// another process. It does not ask the store: Verify does. A resumed leadership has no Token.
func (e *Election) Resume(key string, revision int64) *Leadership {
	c := e.session.begin(&entry{what: "election", path: e.name + "/", queue: e.name + "/", key: key, revision: revision})
	return newLeadership(&Hold{entry: c}, nil)
}

// Leader returns who leads, linearizably, or ErrNoLeader.
func (e *Election) Leader(ctx context.Context) (LeaderState, error) {
	now, err := e.look(ctx)
	switch {
	case err != nil:
		return LeaderState{}, fmt.Errorf("recipes: leader of %s: %w", e.name, err)
	case now.KV == nil:
		return LeaderState{}, ErrNoLeader
	}
	return now, nil
}

// look reads the oldest key.
func (e *Election) look(ctx context.Context) (now LeaderState, err error) {
	err = e.session.retry(ctx, func(ctx context.Context) error {
		resp, err := e.session.client.Get(ctx, e.name+"/", clientv3.WithFirstCreate()...)
		if err != nil {
			return err
		}
		now = LeaderState{Header: resp.Header}
		if len(resp.Kvs) > 0 {
			now.KV = resp.Kvs[0]
		}
		return nil
	})
	return now, err
}

// Observe yields who leads now and then each change: another leader, what it proclaims, and that nobody leads. What it
// yields is in the order of the store's history, and the last is what is true for as long as nothing else follows;
// leaders in between that were soon gone may be left out. It goes on until the loop is left or a request fails for good,
// at the latest when ctx ends: then it yields the error and ends.
func (e *Election) Observe(ctx context.Context) iter.Seq2[LeaderState, error] {
	return func(yield func(LeaderState, error) bool) {
		for last, looked := (LeaderState{}), false; ; looked = true {
			now, err := e.look(ctx)
			if err != nil {
				yield(LeaderState{}, fmt.Errorf("recipes: observe %s: %w", e.name, err))
				return
			}
			if changed := !looked || !now.same(last); changed && !yield(now, nil) {
				return
			}
			var more bool
			if last, more = e.follow(ctx, now, yield); !more {
				return
			}
		}
	}
}

// follow yields what the leader of now proclaims until it is time to look again: the leader's key was deleted, or
// somebody came while nobody led, or the watch broke. It returns what it yielded last.
func (e *Election) follow(ctx context.Context, now LeaderState, yield func(LeaderState, error) bool) (last LeaderState, more bool) {
	key, opts := e.name+"/", []clientv3.OpOption{clientv3.WithRev(now.Header.Revision + 1)}
	if now.KV != nil {
		key = string(now.KV.Key)
	} else {
		opts = append(opts, clientv3.WithPrefix())
	}
	// As in awaitGone, the metadata are the session's.
	watchCtx, stop := join(clientv3.WithRequireLeader(context.WithoutCancel(e.session.ctx)), ctx)
	defer stop()
	for resp := range e.session.client.Watch(watchCtx, key, opts...) {
		for _, event := range resp.Events {
			if now.KV == nil || event.Type == mvccpb.Event_DELETE {
				return now, true
			}
			now = LeaderState{KV: event.Kv, Header: resp.Header}
			if !yield(now, nil) {
				return now, false
			}
		}
	}
	sleep(ctx, rewatchPause)
	return now, true
}

// Leadership is one term of a leader. It is safe for concurrent use.
type Leadership struct {
	hold   *Hold
	header atomic.Pointer[pb.ResponseHeader]
}

func newLeadership(h *Hold, header *pb.ResponseHeader) *Leadership {
	l := &Leadership{hold: h}
	l.header.Store(header)
	return l
}

// Context ends when the leadership does, with a *LostError as its cause, and when Resign is called, with ErrUnlocked. A
// process that does not run sees it late: Valid is exact.
func (l *Leadership) Context() context.Context { return l.hold.Context() }

// Token identifies this term to resources outside the store. Tokens of later leaders of the same name are greater.
func (l *Leadership) Token() fence.Token { return l.hold.Token() }

// Key is the leader's key in the store.
func (l *Leadership) Key() string { return l.hold.Key() }

// Revision is the create revision of Key.
func (l *Leadership) Revision() int64 { return l.hold.entry.revision }

// Header is that of the store's last answer to Campaign's entering, Proclaim or Resign. It is not to be changed.
func (l *Leadership) Header() *pb.ResponseHeader { return l.header.Load() }

// Guard is true in a transaction exactly while the store has this leadership. Put it into the If of every transaction
// that only the leader may commit.
func (l *Leadership) Guard() clientv3.Cmp { return l.hold.Guard() }

// Valid returns nil while, as far as this process can know, the leadership lasts, as Hold.Valid does.
func (l *Leadership) Valid() error { return l.hold.Valid() }

// Verify asks the store, linearizably, whether the leadership lasted at a moment during the call, as Hold.Verify does.
func (l *Leadership) Verify(ctx context.Context) error { return l.hold.Verify(ctx) }

// Proclaim replaces the leader's value. The error is a *LostError if the leadership has ended, and another one when the
// store did not confirm until ctx ended.
func (l *Leadership) Proclaim(ctx context.Context, value string) error {
	if err := l.hold.Valid(); err != nil {
		return err
	}
	e := l.hold.entry
	ctx, stop := join(ctx, e.ctx)
	defer stop()
	header, err := e.proclaim(ctx, value)
	if err != nil {
		return fmt.Errorf("recipes: proclaim in %s: %w", e.path, err)
	}
	l.header.Store(header)
	return nil
}

// Resign gives the leadership up, as Hold.Unlock gives a lock up: nil means that the next candidate leads, a *LostError
// that the leadership had ended before.
func (l *Leadership) Resign(ctx context.Context) error {
	err := l.hold.Unlock(ctx)
	l.header.Store(l.hold.entry.answer.Load())
	return err
}

// proclaim replaces the value of an entry that is in the queue. Repeating it changes nothing but revisions.
func (e *entry) proclaim(ctx context.Context, value string) (header *pb.ResponseHeader, err error) {
	keep := clientv3.WithLease(e.session.lease)
	if e.session.lease == clientv3.NoLease {
		keep = clientv3.WithIgnoreLease()
	}
	err = e.session.retry(ctx, func(ctx context.Context) error {
		resp, err := e.session.client.Txn(ctx).If(e.guard()).Then(clientv3.OpPut(e.key, value, keep)).Commit()
		if err != nil {
			return err
		}
		if !resp.Succeeded {
			return e.lost()
		}
		header = resp.Header
		return nil
	})
	if errors.Is(err, ErrLost) {
		e.cancel(err)
	}
	return header, err
}
