package kvcore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/kvtest"
	"github.com/coordd/coordd/proto/coordpb"
)

// pair is a leader and a follower that at times misses entries of its log.
type pair struct {
	*rand.Rand
	t                *testing.T
	generator        *kvtest.Generator
	leader, follower *kvcore.Store
	index            uint64
	missed           [][]proto.Message // from the follower's index on
}

func newPair(t *testing.T, seed uint64) *pair {
	random := rand.New(rand.NewPCG(seed, 2))
	p := &pair{Rand: random, t: t, generator: &kvtest.Generator{Rand: random, Model: kvtest.NewModel(), Term: 1}}
	open := func() *kvcore.Store {
		s, err := kvcore.Open(backend.NewMemory(), kvcore.Options{RecentEvents: random.IntN(2) * 1000, RecentBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	p.leader, p.follower = open(), open()
	t.Cleanup(func() { p.leader.Close(); p.follower.Close() })
	return p
}

// entry applies a random entry to the leader.
func (p *pair) entry() []proto.Message {
	var reqs []proto.Message
	for range p.IntN(5) {
		req := p.generator.Command()
		p.generator.Model.Apply(1, req)
		reqs = append(reqs, req)
	}
	p.index++
	p.leader.Apply(p.index, 1, reqs)
	p.disturb(p.leader)
	return reqs
}

// follow applies to the follower what it missed, up to n entries.
func (p *pair) follow(n int) {
	applied, _ := p.follower.Applied()
	for range min(n, len(p.missed)) {
		applied++
		p.follower.Apply(applied, 1, p.missed[0])
		p.missed = p.missed[1:]
		p.disturb(p.follower)
	}
}

// disturb compacts and flushes a store at its own pace.
func (p *pair) disturb(s *kvcore.Store) {
	if p.IntN(2) == 0 {
		s.CompactStep(1 + p.IntN(20))
	}
	if p.IntN(4) == 0 {
		p.flush(s)
	}
}

func (p *pair) flush(s *kvcore.Store) {
	p.t.Helper()
	if _, err := s.Flush(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) snapshot(s *kvcore.Store) kvcore.Snapshot {
	p.t.Helper()
	snapshot, err := s.Snapshot()
	if err != nil {
		p.t.Fatal(err)
	}
	return snapshot
}

func (p *pair) held() kvcore.Held {
	s := p.snapshot(p.follower)
	defer s.Close()
	return s.Held()
}

// delta returns what the leader would send; false where that is the whole store.
func (p *pair) delta(h kvcore.Held) (_ []byte, ok bool) {
	s := p.snapshot(p.leader)
	defer s.Close()
	d, ok := s.Delta(h)
	if !ok {
		return nil, false
	}
	var b bytes.Buffer
	if _, err := d.WriteTo(&b); err != nil {
		p.t.Fatal(err)
	}
	if want := p.leader.Revision() - h.Revision; d.Revisions != want {
		p.t.Errorf("the delta has %d revisions, want %d", d.Revisions, want)
	}
	return b.Bytes(), true
}

// equal compares everything that can be read of the two stores.
func (p *pair) equal() {
	p.t.Helper()
	want, err := p.leader.HashKV(0)
	if err != nil {
		p.t.Fatal(err)
	}
	if got, err := p.follower.HashKV(0); got != want || err != nil {
		p.t.Fatalf("hash %+v, %v, want %+v", got, err, want)
	}
	for rev := max(1, p.leader.CompactRevision()); rev <= p.leader.Revision(); rev++ {
		r := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev}
		want, wantErr := p.leader.Range(p.t.Context(), r)
		got, err := p.follower.Range(p.t.Context(), r)
		if !proto.Equal(got, want) || err != nil || wantErr != nil {
			p.t.Fatalf("at revision %d: %v, %v\nwant %v, %v", rev, got, err, want, wantErr)
		}
	}
	if got, want := p.follower.Leases().List(), p.leader.Leases().List(); !slices.Equal(got, want) {
		p.t.Fatalf("leases %v, want %v", got, want)
	}
	for _, id := range p.leader.Leases().List() {
		gotLease, _ := p.follower.Leases().Lookup(id)
		wantLease, _ := p.leader.Leases().Lookup(id)
		if got, want := p.follower.Leases().Keys(id), p.leader.Leases().Keys(id); gotLease != wantLease || !slices.Equal(got, want) {
			p.t.Fatalf("lease %+v with %q, want %+v with %q", gotLease, got, wantLease, want)
		}
	}
	if got, want := p.follower.Members(), p.leader.Members(); !slices.EqualFunc(got, want, func(a, b *coordpb.Member) bool { return proto.Equal(a, b) }) {
		p.t.Fatalf("members %v, want %v", got, want)
	}
	index, term := p.follower.Applied()
	if wantIndex, wantTerm := p.leader.Applied(); index != wantIndex || term != wantTerm {
		p.t.Fatalf("applied %d, %d, want %d, %d", index, term, wantIndex, wantTerm)
	}
}

// faulty is a backend that fails after some commits.
type faulty struct {
	backend.Backend
	commits int
}

var errDisk = errors.New("disk gone")

func (f *faulty) Commit(b *backend.Batch) error {
	if f.commits--; f.commits < 0 {
		return errDisk
	}
	return f.Backend.Commit(b)
}

// catchUp lets the follower take a delta, with a crash in it at times.
func (p *pair) catchUp(delta []byte) {
	p.t.Helper()
	if p.IntN(3) > 0 {
		if err := p.follower.Merge(bytes.NewReader(delta)); err != nil {
			p.t.Fatal(err)
		}
		return
	}
	before, _ := p.follower.Applied()
	b, err := kvtest.CrashMemory(p.follower)
	if err != nil {
		p.t.Fatal(err)
	}
	for commits := 0; ; commits++ {
		err := kvcore.MergeDelta(&faulty{b, commits}, bytes.NewReader(delta))
		if err == nil {
			break
		}
		if !errors.Is(err, errDisk) {
			p.t.Fatal(err)
		}
		if now, _ := b.Applied(); now > before {
			p.t.Fatalf("the applied position is %d before the merge is done", now)
		}
	}
	if p.follower, err = kvcore.Open(b, kvcore.Defaults()); err != nil {
		p.t.Fatal(err)
	}
}

// whole lets the follower take the whole store.
func (p *pair) whole() {
	p.t.Helper()
	s := p.snapshot(p.leader)
	defer s.Close()
	var stream bytes.Buffer
	if _, err := s.WriteTo(&stream); err != nil {
		p.t.Fatal(err)
	}
	b, err := backend.RestoreMemory(&stream)
	if err == nil {
		err = p.follower.Restore(b)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// Two stores compact, flush and crash at their own pace; the one that falls
// behind takes deltas of the other, having gone on since it said what it holds.
func TestFollowerWithDeltasIsLeader(t *testing.T) {
	took := map[bool]int{}
	for seed := range uint64(30) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			p := newPair(t, seed)
			for range 40 {
				for range p.IntN(30) {
					p.missed = append(p.missed, p.entry())
				}
				p.follow(p.IntN(40))
				held := p.held()
				p.follow(p.IntN(10))
				p.flush(p.leader)
				delta, ok := p.delta(held)
				took[ok]++
				if index, _ := p.follower.Applied(); index == p.index {
					continue // raft would not want it
				}
				p.missed = nil
				if ok {
					p.catchUp(delta)
				} else {
					p.whole()
				}
				p.equal()
				p.follower.CompactStep(1 << 20)
				p.flush(p.follower)
				p.equal()
			}
		})
	}
	if took[true] == 0 || took[false] == 0 {
		t.Errorf("%d deltas, %d whole stores", took[true], took[false])
	}
}

func put(key, value string) *pb.PutRequest {
	return &pb.PutRequest{Key: []byte(key), Value: []byte(value)}
}

// What was compacted while a follower was away goes there, too.
func TestDeltaSchedulesCompaction(t *testing.T) {
	p := newPair(t, 0)
	for i := range 100 {
		p.index++
		reqs := []proto.Message{put("k", fmt.Sprint(i))}
		p.leader.Apply(p.index, 1, reqs)
		p.follower.Apply(p.index, 1, reqs)
	}
	p.flush(p.follower)
	held := p.held()
	p.index++
	p.leader.Apply(p.index, 1, []proto.Message{&pb.CompactionRequest{Revision: held.Revision}, put("k", "new")})
	for p.leader.CompactStep(10) {
	}
	p.flush(p.leader)
	delta, ok := p.delta(held)
	if !ok {
		t.Fatal("a follower at the compact revision itself needs the whole store")
	}
	if err := p.follower.Merge(bytes.NewReader(delta)); err != nil {
		t.Fatal(err)
	}
	at, cancel := context.WithCancel(t.Context())
	if cancel(); p.follower.AwaitCompaction(at, held.Revision) == nil {
		t.Error("the compaction is said to be done")
	}
	for p.follower.CompactStep(10) {
	}
	p.flush(p.follower)
	p.equal()
	if _, got := p.follower.Size(); got > 300 {
		t.Errorf("%d bytes are left of 100 revisions of one key", got)
	}
}

func TestNoDelta(t *testing.T) {
	p := newPair(t, 0)
	if p.held().Digest != nil {
		t.Error("an empty store has a digest")
	}
	for i := range 10 {
		p.index++
		p.leader.Apply(p.index, 1, []proto.Message{put("k", fmt.Sprint(i))})
		p.follower.Apply(p.index, 1, []proto.Message{put("k", fmt.Sprint("other", i))})
	}
	p.flush(p.follower)
	p.flush(p.leader)
	held := p.held()
	for name, h := range map[string]kvcore.Held{
		"empty":           {},
		"nothing at 1":    {Revision: 1},
		"another history": held,
		"ahead":           {Revision: 100, Digest: held.Digest},
		"absurd":          {Revision: 1<<63 - 1, Digest: held.Digest},
		"negative":        {Revision: -1, Digest: held.Digest},
	} {
		if _, ok := p.delta(h); ok {
			t.Errorf("%s: a delta is sent", name)
		}
	}
}

// A delta of more than one batch, with cursors open, beside flushes.
func TestLargeDelta(t *testing.T) {
	p := newPair(t, 0)
	first := []proto.Message{put("first", "")}
	cs := &raftpb.ConfState{Voters: []uint64{1}, AutoLeave: new(false)}
	for _, s := range []*kvcore.Store{p.leader, p.follower} {
		if err := s.Bootstrap(1, 1, cs, nil); err != nil {
			t.Fatal(err)
		}
		s.Apply(2, 1, first)
		p.flush(s)
	}
	cursor, err := p.follower.Watch(kvcore.WatchOptions{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: 1}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer cursor.Close()
	const entries, puts = 60, 1000
	entry := func(i int) []proto.Message {
		reqs := make([]proto.Message, puts)
		for j := range reqs {
			reqs[j] = put(fmt.Sprintf("key/%d/%d", i, j), "value")
		}
		return reqs
	}
	for i := range entries {
		p.leader.Apply(uint64(3+i), 1, entry(i))
	}
	p.flush(p.leader)
	delta, ok := p.delta(p.held())
	if !ok {
		t.Fatal("no delta")
	}
	p.follower.Apply(3, 1, entry(0)) // unflushed, and in the delta
	damaged := bytes.Clone(delta)
	damaged[len(damaged)/2] ^= 1
	if err := p.follower.Merge(bytes.NewReader(damaged)); !errors.Is(err, backend.ErrDamaged) {
		t.Fatalf("a damaged delta gives %v", err)
	}
	if err := p.follower.Merge(bytes.NewReader(delta)); err != nil {
		t.Fatal(err)
	}
	p.flush(p.follower)
	hash, err := p.leader.HashKV(0)
	if got, err2 := p.follower.HashKV(0); got != hash || err != nil || err2 != nil {
		t.Errorf("hash %+v, want %+v", got, hash)
	}
	if got := p.follower.ConfState(); !proto.Equal(got, p.leader.ConfState()) {
		t.Errorf("configuration %v", got)
	}
	seen := 0
	for more := true; more; {
		events, again, err := cursor.Next(1000)
		if err != nil {
			t.Fatal(err)
		}
		seen, more = seen+len(events), again
	}
	if seen != 1+entries*puts {
		t.Errorf("the cursor showed %d events, want %d", seen, 1+entries*puts)
	}
}
