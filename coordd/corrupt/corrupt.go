// Package corrupt compares the members' stores while they run. The leader asks
// for checksums of the revision log up to the same revision, which are equal
// wherever the log was applied rightly and what was stored is read back. A member
// that differs from the majority gets the alarm CORRUPT, and serves no data from
// then on; if no majority agrees, the alarm is nobody's in particular and stops
// all of them.
package corrupt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// hashTimeout bounds how long one member may take: it reads all its store.
const hashTimeout = 5 * time.Minute

// Node is the member's share in the replication: *raftnode.Node.
type Node interface {
	Status() raftnode.Status
	ReadIndex(ctx context.Context) error
	Propose(ctx context.Context, req proto.Message) (proto.Message, error)
}

// Driver compares while its member leads.
type Driver struct {
	Node  Node
	Store *kvcore.Store
	// HashKV asks another member, once it has come to the revision.
	HashKV func(ctx context.Context, member uint64, revision int64) (kvcore.Hash, error)
	// Every is the time between comparisons at the current revision, AtCompactions
	// between looks for a compaction since the last comparison; 0: none.
	Every, AtCompactions time.Duration
	Logger               *slog.Logger

	compared int64 // the compact revision at which all members agreed; owned by Run
}

// Run drives until ctx ends.
func (d *Driver) Run(ctx context.Context) {
	current, stopCurrent := ticks(d.Every)
	defer stopCurrent()
	compacted, stopCompacted := ticks(d.AtCompactions)
	defer stopCompacted()
	for {
		check := d.checkCurrent
		select {
		case <-current:
		case <-compacted:
			check = d.checkCompacted
		case <-ctx.Done():
			return
		}
		if !d.Node.Status().IsLeader() {
			continue
		}
		if err := check(ctx); err != nil && ctx.Err() == nil {
			d.Logger.Warn("the members' stores were not compared", "error", err)
		}
	}
}

// ticks returns a channel that ticks at the interval, or never if that is 0.
func ticks(interval time.Duration) (c <-chan time.Time, stop func()) {
	if interval <= 0 {
		return nil, func() {}
	}
	ticker := time.NewTicker(interval)
	return ticker.C, ticker.Stop
}

// checkCurrent compares all there is.
func (d *Driver) checkCurrent(ctx context.Context) error {
	if err := d.Node.ReadIndex(ctx); err != nil {
		return err
	}
	_, err := d.compare(ctx, d.Store.Revision())
	return err
}

// checkCompacted compares what the last compaction has left.
func (d *Driver) checkCompacted(ctx context.Context) error {
	revision := d.Store.CompactRevision()
	if revision <= 0 || revision == d.compared {
		return nil
	}
	all, err := d.compare(ctx, revision)
	if all {
		d.compared = revision
	}
	return err
}

// compare compares the members at a revision and raises alarms. It returns
// whether all of them could be compared.
func (d *Driver) compare(ctx context.Context, revision int64) (all bool, err error) {
	own, err := d.Store.HashKV(revision)
	if errors.Is(err, kvcore.ErrCompacted) {
		return false, nil // just now; there will be another time
	}
	if err != nil {
		return false, err
	}
	self := d.Node.Status().ID
	members := d.Store.Members()
	have := map[uint32][]uint64{own.Hash: {self}} // who has which hash
	compared := 1
	for _, m := range members {
		if m.Id == self {
			continue
		}
		h, err := d.ask(ctx, m.Id, revision)
		switch {
		case err != nil:
			d.Logger.Info("a member's store was not compared", "member", fmt.Sprintf("%x", m.Id), "error", err)
		case h.CompactRevision == own.CompactRevision:
			have[h.Hash] = append(have[h.Hash], m.Id)
			compared++
		}
	}
	d.Logger.Debug("compared the members' stores", "revision", revision, "members", compared, "different", len(have))
	for _, member := range judge(have, len(members)) {
		if err := d.raise(ctx, member, revision, have); err != nil {
			return false, err
		}
	}
	return compared == len(members), nil
}

func (d *Driver) ask(ctx context.Context, member uint64, revision int64) (kvcore.Hash, error) {
	ctx, cancel := context.WithTimeout(ctx, hashTimeout)
	defer cancel()
	return d.HashKV(ctx, member, revision)
}

// judge returns who is in the wrong: those that differ from a majority of all
// members, 0 where there is no such majority, nobody where there is no difference.
func judge(have map[uint32][]uint64, members int) (wrong []uint64) {
	if len(have) == 1 {
		return nil
	}
	for hash, majority := range have {
		if len(majority) <= members/2 {
			continue
		}
		for other, ids := range have {
			if other != hash {
				wrong = append(wrong, ids...)
			}
		}
		return wrong
	}
	return []uint64{0}
}

// raise raises the alarm of a member, unless it stands.
func (d *Driver) raise(ctx context.Context, member uint64, revision int64, have map[uint32][]uint64) error {
	for _, a := range d.Store.Alarms() {
		if a.Alarm == pb.AlarmType_CORRUPT && a.MemberID == member {
			return nil
		}
	}
	hashes := map[string]string{}
	for hash, ids := range have {
		hashes[fmt.Sprintf("%08x", hash)] = fmt.Sprintf("%x", ids)
	}
	d.Logger.Error("the members' stores differ", "revision", revision, "members_by_hash", hashes, "in_the_wrong", fmt.Sprintf("%x", member))
	_, err := d.Node.Propose(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: member, Alarm: pb.AlarmType_CORRUPT})
	return err
}
