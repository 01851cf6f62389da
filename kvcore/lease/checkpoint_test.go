package lease_test

import (
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/kvcore/lease"
)

// wantCheckpoints takes the checkpoints that are due and proposes them with success, or not.
func wantCheckpoints(t *testing.T, tab *lease.Table, seconds int, applied bool, want ...lease.Lease) {
	t.Helper()
	got := tab.Checkpoints(after(seconds), 9)
	if !slices.Equal(got, want) {
		t.Errorf("checkpoints after %d s: %+v, want %+v", seconds, got, want)
	}
	if applied {
		for _, l := range got {
			tab.Checkpoint(l.ID, l.RemainingSeconds)
		}
	}
	tab.Checkpointed()
}

func TestCheckpointsComeAtHalves(t *testing.T) {
	tab := table(t, map[lease.ID]int64{1: 100, 2: 3600, 3: 3})
	tab.Promote(epoch)
	wantCheckpoints(t, tab, 49, true)
	wantCheckpoints(t, tab, 50, true, lease.Lease{ID: 1, TTLSeconds: 100, RemainingSeconds: 50})
	wantCheckpoints(t, tab, 74, true)
	wantCheckpoints(t, tab, 75, false, lease.Lease{ID: 1, TTLSeconds: 100, RemainingSeconds: 25})
	wantCheckpoints(t, tab, 80, true, lease.Lease{ID: 1, TTLSeconds: 100, RemainingSeconds: 20}) // the one before failed
	wantCheckpoints(t, tab, 97, true, lease.Lease{ID: 1, TTLSeconds: 100, RemainingSeconds: 3})
	wantCheckpoints(t, tab, 99, true) // too little is left to be worth it
	wantDue(t, tab, 100, 9, 3, 1)
	wantCheckpoints(t, tab, 299, true)
	wantCheckpoints(t, tab, 300, true, lease.Lease{ID: 2, TTLSeconds: 3600, RemainingSeconds: 3300})
	wantCheckpoints(t, tab, 600, true, lease.Lease{ID: 2, TTLSeconds: 3600, RemainingSeconds: 3000})
}

func TestNextLeaderGoesOnFromTheCheckpoint(t *testing.T) {
	tab := table(t, map[lease.ID]int64{1: 100})
	tab.Promote(epoch)
	wantCheckpoints(t, tab, 60, true, lease.Lease{ID: 1, TTLSeconds: 100, RemainingSeconds: 40})
	tab.Demote()
	tab.Promote(after(61))
	if left, err := tab.Remaining(1, after(61)); left != 40*time.Second || err != nil {
		t.Errorf("remaining %v, %v", left, err)
	}
	wantCheckpoints(t, tab, 80, true)
	wantCheckpoints(t, tab, 81, true, lease.Lease{ID: 1, TTLSeconds: 100, RemainingSeconds: 20})
	wantDue(t, tab, 100, 9)
	wantDue(t, tab, 101, 9, 1)
}

// A lease that is kept alive three times a TTL costs the log nothing.
func TestKeptAliveLeaseNeedsNoCheckpoint(t *testing.T) {
	tab := table(t, map[lease.ID]int64{1: 30})
	tab.Promote(epoch)
	for s := 10; s < 10_000; s += 10 {
		wantCheckpoints(t, tab, s, true)
		if _, err := tab.Renew(1, after(s)); err != nil {
			t.Fatal(err)
		}
		if _, shortened, _ := tab.Shortened(1); shortened {
			t.Fatal("shortened without a checkpoint")
		}
	}
	wantCheckpoints(t, tab, 9990+15, true, lease.Lease{ID: 1, TTLSeconds: 30, RemainingSeconds: 15})
}

// Until the log says it again, a renewed lease does not have its whole TTL.
func TestRenewedLeaseIsShortenedUntilRestored(t *testing.T) {
	tab := table(t, map[lease.ID]int64{1: 100})
	tab.Promote(epoch)
	checkpoint := tab.Checkpoints(after(60), 9)
	if len(checkpoint) != 1 {
		t.Fatalf("checkpoints %v", checkpoint)
	}
	if _, err := tab.Renew(1, after(61)); err != nil {
		t.Fatal(err)
	}
	_, shortened, proposing := tab.Shortened(1)
	if !shortened || proposing == nil {
		t.Fatalf("while a checkpoint is proposed: shortened %t, proposing %v", shortened, proposing)
	}
	tab.Checkpointed() // it failed: it may still be applied
	<-proposing
	number, shortened, proposing := tab.Shortened(1)
	if !shortened || proposing != nil {
		t.Fatalf("after a failed proposal: shortened %t, proposing %v", shortened, proposing)
	}
	tab.Checkpoint(1, 40) // as it is
	tab.Restored(1, number)
	if _, shortened, _ = tab.Shortened(1); !shortened {
		t.Fatal("restored though the log says otherwise")
	}
	tab.Checkpoint(1, 0)
	tab.Restored(1, number)
	if _, shortened, _ = tab.Shortened(1); shortened {
		t.Fatal("not restored")
	}
	tab.Demote()
	tab.Promote(after(70))
	wantDue(t, tab, 169, 9)
	wantDue(t, tab, 170, 9, 1)
}

// A lease that is renewed while its checkpoint is proposed needs one checkpoint at the next half, not two.
func TestRenewedWhileItsCheckpointIsProposed(t *testing.T) {
	tab := table(t, map[lease.ID]int64{1: 100})
	tab.Promote(epoch)
	if due := tab.Checkpoints(after(50), 9); len(due) != 1 {
		t.Fatalf("checkpoints %v", due)
	}
	if _, err := tab.Renew(1, after(50)); err != nil {
		t.Fatal(err)
	}
	tab.Checkpoint(1, 50)
	tab.Checkpointed()
	wantCheckpoints(t, tab, 99, true)
	wantCheckpoints(t, tab, 149, true, lease.Lease{ID: 1, TTLSeconds: 100, RemainingSeconds: 1})
}

// What restores a lease counts only against the checkpoints proposed before it.
func TestRestoredTooLate(t *testing.T) {
	tab := table(t, map[lease.ID]int64{1: 100})
	tab.Promote(epoch)
	tab.Checkpoints(after(60), 9)
	tab.Checkpointed()
	number, _, _ := tab.Shortened(1)
	tab.Checkpoints(after(61), 9) // once more
	tab.Checkpoint(1, 0)
	tab.Restored(1, number)
	if _, shortened, _ := tab.Shortened(1); !shortened {
		t.Error("restored before the second checkpoint was applied")
	}
}

func TestCheckpointOutOfRange(t *testing.T) {
	tab := table(t, map[lease.ID]int64{1: 10})
	for _, seconds := range []int64{-5, 0, 10, 1 << 62} {
		if l, ok := tab.Checkpoint(1, seconds); !ok || l.RemainingSeconds != 0 {
			t.Errorf("checkpoint of %d s: %+v, %t", seconds, l, ok)
		}
	}
	if _, ok := tab.Checkpoint(2, 5); ok {
		t.Error("checkpoint of no lease")
	}
}
