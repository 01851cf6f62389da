package recipes

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// memberDir is where the parties' keys live below a round's directory.
const memberDir = "m/"

// The outcomes of a round, as the value of their key. Each round gets one of them at most once: the transaction that
// writes it deletes the key that it compares.
const (
	roundReady  = "ready"
	roundBroken = "broken"
)

// Round is one party's part in a round of a DoubleBarrier. It is safe for concurrent use.
type Round struct {
	barrier    *DoubleBarrier
	generation int64  // create revision of the round's key
	dir        string // what the keys of this round begin with
	member     string // key of this party

	// Owned by DoubleBarrier.Enter, unchanged after it.
	sent     bool  // an enter was sent that may be or come to be applied
	revision int64 // create revision of member, 0 while not in
	stale    bool  // broken before this party was in, which is no reason to tell it
	outcome  string
}

func (b *DoubleBarrier) newRound(generation int64, attempt string) *Round {
	dir := fmt.Sprintf("%s%016x/", b.rounds(), generation)
	return &Round{barrier: b, generation: generation, dir: dir, member: dir + memberDir + attempt}
}

// Generation is the same for all parties of the round, and greater for later rounds of the barrier.
func (r *Round) Generation() int64 { return r.generation }

func (r *Round) session() *Session { return r.barrier.session }

func (r *Round) outcomeKey() string { return r.dir + "outcome" }

func (r *Round) isIn() bool { return r.revision != 0 }

// gathering compares that the round is not over.
func (r *Round) gathering() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(r.barrier.roundKey()), "=", r.generation)
}

// notFull compares that fewer than all parties have entered: the round's key was put once by whoever made it.
func (r *Round) notFull() clientv3.Cmp {
	return clientv3.Compare(clientv3.Version(r.barrier.roundKey()), "<", r.barrier.parties+1)
}

// enter puts the party's key, unless the round is full or over. After an answer no earlier try can be applied: if the
// round is full or over, it stays so.
func (r *Round) enter(ctx context.Context) error {
	r.sent = true
	b, round := r.barrier, clientv3.OpGet(r.barrier.roundKey())
	resp, err := b.session.transact(ctx,
		[]clientv3.Cmp{r.gathering(), r.notFull(), clientv3.Compare(clientv3.CreateRevision(r.member), "=", 0)},
		[]clientv3.Op{
			round, clientv3.OpGet(r.dir+memberDir, clientv3.WithPrefix(), clientv3.WithCountOnly()),
			clientv3.OpPut(r.barrier.roundKey(), fmt.Sprint(b.parties)),
			clientv3.OpPut(r.member, b.session.holder(b.reason).String(), clientv3.WithLease(b.session.lease)),
		},
		[]clientv3.Op{clientv3.OpGet(r.member)})
	if err != nil {
		return err
	}
	if resp.Succeeded {
		r.revision = resp.Header.Revision
		r.stale = entered(only(resp, 0)) != resp.Responses[1].GetResponseRange().Count
	} else if found := only(resp, 0); found != nil {
		r.revision = found.CreateRevision
	}
	r.sent = r.isIn()
	return nil
}

// entered is how many have entered by the key of a round.
func entered(round *mvccpb.KeyValue) int64 { return round.GetVersion() - 1 }

// roundState is a round in one snapshot of the store.
type roundState struct {
	revision int64
	round    *mvccpb.KeyValue // nil when the round is over
	outcome  string
	members  []*mvccpb.KeyValue // without values
}

// broken says that one of those who entered is gone.
func (s roundState) broken() bool { return entered(s.round) != int64(len(s.members)) }

// read returns the round's state; if this party is in, in a snapshot in which it still is.
func (r *Round) read(ctx context.Context) (now roundState, err error) {
	var still []clientv3.Cmp
	if r.isIn() {
		still = append(still, clientv3.Compare(clientv3.CreateRevision(r.member), "=", r.revision))
	}
	resp, err := r.session().transact(ctx, still, []clientv3.Op{
		clientv3.OpGet(r.barrier.roundKey()), clientv3.OpGet(r.outcomeKey()),
		clientv3.OpGet(r.dir+memberDir, clientv3.WithPrefix(), clientv3.WithKeysOnly()),
	}, nil)
	if err != nil {
		return now, err
	}
	if !resp.Succeeded {
		return now, r.lost()
	}
	now.revision, now.round = resp.Header.Revision, only(resp, 0)
	if now.round.GetCreateRevision() != r.generation {
		now.round = nil
	}
	now.outcome = string(only(resp, 1).GetValue())
	now.members = resp.Responses[2].GetResponseRange().Kvs
	return now, nil
}

// lost is the error of a party whose key is gone: the session's end if that explains it.
func (r *Round) lost() error {
	if err := r.session().Valid(); err != nil {
		return err
	}
	return &LostError{What: "double barrier " + r.barrier.path, Err: ErrKeyDeleted}
}

// look and take make a Round the view of those who wait for its outcome, be they in or wait for the next round.
func (r *Round) look(ctx context.Context) (revision int64, done bool, err error) {
	now, err := r.read(ctx)
	switch {
	case err != nil:
	case now.outcome != "":
		r.outcome, done = now.outcome, true
	case now.round == nil: // its outcome was cleared after its last party left, or somebody deleted the keys
		r.outcome, done = roundBroken, true
	case now.broken():
		done, err = r.breakUp(ctx)
	case len(now.members) == r.barrier.parties:
		done, err = r.begin(ctx, now.members)
	}
	return now.revision, done, err
}

func (r *Round) take(ctx context.Context, changes []*clientv3.Event) (done bool, err error) {
	died := false
	for _, ev := range changes {
		key, deleted := string(ev.Kv.Key), ev.Type == clientv3.EventTypeDelete
		switch {
		case key == r.outcomeKey() && !deleted:
			r.outcome = string(ev.Kv.Value)
			return true, nil
		case key == r.member && deleted:
			return false, r.lost()
		case deleted:
			died = true
		}
	}
	if !died {
		return false, nil
	}
	return r.breakUp(ctx)
}

// begin makes the round ready if all who entered are still in, and reports whether this did it. The round is full: nobody
// enters any more.
func (r *Round) begin(ctx context.Context, members []*mvccpb.KeyValue) (done bool, err error) {
	var all []clientv3.Cmp
	for _, kv := range members {
		all = append(all, clientv3.Compare(clientv3.CreateRevision(string(kv.Key)), "=", kv.CreateRevision))
	}
	return r.end(ctx, roundReady, all...)
}

// breakUp breaks the round unless it is over, and reports whether this did it.
func (r *Round) breakUp(ctx context.Context, conditions ...clientv3.Cmp) (done bool, err error) {
	return r.end(ctx, roundBroken, conditions...)
}

// end ends the gathering with an outcome. If it does not, somebody else does or did, as the watch will tell.
func (r *Round) end(ctx context.Context, outcome string, conditions ...clientv3.Cmp) (done bool, err error) {
	resp, err := r.session().transact(ctx, append(conditions, r.gathering()),
		[]clientv3.Op{clientv3.OpDelete(r.barrier.roundKey()), clientv3.OpPut(r.outcomeKey(), outcome)}, nil)
	if err != nil || !resp.Succeeded {
		return false, err
	}
	r.outcome = outcome
	return true, nil
}

// refuse is the error of those who wait for another number of parties than those in this round. A round in which nobody
// is, because nobody entered or all have died, is broken up instead.
func (r *Round) refuse(ctx context.Context) error {
	now, err := r.read(ctx)
	if err != nil || now.round == nil {
		return err
	}
	if len(now.members) == 0 {
		_, err := r.breakUp(ctx, unchanged(now.round))
		return err
	}
	return fmt.Errorf("%w: %s, not %d", ErrPartiesDiffer, now.round.Value, r.barrier.parties)
}

// exit takes the party out and reports whether it was the last; then nothing of the round is left.
func (r *Round) exit(ctx context.Context) (last bool, err error) {
	members := r.dir + memberDir
	resp, err := r.session().transact(ctx,
		[]clientv3.Cmp{
			clientv3.Compare(clientv3.CreateRevision(members), "=", 0).WithRange(r.member),
			clientv3.Compare(clientv3.CreateRevision(r.member+"\x00"), "=", 0).WithRange(clientv3.GetPrefixRangeEnd(members)),
		},
		[]clientv3.Op{clientv3.OpDelete(r.dir, clientv3.WithPrefix())}, []clientv3.Op{clientv3.OpDelete(r.member)})
	return err == nil && resp.Succeeded, err
}

// withdraw takes the party out whether it is in or its enter is still on its way. A round that is not full is broken, so
// that what comes late finds it over. In one that is full the party is or is not; if it is, the others see it go.
func (r *Round) withdraw(ctx context.Context) error {
	if _, err := r.breakUp(ctx, r.notFull()); err != nil {
		return err
	}
	_, err := r.exit(ctx)
	return err
}

// abandon withdraws a party that will not wait any longer, now or, while the store does not answer, beside the caller.
// The session's end does it too, unless the lease is somebody else's.
func (r *Round) abandon() {
	s := r.session()
	ctx := s.ctx
	if s.attached {
		ctx = context.WithoutCancel(ctx)
	}
	if !r.sent || ctx.Err() != nil {
		return
	}
	if s.try(ctx, r.withdraw) != nil {
		s.spawn(func() { _ = r.withdraw(s.ctx) }) // ends when the store answers or with the session
	}
}

// Leave says that this party has ended the round, and waits until all have, or have died. It takes one commit. After an
// error that is not a *LostError it can be repeated; when ctx ended, this party may have left. With the session all that
// it was party to is left.
func (r *Round) Leave(ctx context.Context) error {
	return r.session().perform(ctx, "leave double barrier "+r.barrier.path, func(ctx context.Context) error {
		last, err := r.exit(ctx)
		if last || err != nil {
			return err
		}
		return r.session().follow(ctx, r.dir, &departure{round: r}, clientv3.WithPrefix(), clientv3.WithFilterPut())
	})
}

// departure is how those who have left see the others leave.
type departure struct {
	round  *Round
	behind int64 // who have not left
}

func (d *departure) look(ctx context.Context) (revision int64, done bool, err error) {
	r := d.round
	resp, err := r.session().transact(ctx, nil, []clientv3.Op{
		clientv3.OpGet(r.outcomeKey()), clientv3.OpGet(r.dir+memberDir, clientv3.WithPrefix(), clientv3.WithCountOnly()),
	}, nil)
	if err != nil {
		return 0, false, err
	}
	d.behind = resp.Responses[1].GetResponseRange().Count
	done, err = d.settle(ctx, only(resp, 0) == nil)
	return resp.Header.Revision, done, err
}

func (d *departure) take(ctx context.Context, changes []*clientv3.Event) (done bool, err error) {
	cleared := false
	for _, ev := range changes {
		if string(ev.Kv.Key) == d.round.outcomeKey() {
			cleared = true
		} else {
			d.behind--
		}
	}
	return d.settle(ctx, cleared)
}

// settle clears what is left of the round when the last one did not leave but die.
func (d *departure) settle(ctx context.Context, cleared bool) (done bool, err error) {
	if !cleared && d.behind <= 0 {
		_, err = d.round.exit(ctx)
	}
	return cleared || d.behind <= 0, err
}
