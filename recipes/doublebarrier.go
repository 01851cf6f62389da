package recipes

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Bounds and defaults of double barriers.
const (
	DefaultDoubleBarrierPrefix = "/coordd/double-barriers"
	// MaxParties leaves room in one transaction, of 128 operations in etcd, to compare the key of each.
	MaxParties = 100
)

// DoubleBarrierOptions are a double barrier's options; a zero field means its default.
type DoubleBarrierOptions struct {
	// Prefix is where the barrier's keys live, by default DefaultDoubleBarrierPrefix. It does not end in a slash and has at
	// most MaxPrefixBytes.
	Prefix string
	// Reason is shown to those who look at who is in, at most MaxReasonBytes.
	Reason string
}

// Defaults fills the zero fields.
func (o *DoubleBarrierOptions) Defaults() {
	if o.Prefix == "" {
		o.Prefix = DefaultDoubleBarrierPrefix
	}
}

// Validate names the first field that is out of range.
func (o *DoubleBarrierOptions) Validate() error {
	return validPlacement(o.Prefix, o.Reason, "")
}

// DoubleBarrier lets a number of parties begin something together and end it together, round after round: Enter waits
// until all are in, Round.Leave until all have left. A DoubleBarrier holds no state and is safe for concurrent use.
//
// Its keys are <path>/round, the round that is gathering, and <path>/g/<round>/… for each round not yet over. The create
// revision of the first tells the rounds apart, and its version tells how many have entered: each Enter puts it once more.
// When all are in, or one of those who were is gone, one transaction deletes it and writes the round's outcome. Whoever
// comes then makes the next round, and an Enter whose request comes late finds that its round is over.
type DoubleBarrier struct {
	session *Session
	path    string
	reason  string
	parties int
	err     error // of the name, the parties or the options; every call returns it
}

// NewDoubleBarrier names the barrier of 1 to MaxParties parties, the same number for all of them; nil options mean
// defaults. A name is 1 to MaxNameBytes of any bytes. What is invalid is the error of the first use.
func NewDoubleBarrier(s *Session, name string, parties int, o *DoubleBarrierOptions) *DoubleBarrier {
	var options DoubleBarrierOptions
	if o != nil {
		options = *o
	}
	options.Defaults()
	path, err := pathOf(options.Prefix, name)
	if parties < 1 || parties > MaxParties {
		err = errors.Join(err, fmt.Errorf("recipes: %d parties of a double barrier are not within 1 to %d", parties, MaxParties))
	}
	return &DoubleBarrier{
		session: s, path: path, reason: options.Reason, parties: parties, err: errors.Join(options.Validate(), err),
	}
}

// Enter waits until all parties are in the round and returns it; each call is one of the parties. When one of those who
// are in dies or gives up before that, all of them get ErrBarrierBroken; whoever enters then begins a new round. A death
// after that breaks nothing.
//
// It gives up when ctx ends, which breaks the round unless all were in: then the others have gone on and this party has
// left. It is a *LostError that the session ended or somebody deleted the party's key, and ErrPartiesDiffer that those who
// are in wait for another number of parties, which does not disturb them.
func (b *DoubleBarrier) Enter(ctx context.Context) (round *Round, err error) {
	if b.err != nil {
		return nil, b.err
	}
	attempt := newAttemptID()
	err = b.session.perform(ctx, "enter double barrier "+b.path, func(ctx context.Context) (err error) {
		for err == nil && round == nil {
			round, err = b.enter(ctx, attempt)
		}
		return err
	})
	return round, err
}

// enter tries one round. It returns neither a round nor an error when the next one is to be tried.
func (b *DoubleBarrier) enter(ctx context.Context, attempt string) (*Round, error) {
	r, err := b.gather(ctx, attempt)
	if r == nil || err != nil {
		return nil, err
	}
	if err = r.enter(ctx); err == nil {
		err = b.session.follow(ctx, r.dir, r, clientv3.WithPrefix())
	}
	if err == nil && r.isIn() && r.outcome != roundReady {
		_, err = r.exit(ctx)
	}
	if err == nil {
		err = b.session.Valid()
	}
	switch {
	case err != nil:
		r.abandon()
		return nil, err
	case r.isIn() && r.outcome == roundReady:
		return r, nil
	case r.isIn() && !r.stale:
		return nil, ErrBarrierBroken
	}
	return nil, nil
}

// gather returns the round that is gathering, after making one if there is none, or nil if it has just ended.
func (b *DoubleBarrier) gather(ctx context.Context, attempt string) (*Round, error) {
	key, value := b.roundKey(), strconv.Itoa(b.parties)
	resp, err := b.session.transact(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},
		[]clientv3.Op{clientv3.OpPut(key, value)}, []clientv3.Op{clientv3.OpGet(key)})
	if err != nil {
		return nil, err
	}
	if resp.Succeeded {
		return b.newRound(resp.Header.Revision, attempt), b.sweep(ctx)
	}
	found := only(resp, 0)
	r := b.newRound(found.CreateRevision, attempt)
	if string(found.Value) != value {
		return nil, r.refuse(ctx)
	}
	return r, nil
}

func (b *DoubleBarrier) roundKey() string { return b.path + "/round" }

// rounds is what the keys of all rounds begin with, but for the one that counts who enters.
func (b *DoubleBarrier) rounds() string { return b.path + "/g/" }

// sweep deletes what is left of rounds whose parties all died. Whoever makes a round does it.
func (b *DoubleBarrier) sweep(ctx context.Context) error {
	resp, err := b.session.transact(ctx, nil,
		[]clientv3.Op{clientv3.OpGet(b.rounds(), clientv3.WithPrefix(), clientv3.WithKeysOnly())}, nil)
	if err != nil {
		return err
	}
	inhabited := map[string]bool{} // by the round's directory
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		round, key, _ := strings.Cut(string(kv.Key[len(b.rounds()):]), "/")
		dir := b.rounds() + round + "/"
		inhabited[dir] = inhabited[dir] || strings.HasPrefix(key, memberDir)
	}
	for dir, inhabited := range inhabited {
		if inhabited {
			continue
		}
		empty := clientv3.Compare(clientv3.CreateRevision(dir+memberDir), "=", 0).WithPrefix()
		_, err := b.session.transact(ctx, []clientv3.Cmp{empty}, []clientv3.Op{clientv3.OpDelete(dir, clientv3.WithPrefix())}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}
