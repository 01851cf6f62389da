package peer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/coordd/peer"
	"github.com/coordd/coordd/coordd/snap"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
)

func TestSnapshot(t *testing.T) {
	content := make([]byte, 3<<20+17)
	rand.NewChaCha8([32]byte{}).Read(content)
	r := newReceiver(t)
	tr := newTransport(t, func(c *peer.Config) { c.OpenSnapshot = storeOf(content) })
	tr.add(r)
	tr.connected()
	asked := snapshotMessage(15)
	tr.Send([]*raftpb.Message{asked, message(raftpb.MsgHeartbeat, 1)})

	var m *raftpb.Message
	for m.GetType() != raftpb.MsgSnap {
		m = r.next()
	}
	md := m.GetSnapshot().GetMetadata()
	if md.GetIndex() != 20 || md.GetTerm() != 5 || !slices.Equal(md.GetConfState().GetVoters(), []uint64{alice, bob}) {
		t.Errorf("raft was given %v; want the state that was opened", md)
	}
	if m.GetTerm() != 5 || m.GetFrom() != alice {
		t.Errorf("the message changed: %v", m)
	}
	if asked.GetSnapshot().GetMetadata().GetIndex() != 15 {
		t.Error("raft's own message was changed")
	}
	if got := await(t, tr.snapshots); got != (snapshotReport{bob, true}) {
		t.Errorf("reported %+v", got)
	}
	if err := r.dir.Install(snap.Position{Index: 20, Term: 5}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.read("db"), content) {
		t.Error("another store arrived than was sent")
	}
}

func TestSnapshotFailuresAreReported(t *testing.T) {
	broken := errors.New("disk gone")
	good := storeOf([]byte("store"))
	for _, tc := range []struct {
		name  string
		asked uint64
		open  func() (peer.Snapshot, error)
	}{
		{"cannot open", 15, func() (peer.Snapshot, error) { return peer.Snapshot{}, broken }},
		{"older than asked", 21, good},
		{"empty", 15, storeOf(nil)},
		{"breaks off", 15, func() (peer.Snapshot, error) {
			s, err := good()
			s.WriteTo = func(w io.Writer) (int64, error) {
				n, _ := w.Write(make([]byte, 1<<20))
				return int64(n), broken
			}
			return s, err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newReceiver(t)
			tr := newTransport(t, func(c *peer.Config) { c.OpenSnapshot = tc.open })
			tr.add(r)
			tr.connected()
			tr.Send([]*raftpb.Message{snapshotMessage(tc.asked)})
			if got := await(t, tr.snapshots); got != (snapshotReport{bob, false}) {
				t.Errorf("reported %+v", got)
			}
			eventually(t, r.empty)
			if len(r.stepped) > 0 {
				t.Errorf("raft was given %v", r.next())
			}
		})
	}
}

func TestOneSnapshotAtATime(t *testing.T) {
	opened, release := make(chan struct{}), make(chan struct{})
	closed := make(chan struct{}, 1)
	r := newReceiver(t)
	tr := newTransport(t, func(c *peer.Config) {
		c.OpenSnapshot = func() (peer.Snapshot, error) {
			s, err := storeOf([]byte("store"))()
			s.Close = func() { closed <- struct{}{} }
			close(opened)
			<-release
			return s, err
		}
	})
	tr.add(r)
	tr.connected()
	tr.Send([]*raftpb.Message{snapshotMessage(15)})
	await(t, opened)
	tr.Send([]*raftpb.Message{snapshotMessage(15)})
	if got := await(t, tr.snapshots); got.ok {
		t.Error("a second snapshot beside the first went well")
	}
	close(release)
	if got := await(t, tr.snapshots); !got.ok {
		t.Error("the first snapshot failed")
	}
	await(t, closed)
}

// A store that raft does not want leaves nothing on the disk. Where it is open
// whether raft has taken it, it stays: the log may say that it begins behind it.
func TestSnapshotThatRaftRefuses(t *testing.T) {
	for _, tc := range []struct {
		name    string
		refuses bool
		err     error
	}{
		{"not wanted", true, nil},
		{"broken", true, errors.New("broken")},
		{"stopped", false, errors.New("stopped")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newReceiver(t)
			r.stop()
			r.refuses = tc.refuses
			r.step = func(context.Context, *raftpb.Message) error { return tc.err }
			r.start()
			tr := newTransport(t, func(c *peer.Config) { c.OpenSnapshot = storeOf([]byte("store")) })
			tr.add(r)
			tr.connected()
			tr.Send([]*raftpb.Message{snapshotMessage(15)})
			if got := await(t, tr.snapshots); got.ok != (tc.err == nil) {
				t.Errorf("reported %+v", got)
			}
			if r.empty() != tc.refuses {
				t.Errorf("nothing left of the store: %t", r.empty())
			}
		})
	}
}

// A member that has the beginning of the store gets what it lacks.
func TestDelta(t *testing.T) {
	lacking := []byte("the rest")
	for _, tc := range []struct {
		name string
		held func() (kvcore.Held, error)
		kind snap.Kind
		want string
	}{
		{"some", func() (kvcore.Held, error) { return kvcore.Held{Revision: 7, Digest: []byte("d")}, nil }, snap.Delta, "the rest"},
		{"nothing of use", func() (kvcore.Held, error) { return kvcore.Held{Revision: 6}, nil }, snap.Whole, "all of it"},
		{"no answer", func() (kvcore.Held, error) { return kvcore.Held{}, errors.New("closed") }, snap.Whole, "all of it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newReceiver(t)
			r.stop()
			r.held = tc.held
			r.start()
			tr := newTransport(t, func(c *peer.Config) {
				c.OpenSnapshot = func() (peer.Snapshot, error) {
					s, err := storeOf([]byte("all of it"))()
					s.Delta = func(h kvcore.Held) *peer.Delta {
						if h.Revision != 7 || string(h.Digest) != "d" {
							return nil
						}
						return &peer.Delta{Revisions: 3, WriteTo: bytes.NewReader(lacking).WriteTo}
					}
					return s, err
				}
			})
			tr.add(r)
			tr.connected()
			tr.Send([]*raftpb.Message{snapshotMessage(15)})
			if got := await(t, tr.snapshots); !got.ok {
				t.Fatalf("reported %+v", got)
			}
			position := snap.Position{Index: 20, Term: 5}
			if kind, err := r.dir.Pending(position); kind != tc.kind || err != nil {
				t.Fatalf("received kind %d, %v, want %d", kind, err, tc.kind)
			}
			name := "0000000000000005-0000000000000014.snap.db"
			if tc.kind == snap.Delta {
				name = "0000000000000005-0000000000000014.delta"
			}
			if got := r.read(name); string(got) != tc.want {
				t.Errorf("received %q, want %q", got, tc.want)
			}
		})
	}
}

// A member that takes no more of a store does not hold the sender for ever.
func TestSnapshotToStuckMember(t *testing.T) {
	r := newReceiver(t)
	r.stop()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) }) // before the server is stopped
	r.step = func(context.Context, *raftpb.Message) error {
		<-release
		return nil
	}
	r.start()
	tr := newTransport(t, func(c *peer.Config) {
		c.OpenSnapshot = storeOf([]byte("store"))
		c.SnapshotTimeout = 50 * time.Millisecond
	})
	tr.add(r)
	tr.connected()
	tr.Send([]*raftpb.Message{snapshotMessage(15)})
	if got := await(t, tr.snapshots); got.ok {
		t.Error("reported as installed")
	}
}

func TestInstallSnapshotRefuses(t *testing.T) {
	content := []byte("the whole store")
	sum := sha256.Sum256(content)
	first := &coordpb.SnapshotChunk{Message: marshal(snapshotMessage(15))}
	data := &coordpb.SnapshotChunk{Data: content}
	last := &coordpb.SnapshotChunk{Sha256: sum[:]}
	for _, tc := range []struct {
		name   string
		chunks []*coordpb.SnapshotChunk
		code   codes.Code
	}{
		{"wrong checksum", []*coordpb.SnapshotChunk{first, data, {Sha256: make([]byte, 32)}}, codes.DataLoss},
		{"short checksum", []*coordpb.SnapshotChunk{first, data, {Sha256: sum[:31]}}, codes.DataLoss},
		{"missing data", []*coordpb.SnapshotChunk{first, last}, codes.InvalidArgument},
		{"doubled data", []*coordpb.SnapshotChunk{first, data, data, last}, codes.DataLoss},
		{"no checksum", []*coordpb.SnapshotChunk{first, data}, codes.InvalidArgument},
		{"nothing", nil, codes.InvalidArgument},
		{"no message", []*coordpb.SnapshotChunk{data, last}, codes.InvalidArgument},
		{"garbage message", []*coordpb.SnapshotChunk{{Message: []byte{0xff}}, data, last}, codes.InvalidArgument},
		{"another message", []*coordpb.SnapshotChunk{{Message: marshal(appendOf(1, 1))}, data, last}, codes.InvalidArgument},
		{"message twice", []*coordpb.SnapshotChunk{first, first, data, last}, codes.InvalidArgument},
		{"no position", []*coordpb.SnapshotChunk{{Message: marshal(message(raftpb.MsgSnap, 0))}, data, last}, codes.InvalidArgument},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newReceiver(t)
			stream, err := r.client().InstallSnapshot(identify(t, cluster, alice, bob))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range tc.chunks {
				if stream.Send(c) != nil {
					break // the reason comes below
				}
			}
			if _, err := stream.CloseAndRecv(); status.Code(err) != tc.code {
				t.Errorf("got %v, want %s", err, tc.code)
			}
			if !r.empty() || len(r.stepped) > 0 {
				t.Error("the store or its message was kept")
			}
		})
	}
}

func marshal(m *raftpb.Message) []byte {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}
