package raftnode

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// compacting is a state machine with a compaction that never ends.
type compacting struct {
	StateMachine
	unflushed, most atomic.Int64
}

func (c *compacting) CompactStep(int) bool {
	c.most.Store(max(c.most.Load(), c.unflushed.Add(flushBytes/4)))
	return true
}

func (c *compacting) Unflushed() int { return int(c.unflushed.Load()) }

// A compaction does not run ahead of the disk while there is nothing to apply.
func TestCompactionWaitsForFlush(t *testing.T) {
	c := &compacting{}
	n := &Node{
		cfg:        Config{StateMachine: c},
		applies:    newQueue(),
		checkpoint: make(chan struct{}, 1),
		flushed:    make(chan struct{}, 1),
	}
	n.ctx, n.stop = context.WithCancel(t.Context())
	poke(n.applies.wake)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n.ctx.Err() == nil {
			n.compact()
		}
	}()
	for range 10 {
		select {
		case <-n.checkpoint:
		case <-time.After(10 * time.Second):
			t.Fatal("no flush is asked for")
		}
		time.Sleep(5 * time.Millisecond) // in which a compaction may not go on
		c.unflushed.Store(0)
		poke(n.flushed)
	}
	n.stop()
	<-done
	if most := c.most.Load(); most > 2*flushBytes {
		t.Errorf("%d bytes were unflushed, a flush starts at %d", most, flushBytes)
	}
}

// deaf is a state machine that nothing may be applied to.
type deaf struct {
	StateMachine
	t *testing.T
}

func (d deaf) Unflushed() int { return 0 }

func (d deaf) CheckMembership(uint64, proto.Message) error { return nil }

func (d deaf) Apply(index, _ uint64, _ []proto.Message) []kvcore.Result {
	d.t.Errorf("entry %d is applied without the change of the configuration before it", index)
	return nil
}

// A flush of what follows a change of the configuration that the state machine
// has not seen would lose that change for ever.
func TestStopEndsApplyingAtConfChange(t *testing.T) {
	n := &Node{cfg: Config{StateMachine: deaf{t: t}}, wake: make(chan struct{}, 1), reads: newReads()}
	n.ctx, n.stop = context.WithCancel(t.Context())
	n.stop()
	remove := &pb.MemberRemoveRequest{ID: 7}
	change, err := confChange(remove)
	if err != nil {
		t.Fatal(err)
	}
	if change.Context, err = coordpb.AppendBatch(nil, 1, 1, []proto.Message{remove}); err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(change)
	if err != nil {
		t.Fatal(err)
	}
	err = n.applyMessage(&raftpb.Message{Entries: []*raftpb.Entry{
		{Index: new(uint64(2)), Type: raftpb.EntryConfChange.Enum(), Data: data},
		{Index: new(uint64(3))},
	}})
	if !errors.Is(err, ErrStopped) || n.applied.Load() != 0 {
		t.Errorf("error %v with entry %d applied, want ErrStopped and none", err, n.applied.Load())
	}
}
