package blocker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordd/coordd/e2e/cluster"
)

func TestJudge(t *testing.T) {
	status := func(term, applied, committed uint64, errs ...string) *clientv3.StatusResponse {
		return &clientv3.StatusResponse{Leader: 1, RaftTerm: term, RaftAppliedIndex: applied, RaftIndex: committed, Errors: errs}
	}
	well := func(id uint64) member {
		return member{id: id, name: fmt.Sprint("n", id), status: status(2, 99_990, 100_000)}
	}
	down := func(id uint64) member {
		return member{id: id, name: fmt.Sprint("n", id), err: errors.New("no answer in 5s")}
	}
	with := func(m member, change func(*member)) member { change(&m); return m }
	learner := func(m *member) { m.learner = true }
	leaderless := func(m *member) { m.status = status(2, 100_000, 100_000, "etcdserver: no leader"); m.status.Leader = 0 }
	behind := func(m *member) { m.status = status(2, 1, 100_000) }
	past := func(m *member) { m.status = status(1, 100_000, 100_000) }
	full := func(m *member) { m.status = status(2, 100_000, 100_000, "memberID:2 alarm:NOSPACE ") }
	for name, c := range map[string]struct {
		members []member
		ours    []uint64
		want    []string
	}{
		"one of three":                {members: []member{well(1), well(2), well(3)}, ours: []uint64{1}},
		"one of three, one is down":   {members: []member{well(1), well(2), down(3)}, ours: []uint64{1}, want: []string{"without this machine 1 of 3 members of the store would be left in order, a quorum is 2", "n3: no answer in 5s"}},
		"the one that is down itself": {members: []member{down(1), well(2), well(3)}, ours: []uint64{1}},
		"one of five, one is down":    {members: []member{well(1), well(2), down(3), well(4), well(5)}, ours: []uint64{1}},
		"one of five, two are down":   {members: []member{well(1), well(2), down(3), well(4), down(5)}, ours: []uint64{1}, want: []string{"without this machine 2 of 5 members of the store would be left in order, a quorum is 3", "n3: no answer in 5s", "n5: no answer in 5s"}},
		"one of four":                 {members: []member{well(1), well(2), well(3), well(4)}, ours: []uint64{1}},
		"one of four, one is down":    {members: []member{well(1), well(2), well(3), down(4)}, ours: []uint64{1}, want: []string{"without this machine 2 of 4 members of the store would be left in order, a quorum is 3", "n4: no answer in 5s"}},
		"one of two":                  {members: []member{well(1), well(2)}, ours: []uint64{1}, want: []string{"without this machine 1 of 2 members of the store would be left, never a quorum"}},
		"the only one":                {members: []member{well(1)}, ours: []uint64{1}, want: []string{"without this machine 0 of 1 members of the store would be left, never a quorum"}},
		"two on this machine":         {members: []member{well(1), well(2), well(3)}, ours: []uint64{1, 2}, want: []string{"without this machine 1 of 3 members of the store would be left, never a quorum"}},
		"a learner does not count":    {members: []member{well(1), well(2), down(3), with(well(4), learner)}, ours: []uint64{1}, want: []string{"without this machine 1 of 3 members of the store would be left in order, a quorum is 2", "n3: no answer in 5s"}},
		"nor is it asked for":         {members: []member{well(1), well(2), well(3), with(down(4), learner)}, ours: []uint64{1}},
		"this machine's is a learner": {members: []member{with(well(1), learner), well(2), well(3)}, ours: []uint64{1}},
		"one without a leader":        {members: []member{well(1), well(2), with(well(3), leaderless)}, ours: []uint64{1}, want: []string{"without this machine 1 of 3 members of the store would be left in order, a quorum is 2", "n3: knows no leader"}},
		"one that can be spared":      {members: []member{well(1), well(2), with(well(3), leaderless), well(4), well(5)}, ours: []uint64{1}},
		"one that catches up":         {members: []member{well(1), well(2), with(well(3), behind)}, ours: []uint64{1}, want: []string{"without this machine 1 of 3 members of the store would be left in order, a quorum is 2", "n3: is 99999 entries behind"}},
		"one that lives in the past":  {members: []member{well(1), well(2), with(well(3), past)}, ours: []uint64{1}, want: []string{"without this machine 1 of 3 members of the store would be left in order, a quorum is 2", "n3: is in term 1, others are in 2"}},
		"an alarm, told by each":      {members: []member{well(1), with(well(2), full), with(well(3), full)}, ours: []uint64{1}, want: []string{"an alarm of the store is raised", "the store says: memberID:2 alarm:NOSPACE "}},
	} {
		t.Run(name, func(t *testing.T) {
			ours := map[uint64]bool{}
			for _, id := range c.ours {
				ours[id] = true
			}
			expect(t, judge(c.members, ours), c.want...)
		})
	}
}

// TestQuorum: on clusters of real processes, of which one after another is in trouble.
func TestQuorum(t *testing.T) {
	for _, program := range []string{"bin/coordd", "e2e/peers/bin/etcd"} {
		t.Run(filepath.Base(program), func(t *testing.T) {
			t.Parallel()
			testQuorum(t, filepath.Join("..", "..", program))
		})
	}
}

func testQuorum(t *testing.T, program string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Spec{Program: program, Size: 3, Dir: t.TempDir(), Flags: []string{"--strict-reconfig-check=false"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	ask := func(member string) []string {
		t.Helper()
		return blocks(t, Config{Quorum: true, Timeout: 2 * time.Second}, Sources{Store: client, Member: member})
	}
	// await asks until the answer begins with want; members need a moment to hear of each other.
	await := func(member string, want ...string) {
		t.Helper()
		for {
			got := ask(member)
			if slices.EqualFunc(got, want, strings.HasPrefix) {
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("%q, want %q", got, want)
			}
		}
	}
	first := c.Members[0].Name
	await(first)
	expect(t, ask(MemberNone))
	expect(t, ask("nobody"), `quorum: cannot tell, and so blocks: the store has no member of the name "nobody"`)
	expect(t, ask(MemberAuto), "quorum: without this machine 0 of 3 members of the store would be left, never a quorum")

	learner, err := client.MemberAddAsLearner(ctx, []string{"http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, ask(first))
	if _, err := client.MemberRemove(ctx, learner.Member.ID); err != nil {
		t.Fatal(err)
	}

	third := c.Members[2]
	third.Kill()
	left := "quorum: without this machine 1 of 3 members of the store would be left in order, a quorum is 2"
	await(first, left, "quorum: "+third.Name+": no answer in 1s")
	await(third.Name) // it is down already
	if err := third.Start(); err != nil {
		t.Fatal(err)
	}
	if err := third.AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	await(first)

	raise := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 7, Alarm: pb.AlarmType_NOSPACE}
	if _, err := pb.NewMaintenanceClient(client.ActiveConnection()).Alarm(ctx, raise); err != nil {
		t.Fatal(err)
	}
	await(first, "quorum: an alarm of the store is raised", "quorum: the store says: ")

	c.Members[1].Kill()
	third.Kill()
	short := Config{Quorum: true, Timeout: 300 * time.Millisecond}
	if got := blocks(t, short, Sources{Store: client, Member: first}); len(got) != 1 || !strings.HasPrefix(got[0], "quorum: cannot tell, and so blocks: list the members of the store: ") {
		t.Errorf("without a quorum: %q", got)
	}
}
