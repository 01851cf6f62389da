package kvcore

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
)

// restored returns a store of revision 2 that was made the first state, entry 1,
// of a new cluster, with an epoch in it, or without one if that is "".
func restored(t *testing.T, epoch string) *Store {
	t.Helper()
	b := backend.NewMemory()
	old, err := Open(b, Defaults())
	if err != nil {
		t.Fatal(err)
	}
	put := &pb.PutRequest{Key: []byte("k")}
	if epoch != "" {
		put = &pb.PutRequest{Key: []byte(EpochKey), Value: []byte(epoch)}
	}
	old.Apply(7, 3, []proto.Message{put})
	if _, err := old.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := Rebase(b, Origin{Index: 1, Term: 1, ConfState: new(raftpb.ConfState)}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(b, Defaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if !s.EpochDue() {
		t.Fatal("a restored store does not know that the epoch is due")
	}
	return s
}

func nextEpoch(t *testing.T, s *Store, unixMicro uint64) *coordpb.EpochRaiseRequest {
	t.Helper()
	raise, err := s.NextEpoch(t.Context(), unixMicro)
	if err != nil {
		t.Fatal(err)
	}
	return raise
}

func epochIn(t *testing.T, s *Store) string {
	t.Helper()
	got, err := s.Range(t.Context(), &pb.RangeRequest{Key: []byte(EpochKey)})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) == 0 {
		return ""
	}
	return string(got.Kvs[0].Value)
}

func TestRestoredEpochRises(t *testing.T) {
	for name, c := range map[string]struct {
		before    string
		unixMicro uint64
		want      string
	}{
		"none yet":          {"", 1700000000, "1700000000"},
		"a lower one":       {"12", 1700000000, "1700000000"},
		"a clock gone back": {"1800000000", 1700000000, "1800000001"},
		"no clock":          {"", 0, "1"},
		"not a number":      {"twelve", 1700000000, "1700000000"},
		"the last there is": {"18446744073709551615", 1700000000, "1700000000"},
	} {
		t.Run(name, func(t *testing.T) {
			s := restored(t, c.before)
			s.Apply(2, 2, []proto.Message{nextEpoch(t, s, c.unixMicro)})
			if got := epochIn(t, s); got != c.want {
				t.Errorf("epoch %q, want %q", got, c.want)
			}
			if s.EpochDue() {
				t.Error("the epoch is still due")
			}
			if _, err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			if s = reopen(t, s); s.EpochDue() || epochIn(t, s) != c.want {
				t.Errorf("after a restart: epoch %q, due %t", epochIn(t, s), s.EpochDue())
			}
		})
	}
}

// Members that ask for it at the same time raise it once.
func TestOneRaiseCounts(t *testing.T) {
	s := restored(t, "")
	first, second := nextEpoch(t, s, 100), nextEpoch(t, s, 200)
	s.Apply(2, 2, []proto.Message{first, second})
	s.Apply(3, 2, []proto.Message{second})
	if got := epochIn(t, s); got != "100" || s.Revision() != 3 {
		t.Errorf("epoch %q at revision %d, want 100 at 3", got, s.Revision())
	}
}

// A raise from before the cluster was forced counts as it did, so that replayed
// revisions are what they were, but does not stand in for the one that is due.
func TestForceAsksForAnotherRaise(t *testing.T) {
	s := restored(t, "")
	old := nextEpoch(t, s, 100)
	if err := s.Force(&coordpb.Member{Id: 1}, 5); err != nil {
		t.Fatal(err)
	}
	s.Apply(5, 2, []proto.Message{old})
	if got := epochIn(t, s); got != "100" || !s.EpochDue() {
		t.Fatalf("after the old log: epoch %q, due %t", got, s.EpochDue())
	}
	s.Apply(6, 3, []proto.Message{nextEpoch(t, s, 100)})
	if got := epochIn(t, s); got != "101" || s.EpochDue() {
		t.Errorf("after the new raise: epoch %q, due %t", got, s.EpochDue())
	}
}

// The cluster's own request passes alarms, as the restored store may have any.
func TestAlarmsDoNotHoldTheRaiseUp(t *testing.T) {
	s := restored(t, "")
	s.Apply(2, 2, []proto.Message{
		&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE, MemberID: 1},
		&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_CORRUPT},
	})
	if r := s.Apply(3, 2, []proto.Message{nextEpoch(t, s, 100)}); r[0].Err != nil || s.EpochDue() {
		t.Errorf("%v, due %t", r[0].Err, s.EpochDue())
	}
}
