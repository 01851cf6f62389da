package peer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/coordd/peer"
	"github.com/coordd/coordd/coordd/snap"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
)

const (
	cluster = 0xc1
	alice   = 0xa1 // the sending member
	bob     = 0xb0 // the receiving one
	eve     = 0xe0 // removed
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call is who has called, and from where.
type call struct {
	from uint64
	urls []string
}

// receiver is a member's answering side on a loopback socket.
type receiver struct {
	t       *testing.T
	fs      *disk.Memory
	dir     *snap.Dir
	stepped chan *raftpb.Message
	step    func(context.Context, *raftpb.Message) error
	refuses bool // stores: raft does not want them
	held    func() (kvcore.Held, error)
	called  chan call
	server  *grpc.Server
	done    chan struct{}
	address string

	aliceRemoved atomic.Bool
}

func newReceiver(t *testing.T) *receiver {
	fs := disk.NewMemory()
	dir, err := snap.Open(fs, "/data/member/snap")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, fs: fs, dir: dir, stepped: make(chan *raftpb.Message, 1<<16), called: make(chan call, 1<<10), address: "127.0.0.1:0"}
	r.step = func(_ context.Context, m *raftpb.Message) error {
		r.stepped <- m
		return nil
	}
	r.held = func() (kvcore.Held, error) { return kvcore.Held{}, nil }
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *receiver) start() {
	r.t.Helper()
	listener, err := net.Listen("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.address = listener.Addr().String()
	r.server = grpc.NewServer(peer.ServerOptions()...)
	coordpb.RegisterPeerServer(r.server, peer.NewServer(peer.ServerConfig{
		ClusterID: cluster,
		MemberID:  bob,
		Logger:    slog.New(slog.DiscardHandler),
		Step:      r.step,
		Called:    func(from uint64, urls []string) { r.called <- call{from, urls} },
		Snapshots: r.dir,
		StepSnapshot: func(ctx context.Context, m *raftpb.Message) (bool, error) {
			return !r.refuses, r.step(ctx, m)
		},
		Held: func() (kvcore.Held, error) { return r.held() },
		LeaseRenew: func(_ context.Context, id int64) (int64, error) {
			if id == 7 {
				return 30, nil
			}
			return 0, errors.New("not the leader")
		},
		Members: func() []*coordpb.Member { return []*coordpb.Member{{Id: bob, Name: "bob"}} },
		Removed: func(id uint64) bool { return id == eve || id == alice && r.aliceRemoved.Load() },
		MemberPromote: func(_ context.Context, id uint64) ([]*coordpb.Member, error) {
			if id == 7 {
				return []*coordpb.Member{{Id: 7}}, nil
			}
			return nil, status.Error(codes.FailedPrecondition, "not in sync")
		},
		HasRun:          func(id uint64) bool { return id == alice },
		LeaseTimeToLive: func(_ context.Context, id int64) (int64, int64, error) { return id, 30, nil },
		HashKV: func(_ context.Context, revision int64) (kvcore.Hash, error) {
			return kvcore.Hash{Hash: uint32(revision), CompactRevision: 3}, nil
		},
	}))
	server, done := r.server, make(chan struct{})
	r.done = done
	go func() {
		defer close(done)
		server.Serve(listener)
	}()
}

func (r *receiver) stop() {
	r.server.Stop()
	<-r.done
}

func (r *receiver) next() *raftpb.Message { return await(r.t, r.stepped) }

type snapshotReport struct {
	id uint64
	ok bool
}

// transport is a Transport whose reports can be awaited.
type transport struct {
	*peer.Transport
	t           *testing.T
	unreachable chan uint64
	snapshots   chan snapshotReport
	removed     chan struct{}
}

func newTransport(t *testing.T, change func(*peer.Config)) *transport {
	tr := &transport{t: t, unreachable: make(chan uint64, 1<<16), snapshots: make(chan snapshotReport, 1<<10), removed: make(chan struct{}, 1<<10)}
	c := peer.Config{
		ClusterID:         cluster,
		MemberID:          alice,
		Logger:            slog.New(slog.DiscardHandler),
		URLs:              func() []string { return []string{"http://alice:1", "http://älice:2"} },
		OpenSnapshot:      func() (peer.Snapshot, error) { return peer.Snapshot{}, errors.New("no store") },
		SnapshotTimeout:   time.Minute,
		ReportUnreachable: func(id uint64) { tr.unreachable <- id },
		ReportSnapshot:    func(id uint64, ok bool) { tr.snapshots <- snapshotReport{id, ok} },
		Removed:           func() { tr.removed <- struct{}{} },
	}
	if change != nil {
		change(&c)
	}
	tr.Transport = peer.New(c)
	t.Cleanup(tr.Stop)
	return tr
}

func (tr *transport) add(r *receiver) {
	tr.t.Helper()
	if err := tr.Add(bob, []string{"http://" + r.address}); err != nil {
		tr.t.Fatal(err)
	}
}

// connected waits until bob has accepted the stream.
func (tr *transport) connected() {
	tr.t.Helper()
	eventually(tr.t, func() bool { return !tr.ActiveSince(bob).IsZero() })
}

func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came true")
		}
	}
}

func message(kind raftpb.MessageType, index uint64) *raftpb.Message {
	return &raftpb.Message{Type: new(kind), From: new(uint64(alice)), To: new(uint64(bob)), Term: new(uint64(5)), Index: new(index)}
}

// appendOf is a MsgApp with one entry of size bytes after index.
func appendOf(index uint64, size int) *raftpb.Message {
	m := message(raftpb.MsgApp, index)
	m.LogTerm = new(uint64(5))
	m.Entries = []*raftpb.Entry{{Index: new(index + 1), Term: new(uint64(5)), Data: make([]byte, size)}}
	return m
}

func snapshotMessage(index uint64) *raftpb.Message {
	m := message(raftpb.MsgSnap, 0)
	m.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: new(index), Term: new(uint64(4)), ConfState: &raftpb.ConfState{Voters: []uint64{alice, bob}},
	}}
	return m
}

// storeOf is what OpenSnapshot gives: a store of these bytes at index 20, term 5.
func storeOf(content []byte) func() (peer.Snapshot, error) {
	return func() (peer.Snapshot, error) {
		return peer.Snapshot{
			Index: 20, Term: 5,
			ConfState: &raftpb.ConfState{Voters: []uint64{alice, bob}},
			WriteTo:   func(w io.Writer) (int64, error) { return io.Copy(w, bytes.NewReader(content)) },
			Delta:     func(kvcore.Held) *peer.Delta { return nil },
			Close:     func() {},
		}, nil
	}
}

func (r *receiver) read(name string) []byte {
	r.t.Helper()
	f, err := r.fs.Open(path.Join("/data/member/snap", name))
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		r.t.Fatal(err)
	}
	data, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

// empty says that no trace of a store is left.
func (r *receiver) empty() bool {
	r.t.Helper()
	names, err := r.fs.List("/data/member/snap")
	if err != nil {
		r.t.Fatal(err)
	}
	return len(names) == 0
}
