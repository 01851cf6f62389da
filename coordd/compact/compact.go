// Package compact compacts the store by itself, as a policy says. Every member
// looks at its revisions, so that a new leader need not begin to; only the leader
// compacts.
package compact

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Node is the member's share in the replication: *raftnode.Node.
type Node interface {
	Status() raftnode.Status
	Propose(ctx context.Context, req proto.Message) (proto.Message, error)
}

// Driver compacts while its member leads.
type Driver struct {
	Node     Node
	Revision func() int64 // the store's
	Policy   Policy
	Now      func() time.Time
	Logger   *slog.Logger
}

// Run drives until ctx ends.
func (d *Driver) Run(ctx context.Context) {
	ticker := time.NewTicker(d.Policy.Interval())
	defer ticker.Stop()
	for {
		d.look(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (d *Driver) look(ctx context.Context) {
	revision := d.Policy.Look(d.Now(), d.Revision())
	if revision == 0 || !d.Node.Status().IsLeader() {
		return
	}
	_, err := d.Node.Propose(ctx, &pb.CompactionRequest{Revision: revision})
	switch {
	case err == nil:
		d.Logger.Info("compacted by itself", "revision", revision)
	case errors.Is(err, kvcore.ErrCompacted): // somebody was faster
	case ctx.Err() == nil:
		d.Logger.Warn("compacting failed; it is tried again", "revision", revision, "error", err)
		return
	}
	d.Policy.Compacted(d.Now(), revision)
}
