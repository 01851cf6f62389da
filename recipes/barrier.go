package recipes

import (
	"context"
	"encoding/json"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// DefaultBarrierPrefix is where the keys of barriers live by default.
const DefaultBarrierPrefix = "/coordd/barriers"

// BarrierOptions are a barrier's options; a zero field means its default.
type BarrierOptions struct {
	// Prefix is where the barrier's key lives, by default DefaultBarrierPrefix. It does not end in a slash and has at most
	// MaxPrefixBytes.
	Prefix string
	// Reason is shown to those who look at who holds the barrier, at most MaxReasonBytes.
	Reason string
	// OpensWithSession puts the session's lease on what Hold writes: the barrier opens when that session ends, also by a
	// crash. Without it the barrier stays closed until Release, whoever lives: those who wait for the end of something
	// must not take the death of whoever does it for that.
	OpensWithSession bool
}

// Defaults fills the zero fields.
func (o *BarrierOptions) Defaults() {
	if o.Prefix == "" {
		o.Prefix = DefaultBarrierPrefix
	}
}

// Validate names the first field that is out of range.
func (o *BarrierOptions) Validate() error {
	return validPlacement(o.Prefix, o.Reason, "")
}

// Barrier names a gate: Hold closes it, Release opens it, and Wait returns when it is open. Nobody owns it: whoever knows
// the name may open it. A barrier that was never held is open. A Barrier holds no state and is safe for concurrent use.
type Barrier struct {
	session *Session
	path    string
	reason  string
	options []clientv3.OpOption // of the put that closes it
	err     error               // of the name or the options; every call returns it
}

// barrierHold is the value of a closed barrier's key.
type barrierHold struct {
	Attempt string          `json:"attempt"` // tells the holds apart
	Holder  json.RawMessage `json:"holder"`
}

// NewBarrier names the barrier; nil options mean defaults. A name is 1 to MaxNameBytes of any bytes. An invalid name or
// option is the error of the first use.
func NewBarrier(s *Session, name string, o *BarrierOptions) *Barrier {
	var options BarrierOptions
	if o != nil {
		options = *o
	}
	options.Defaults()
	path, err := pathOf(options.Prefix, name)
	b := &Barrier{session: s, path: path, reason: options.Reason, err: errors.Join(options.Validate(), err)}
	if options.OpensWithSession {
		b.options = append(b.options, clientv3.WithLease(s.lease))
	}
	return b
}

func (b *Barrier) cell() cell { return cell{b.session, b.path + "/closed"} }

// Hold closes the barrier, in two commits. It returns ErrLocked when the barrier is closed already, by whomever. After any
// other error the barrier may be closed, or may still become so; a Release that succeeds says that it is not and will not.
func (b *Barrier) Hold(ctx context.Context) error {
	return b.do(ctx, "hold", func(ctx context.Context) error {
		value, err := json.Marshal(barrierHold{newAttemptID(), json.RawMessage(b.session.holder(b.reason).String())})
		if err != nil {
			panic("recipes: a hold of a barrier does not marshal: " + err.Error())
		}
		found, err := b.cell().fill(ctx, string(value), b.options...)
		if err == nil && string(found.Value) != string(value) {
			return ErrLocked
		}
		return err
	})
}

// Release opens the barrier, in one commit, and does nothing when it is open. It does not undo a Hold that began after it.
func (b *Barrier) Release(ctx context.Context) error {
	return b.do(ctx, "release", func(ctx context.Context) error { return b.cell().clear(ctx) })
}

// Wait returns nil when the barrier was open at a moment during the call. It survives broken watches, compactions and the
// loss of members for as long as the session lives; an error never means that the barrier is open. It writes nothing.
func (b *Barrier) Wait(ctx context.Context) error {
	return b.do(ctx, "wait at", func(ctx context.Context) error {
		cell := b.cell()
		return b.session.follow(ctx, cell.key, gate(cell))
	})
}

// do performs one call, which ends with the session at the latest.
func (b *Barrier) do(ctx context.Context, what string, f func(context.Context) error) error {
	if b.err != nil {
		return b.err
	}
	return b.session.perform(ctx, what+" barrier "+b.path, f)
}

// gate is how those who wait see a barrier's cell.
type gate cell

func (g gate) look(ctx context.Context) (revision int64, open bool, err error) {
	resp, err := g.session.transact(ctx, nil, []clientv3.Op{clientv3.OpGet(g.key)}, nil)
	if err != nil {
		return 0, false, err
	}
	found := only(resp, 0)
	return resp.Header.Revision, found == nil || len(found.Value) == 0, nil
}

func (g gate) take(_ context.Context, changes []*clientv3.Event) (open bool, err error) {
	for _, ev := range changes {
		open = open || len(ev.Kv.Value) == 0
	}
	return open, nil
}
