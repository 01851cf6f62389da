package recipes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes/fence"
)

// DefaultElectionPrefix is the default of ElectionOptions.Prefix.
const DefaultElectionPrefix = "/coordd/elections"

// ElectionOptions are an election's options; a zero field means its default.
type ElectionOptions struct {
	// Prefix is where the election's keys live, by default DefaultElectionPrefix; see MutexOptions.Prefix.
	Prefix string
	// Reason is shown to those who look at who stands, at most MaxReasonBytes.
	Reason string
	// Attempt names the candidacy; see MutexOptions.Attempt.
	Attempt string
	// EtcdLayout makes the election one with those of etcd's election library, its election service and etcdctl elect:
	// <name>/<lease>, and whoever created the oldest leads. The name is a path then, there is no prefix, and the candidates
	// of "a/b" stand in the election "a" too. Leadership cannot be transferred.
	EtcdLayout bool
}

// Defaults fills the zero fields.
func (o *ElectionOptions) Defaults() {
	if o.Prefix == "" && !o.EtcdLayout {
		o.Prefix = DefaultElectionPrefix
	}
}

// Validate names the first field that is out of range.
func (o *ElectionOptions) Validate() error {
	if o.EtcdLayout && *o != (ElectionOptions{EtcdLayout: true}) {
		return errors.New("recipes: an election in etcd's layout has no prefix, no reason and no attempts")
	}
	return validPlacement(o.Prefix, o.Reason, o.Attempt)
}

// Election names an office that one candidate at a time holds, in the order in which they stood unless a leader transfers
// it. An Election holds no state and is safe for concurrent use.
type Election struct {
	placement
	session    *Session
	etcdLayout bool
	leaders    string // what the keys begin with of which the oldest is the leader's
	err        error  // of the name or the options
}

// NewElection names the election; nil options mean defaults. A name is 1 to MaxNameBytes of any bytes. An invalid name or
// option is the error of the first use. In etcd's layout every name is valid.
func NewElection(s *Session, name string, o *ElectionOptions) *Election {
	var options ElectionOptions
	if o != nil {
		options = *o
	}
	options.Defaults()
	e := &Election{session: s, etcdLayout: options.EtcdLayout, err: options.Validate()}
	if e.etcdLayout {
		e.placement, e.leaders = placement{path: name}, name+"/"
		return e
	}
	var err error
	e.placement, err = newPlacement(options.Prefix, name, options.Reason, options.Attempt)
	e.err = errors.Join(e.err, err)
	e.leaders = e.path + holdersDir
	return e
}

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

// Campaign stands for election with a value of at most MaxValueBytes and returns when elected. Each call is a candidate of
// its own. It takes one commit if nobody leads or stands, and two otherwise. It repeats requests that fail for the moment,
// as Mutex.Lock does. After an error the candidacy is withdrawn, at once if the store answers, else as soon as it does; the
// error is a *LostError when the session ended or somebody deleted the key.
func (e *Election) Campaign(ctx context.Context, value string) (*Leadership, error) {
	if err := errors.Join(e.err, e.session.checkValue(value)); err != nil {
		return nil, err
	}
	if e.etcdLayout {
		return e.campaignInEtcdLayout(ctx, value)
	}
	p := &petition{
		arbiter: office{e, value}, session: e.session, what: "election", path: e.path, value: value, about: e.session.holder(e.reason).String(),
	}
	if err := p.acquire(ctx, e.placement, false); err != nil {
		return nil, err
	}
	l := newLeadership(newHold(p.holding, fence.Exclusive, p.holding.revision), p.holding.answer.Load())
	if p.holding.value != value { // of the same attempt, begun by another process
		if err := l.Proclaim(ctx, value); err != nil {
			p.holding.abandon()
			return nil, err
		}
	}
	return l, nil
}

// office grants the leadership while there is no leader.
type office struct {
	*Election
	value string
}

func (o office) reads() []clientv3.Op {
	return []clientv3.Op{clientv3.OpGet(o.leaders, clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())}
}

func (o office) decide(read []*pb.ResponseOp) (*grant, error) {
	if firstOf(read) != nil {
		return nil, nil
	}
	vacant := clientv3.Compare(clientv3.CreateRevision(o.leaders).WithPrefix(), "=", 0)
	return &grant{only: []clientv3.Cmp{vacant}, value: o.value}, nil
}

func (o office) freed() (from, to string) { return o.leaders, clientv3.GetPrefixRangeEnd(o.leaders) }

func (e *Election) campaignInEtcdLayout(ctx context.Context, value string) (*Leadership, error) {
	if err := errors.Join(e.session.Valid(), ctx.Err()); err != nil {
		return nil, fmt.Errorf("recipes: election %s: %w", e.path, err)
	}
	c := e.session.newEtcdEntry("election", e.path, value)
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
	return newLeadership(newHold(c, fence.Exclusive, c.revision), entered), nil
}

// Run leads whenever it can: it campaigns, and calls lead when elected. The context of lead ends with ctx and with the
// leadership. When lead has returned nil, or the leadership was lost, the office is given up and Run campaigns again. It
// returns lead's error, or why the session or ctx ended.
func (e *Election) Run(ctx context.Context, value string, lead func(context.Context, *Leadership) error) error {
	for candidacy := *e; ; candidacy.attempt = "" { // the name is of the first
		l, err := candidacy.Campaign(ctx, value)
		if err != nil && e.session.Valid() == nil && ctx.Err() == nil && errors.Is(err, ErrKeyDeleted) {
			continue
		}
		if err != nil {
			return err
		}
		if err := l.run(ctx, lead); err != nil {
			return err
		}
	}
}

// run calls lead while l lasts and resigns. Errors of a lead that was told to stop, because l was lost, are none.
func (l *Leadership) run(ctx context.Context, lead func(context.Context, *Leadership) error) error {
	leading, stop := join(ctx, l.Context())
	defer stop()
	err := lead(leading, l)
	lost := l.Valid()
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.hold.entry.session.requestTime())
	defer cancel()
	resigned := l.Resign(release)
	switch {
	case lost != nil:
		return l.hold.entry.session.Valid()
	case err != nil:
		return err
	case errors.Is(resigned, ErrLost):
		return nil
	}
	return resigned
}

// Resume takes up a leadership by its key and create revision, as one that was won on behalf of the session's lease by
// another process. It does not ask the store: Verify does. A resumed leadership has no Token, and its context does not end
// when the key is deleted.
func (e *Election) Resume(key string, revision int64) *Leadership {
	c := e.session.begin(&entry{what: "election", path: e.path, key: key, revision: revision})
	if !e.etcdLayout {
		c.mark = e.path + abandonedDir + c.attempt()
	}
	return newLeadership(&Hold{entry: c}, nil)
}

// Leader returns who leads, linearizably, or ErrNoLeader.
func (e *Election) Leader(ctx context.Context) (LeaderState, error) {
	if e.err != nil {
		return LeaderState{}, e.err
	}
	now, err := e.look(ctx)
	switch {
	case err != nil:
		return LeaderState{}, fmt.Errorf("recipes: leader of %s: %w", e.path, err)
	case now.KV == nil:
		return LeaderState{}, ErrNoLeader
	}
	return now, nil
}

// look reads the leader's key: the oldest in etcd's layout, else the first, as there is one leader only.
func (e *Election) look(ctx context.Context) (now LeaderState, err error) {
	opts := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithLimit(1)}
	if e.etcdLayout {
		opts = clientv3.WithFirstCreate()
	}
	err = e.session.retry(ctx, func(ctx context.Context) error {
		resp, err := e.session.client.Get(ctx, e.leaders, opts...)
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
		if e.err != nil {
			yield(LeaderState{}, e.err)
			return
		}
		for last, looked := (LeaderState{}), false; ; looked = true {
			now, err := e.look(ctx)
			if err != nil {
				yield(LeaderState{}, fmt.Errorf("recipes: observe %s: %w", e.path, err))
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
	key, opts := e.leaders, []clientv3.OpOption{clientv3.WithRev(now.Header.Revision + 1)}
	if now.KV != nil {
		key = string(now.KV.Key)
	} else {
		opts = append(opts, clientv3.WithPrefix())
	}
	for resp := range e.session.watch(ctx, key, opts...) {
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

// ReleaseAsked is closed when somebody asks the leader to resign, as Hold.ReleaseAsked is; never in etcd's layout.
func (l *Leadership) ReleaseAsked() <-chan struct{} { return l.hold.ReleaseAsked() }

// Asker is who asked the leader to resign last, and why; nil before ReleaseAsked is closed.
func (l *Leadership) Asker() *Holder { return l.hold.Asker() }

// Proclaim replaces the leader's value. The error is a *LostError if the leadership has ended, and another one when the
// store did not confirm until ctx ended.
func (l *Leadership) Proclaim(ctx context.Context, value string) error {
	e := l.hold.entry
	if err := errors.Join(l.hold.Valid(), e.session.checkValue(value)); err != nil {
		return err
	}
	ctx, stop := join(ctx, e.ctx)
	defer stop()
	header, err := e.proclaim(ctx, value)
	if err != nil {
		return fmt.Errorf("recipes: proclaim in %s: %w", e.path, err)
	}
	l.header.Store(header)
	return nil
}

// Transfer hands the leadership to another candidate, whose key is one of Election.Places, past all who stood before it.
// ErrNoCandidate for what is no candidate's key leaves all as it is. Otherwise this leadership is over from the call on,
// whatever Transfer returns: ErrNoCandidate, if nobody stands there any more, leaves it to the next in turn, as any other
// error does.
func (l *Leadership) Transfer(ctx context.Context, candidate string) error {
	e := l.hold.entry
	if e.mark == "" {
		return errors.New("recipes: there is no transfer in etcd's layout")
	}
	queue := e.path + queueDir
	id, stands := strings.CutPrefix(candidate, queue)
	if !stands || !isAttemptID(id) || e.key == e.path+holdersDir+id {
		return fmt.Errorf("recipes: transfer in %s to %q: %w", e.path, candidate, ErrNoCandidate)
	}
	if err := l.hold.end(); err != nil {
		return err
	}
	ctx, stop := join(ctx, e.session.ctx)
	defer stop()
	err := e.session.retry(ctx, func(ctx context.Context) error { return e.appoint(ctx, id) })
	if err != nil {
		e.abandon()
		return fmt.Errorf("recipes: transfer in %s: %w", e.path, err)
	}
	return nil
}

// appoint makes a candidate the leader in the place of e, with the candidate's own lease and value.
func (e *entry) appoint(ctx context.Context, id string) error {
	from, to := e.path+queueDir+id, e.path+holdersDir+id
	kv := e.session.client
	found, err := kv.Txn(ctx).Then(clientv3.OpGet(from), clientv3.OpGet(from+aboutSuffix), clientv3.OpGet(to)).Commit()
	if err != nil {
		return err
	}
	candidate, about, appointed := firstOf(found.Responses), firstOf(found.Responses[1:]), firstOf(found.Responses[2:])
	switch {
	case appointed != nil:
		return nil // by a try whose answer was lost
	case candidate == nil || about == nil:
		return ErrNoCandidate
	}
	lease := clientv3.WithLease(clientv3.LeaseID(candidate.Lease))
	resp, err := kv.Txn(ctx).
		If(e.guard(), clientv3.Compare(clientv3.ModRevision(from), "=", candidate.ModRevision)).
		Then(append(e.deletes(), e.putMark(), clientv3.OpDelete(from, clientv3.WithPrefix()),
			clientv3.OpPut(to, string(candidate.Value), lease), clientv3.OpPut(to+aboutSuffix, string(about.Value), lease))...).
		Commit()
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return ErrNoCandidate // it has just gone
	case err != nil:
		return err
	case !resp.Succeeded:
		return e.appointedMeanwhile(ctx, to)
	}
	return nil
}

// appointedMeanwhile looks why an appointment changed nothing: an earlier try has done it, or the leadership or the
// candidate is gone.
func (e *entry) appointedMeanwhile(ctx context.Context, to string) error {
	resp, err := e.session.client.Txn(ctx).If(e.guard()).Then(clientv3.OpGet(to)).Else(clientv3.OpGet(to)).Commit()
	switch {
	case err != nil:
		return err
	case first(resp) != nil:
		return nil
	case !resp.Succeeded:
		return e.lost()
	}
	return ErrNoCandidate
}

// Resign gives the leadership up, as Hold.Unlock gives a lock up: nil means that the next candidate leads, a *LostError
// that the leadership had ended before.
func (l *Leadership) Resign(ctx context.Context) error {
	err := l.hold.Unlock(ctx)
	l.header.Store(l.hold.entry.answer.Load())
	return err
}

// proclaim replaces the value of an entry. Each rests on the revision that the one before left, so that one that was
// repeated cannot come back over a later one. Of an attached session's that revision is not known, and it is tried once.
func (e *entry) proclaim(ctx context.Context, value string) (header *pb.ResponseHeader, err error) {
	e.proclaiming.Lock()
	defer e.proclaiming.Unlock()
	keep := clientv3.WithLease(e.session.lease)
	if e.session.lease == clientv3.NoLease {
		keep = clientv3.WithIgnoreLease()
	}
	err = e.session.retry(ctx, func(ctx context.Context) error {
		for {
			only := []clientv3.Cmp{e.guard()}
			if !e.session.attached {
				only = append(only, clientv3.Compare(clientv3.ModRevision(e.key), "=", cmp.Or(e.modified, e.revision)))
			}
			resp, err := e.session.client.Txn(ctx).If(only...).Then(clientv3.OpPut(e.key, value, keep)).
				Else(clientv3.OpGet(e.key, clientv3.WithKeysOnly())).Commit()
			if err != nil {
				return err
			}
			if resp.Succeeded {
				header, e.modified = resp.Header, resp.Header.Revision
				return nil
			}
			found := first(resp)
			if found == nil || found.CreateRevision != e.revision {
				return e.lost()
			}
			e.modified = found.ModRevision // by a try whose answer was lost
		}
	})
	if errors.Is(err, ErrLost) {
		e.cancel(err)
	}
	return header, err
}
