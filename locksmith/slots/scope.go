package slots

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// scope is what has a policy and a standing: one group, or all of them.
type scope struct {
	client   *clientv3.Client
	prefix   string // of all keys
	group    string // "" for all groups together
	base     string // what the keys of policy and standing begin with
	validate func(*Policy) error
}

func (s *scope) policyKey() string   { return s.base + "policy" }
func (s *scope) standingKey() string { return s.base + "standing" }

func (s *scope) newTry(what string) *try {
	where := "cluster"
	if s.group != "" {
		where = "group " + s.group
	}
	return &try{what: "slots: " + where + ": " + what, pause: firstPause}
}

// terms are the policy and standing of a scope at one revision.
type terms struct {
	Policy
	Standing
	policyRevision, standingRevision int64 // mod revisions of the keys, 0 without one
	revision                         int64 // of the read, where readTerms has made it
}

// gets reads what decodeTerms understands.
func (s *scope) gets() []clientv3.Op {
	return []clientv3.Op{clientv3.OpGet(s.policyKey()), clientv3.OpGet(s.standingKey())}
}

// decodeTerms reads the first two answers.
func (s *scope) decodeTerms(answers []*pb.ResponseOp) (t terms, err error) {
	for _, kv := range answers[0].GetResponseRange().Kvs {
		if err := decodePolicy(kv, &t.Policy, s.validate); err != nil {
			return t, err
		}
		t.policyRevision = kv.ModRevision
	}
	for _, kv := range answers[1].GetResponseRange().Kvs {
		if err := decodeJSON(kv, &t.Standing); err != nil {
			return t, err
		}
		t.standingRevision = kv.ModRevision
	}
	return t, nil
}

func (s *scope) readTerms(ctx context.Context) (terms, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	resp, err := s.client.Txn(ctx).Then(s.gets()...).Commit()
	if err != nil {
		return terms{}, err
	}
	t, err := s.decodeTerms(resp.Responses)
	t.revision = resp.Header.Revision
	return t, err
}

// unchanged compares that the terms are still those of t.
func (s *scope) unchanged(t terms) []clientv3.Cmp {
	return []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(s.policyKey()), "=", t.policyRevision),
		clientv3.Compare(clientv3.ModRevision(s.standingKey()), "=", t.standingRevision),
	}
}

func (s *scope) putStanding(standing Standing) (clientv3.Op, error) {
	return putJSON(s.standingKey(), standing)
}

// Policy reads the policy, linearizably. Where none was set all is zero.
func (s *scope) Policy(ctx context.Context) (Policy, error) {
	t, err := s.read(ctx, "read policy")
	return t.Policy, err
}

// Check says what is wrong with a policy that is to be set, or nil.
func (s *scope) Check(p Policy) error { return s.validate(&p) }

// Standing reads the standing, linearizably.
func (s *scope) Standing(ctx context.Context) (Standing, error) {
	t, err := s.read(ctx, "read standing")
	return t.Standing, err
}

func (s *scope) read(ctx context.Context, what string) (got terms, err error) {
	err = s.newTry(what).until(ctx, func(*try) (done bool, err error) {
		got, err = s.readTerms(ctx)
		return err == nil, err
	})
	return got, err
}

// ChangePolicy sets the policy to what change makes of the present one, and
// returns both. change may be called several times. [ErrPolicy], [ErrMax].
func (s *scope) ChangePolicy(ctx context.Context, change func(*Policy)) (old, changed Policy, err error) {
	err = s.newTry("set policy").until(ctx, func(t *try) (done bool, err error) {
		was, err := s.readTerms(ctx)
		if err != nil {
			return false, err
		}
		if !t.unknown { // else the present one may be what an earlier try has put
			old = was.Policy
		}
		changed = was.Policy
		change(&changed)
		if err := s.validate(&changed); err != nil {
			return true, err
		}
		put, err := putJSON(s.policyKey(), changed)
		if err != nil {
			return true, err
		}
		return t.commit(ctx, s.client, []clientv3.Cmp{
			clientv3.Compare(clientv3.ModRevision(s.policyKey()), "=", was.policyRevision)}, put)
	})
	return old, changed, err
}

// Pause keeps machines from being granted slots until Resume. A pause that is
// there already is replaced.
func (s *scope) Pause(ctx context.Context, p Pause) error {
	return s.changeStanding(ctx, "pause", Event{Time: p.Since, Kind: Paused, By: p.By, Reason: p.Reason},
		func(st *Standing) { st.Pause = &p })
}

// Resume ends a pause and forgets the failed returns.
func (s *scope) Resume(ctx context.Context, by string, now time.Time) error {
	return s.changeStanding(ctx, "resume", Event{Time: now, Kind: Resumed, By: by},
		func(st *Standing) { st.Pause, st.Failures = nil, 0 })
}

func (s *scope) changeStanding(ctx context.Context, what string, event Event, change func(*Standing)) error {
	return s.newTry(what).until(ctx, func(t *try) (done bool, err error) {
		was, err := s.readTerms(ctx)
		if err != nil {
			return false, err
		}
		note, err := s.note(event)
		if err != nil {
			return true, err
		}
		if t.unknown { // a second time it would undo what others did since
			if noted, err := s.exists(ctx, string(note.KeyBytes())); noted || err != nil {
				return noted, err
			}
		}
		change(&was.Standing)
		put, err := s.putStanding(was.Standing)
		if err != nil {
			return true, err
		}
		return t.commit(ctx, s.client, []clientv3.Cmp{
			clientv3.Compare(clientv3.ModRevision(s.standingKey()), "=", was.standingRevision)}, put, note)
	})
}

func (s *scope) exists(ctx context.Context, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	resp, err := s.client.Get(ctx, key, clientv3.WithCountOnly())
	return err == nil && resp.Count > 0, err
}
