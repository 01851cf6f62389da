package corrupt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// cluster is the leader, 1, and followers that answer as a test says.
type cluster struct {
	*kvcore.Store

	mu       sync.Mutex
	follower bool
	answers  map[uint64]func(own kvcore.Hash) (kvcore.Hash, error)
	asked    int
}

func (c *cluster) Status() raftnode.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.follower {
		return raftnode.Status{ID: 1, Leader: 2}
	}
	return raftnode.Status{ID: 1, Leader: 1}
}

func (c *cluster) ReadIndex(ctx context.Context) error { return ctx.Err() }

func (c *cluster) Propose(_ context.Context, req proto.Message) (proto.Message, error) {
	index, _ := c.Applied()
	r := c.Apply(index+1, 1, []proto.Message{req})[0]
	return r.Response, r.Err
}

func (c *cluster) HashOf(_ context.Context, member uint64, revision int64) (kvcore.Hash, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	own, err := c.HashKV(revision)
	if err != nil {
		return own, err
	}
	return c.answers[member](own)
}

// change changes what the test has set.
func (c *cluster) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *cluster) corrupt() (members []uint64) {
	for _, a := range c.Alarms() {
		if a.Alarm == pb.AlarmType_CORRUPT {
			members = append(members, a.MemberID)
		}
	}
	return members
}

func newCluster(t *testing.T, answers ...func(kvcore.Hash) (kvcore.Hash, error)) (*cluster, *Driver) {
	t.Helper()
	store, err := kvcore.Open(backend.NewMemory(), kvcore.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	c := &cluster{Store: store, answers: map[uint64]func(kvcore.Hash) (kvcore.Hash, error){}}
	members := []*coordpb.Member{{Id: 1}}
	for i, answer := range answers {
		id := uint64(i + 2)
		members = append(members, &coordpb.Member{Id: id})
		c.answers[id] = answer
	}
	if err := store.Bootstrap(1, 1, &raftpb.ConfState{Voters: []uint64{1}}, members); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := c.Propose(t.Context(), &pb.PutRequest{Key: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	return c, &Driver{Node: c, Store: store, HashKV: c.HashOf, Logger: slog.New(slog.DiscardHandler)}
}

// What a follower may answer.
func same(own kvcore.Hash) (kvcore.Hash, error) { return own, nil }
func other(own kvcore.Hash) (kvcore.Hash, error) {
	own.Hash++
	return own, nil
}
func third(own kvcore.Hash) (kvcore.Hash, error) {
	own.Hash += 2
	return own, nil
}
func compactedElsewhere(own kvcore.Hash) (kvcore.Hash, error) {
	own.Hash, own.CompactRevision = own.Hash+1, own.CompactRevision+1
	return own, nil
}
func silent(kvcore.Hash) (kvcore.Hash, error) { return kvcore.Hash{}, errors.New("unreachable") }

func TestWhoIsInTheWrong(t *testing.T) {
	type answers = []func(kvcore.Hash) (kvcore.Hash, error)
	for name, c := range map[string]struct {
		answers answers
		want    []uint64
		all     bool
	}{
		"nobody":                          {answers{same, same}, nil, true},
		"a lone member":                   {nil, nil, true},
		"one follower":                    {answers{same, other}, []uint64{3}, true},
		"the leader":                      {answers{other, other}, []uint64{1}, true},
		"two of five":                     {answers{other, same, third, same}, []uint64{2, 4}, true},
		"one of two: who knows":           {answers{other}, []uint64{0}, true},
		"all of three":                    {answers{other, third}, []uint64{0}, true},
		"one of three, one silent":        {answers{other, silent}, []uint64{0}, false},
		"one of five, one silent":         {answers{other, silent, same, same}, []uint64{2}, false},
		"nobody, one silent":              {answers{same, silent}, nil, false},
		"nobody, one compacted elsewhere": {answers{same, compactedElsewhere}, nil, false},
	} {
		cluster, d := newCluster(t, c.answers...)
		for range 2 { // an alarm that stands is not raised again
			all, err := d.compare(t.Context(), cluster.Revision())
			if err != nil || all != c.all {
				t.Errorf("%s: all %t, %v", name, all, err)
			}
		}
		if got := cluster.corrupt(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestWhenMembersAreCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, d := newCluster(t, same, same)
		d.AtCompactions = time.Minute
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go d.Run(ctx)
		expect := func(when string, asked int) {
			t.Helper()
			time.Sleep(10*time.Minute + time.Second)
			synctest.Wait()
			c.change(func() {
				if c.asked != asked {
					t.Errorf("%s: %d questions, want %d", when, c.asked, asked)
				}
				c.asked = 0
			})
		}
		compact := func(revision int64) {
			if _, err := c.Propose(ctx, &pb.CompactionRequest{Revision: revision}); err != nil {
				t.Fatal(err)
			}
		}
		expect("before a compaction", 0)
		compact(5)
		expect("after a compaction", 2)
		c.change(func() { c.answers[3] = silent })
		compact(6)
		expect("while a member is silent", 20)
		c.change(func() { c.answers[3] = same })
		expect("once it answers", 2)
		c.change(func() { c.follower = true })
		compact(7)
		expect("on a follower", 0)
	})
	synctest.Test(t, func(t *testing.T) {
		c, d := newCluster(t, same, other)
		d.Every = time.Hour
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go d.Run(ctx)
		time.Sleep(3*time.Hour + time.Second)
		synctest.Wait()
		if got := c.corrupt(); c.asked != 6 || !slices.Equal(got, []uint64{3}) {
			t.Errorf("%d questions, in the wrong: %v", c.asked, got)
		}
	})
}
