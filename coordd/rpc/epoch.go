package rpc

import (
	"context"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
)

// RaiseEpoch raises the epoch of fencing tokens if that is due. Once it returns
// nil, whatever this member proposes comes behind it in the log. It fails as
// Propose does.
//
// Every member of a restored cluster finds in its own store that the epoch is
// due, and lets no client write before it has applied a raise; one that joins can
// do so only through such a member. So no lock is ever granted between the
// restore and the raise.
func RaiseEpoch(ctx context.Context, node *raftnode.Node, store *kvcore.Store, now func() time.Time) error {
	for store.EpochDue() {
		raise, err := store.NextEpoch(ctx, uint64(max(now().UnixMicro(), 0)))
		if err != nil {
			return err
		}
		if _, err := node.Propose(ctx, raise); err != nil {
			return err
		}
	}
	return nil
}
