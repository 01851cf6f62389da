package lease_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/coordd/coordd/kvcore/lease"
)

var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// after is a moment some seconds after the epoch of these tests.
func after(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

func table(t *testing.T, ttls map[lease.ID]int64) *lease.Table {
	t.Helper()
	tab := lease.NewTable()
	for id, ttl := range ttls {
		if err := tab.Grant(id, ttl); err != nil {
			t.Fatal(err)
		}
	}
	return tab
}

func wantDue(t *testing.T, tab *lease.Table, seconds, max int, want ...lease.ID) {
	t.Helper()
	if got := tab.Due(after(seconds), max); !slices.Equal(got, want) {
		t.Errorf("due after %d s: %v, want %v", seconds, got, want)
	}
}

func TestKeysHaveOneLease(t *testing.T) {
	tab := table(t, map[lease.ID]int64{1: 10, 2: 10})
	if err := tab.Grant(1, 5); !errors.Is(err, lease.ErrExists) {
		t.Errorf("granted twice: %v", err)
	}
	if err := tab.Attach(3, []byte("a")); !errors.Is(err, lease.ErrNotFound) {
		t.Errorf("attached to no lease: %v", err)
	}
	for _, key := range []string{"c", "a", "b", "d"} {
		if err := tab.Attach(1, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tab.Attach(2, []byte("b")); err != nil {
		t.Fatal(err)
	}
	tab.Detach([]byte("d"))
	if got := tab.Keys(1); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("keys %q", got)
	}
	if got := tab.Of([]byte("b")); got != 2 {
		t.Errorf("b belongs to %d", got)
	}
	keys, ok := tab.Revoke(1)
	if !ok || !slices.Equal(keys, []string{"a", "c"}) {
		t.Errorf("revoked %q, %t", keys, ok)
	}
	if tab.Of([]byte("a")) != 0 {
		t.Error("a key outlives its lease")
	}
	if _, ok := tab.Revoke(1); ok {
		t.Error("revoked twice")
	}
}

func TestDueHandsOutOnce(t *testing.T) {
	tab := table(t, map[lease.ID]int64{1: 10, 2: 20, 3: 15})
	wantDue(t, tab, 100, 9) // nobody leads
	tab.Promote(epoch)
	wantDue(t, tab, 9, 9)
	wantDue(t, tab, 10, 9, 1)
	wantDue(t, tab, 20, 1, 3)
	wantDue(t, tab, 20, 9, 2)
	wantDue(t, tab, 99, 9)
	if _, err := tab.Renew(1, after(11)); !errors.Is(err, lease.ErrNotFound) {
		t.Errorf("a lease about to be revoked was renewed: %v", err)
	}
	tab.Demote()
	tab.Promote(after(100)) // another term: all over again, for what was not revoked
	wantDue(t, tab, 110, 9, 1)
}

func TestRenewGivesTheWholeTTL(t *testing.T) {
	tab := table(t, map[lease.ID]int64{1: 10})
	if _, err := tab.Renew(1, epoch); !errors.Is(err, lease.ErrNotPromoted) {
		t.Errorf("renewed by a follower: %v", err)
	}
	tab.Promote(epoch)
	if ttl, err := tab.Renew(1, after(9)); ttl != 10 || err != nil {
		t.Errorf("renewed: %d, %v", ttl, err)
	}
	wantDue(t, tab, 18, 9)
	if left, err := tab.Remaining(1, after(15)); left != 4*time.Second || err != nil {
		t.Errorf("remaining %v, %v", left, err)
	}
	if next, ok := tab.NextDeadline(); !ok || !next.Equal(after(19)) {
		t.Errorf("next deadline %v, %t", next, ok)
	}
	if _, err := tab.Renew(2, epoch); !errors.Is(err, lease.ErrNotFound) {
		t.Errorf("renewed what is not there: %v", err)
	}
	wantDue(t, tab, 19, 9, 1)
}

// A lease granted while this member leads begins when the driver looks.
func TestGrantedLeaseBeginsAtNextDue(t *testing.T) {
	tab := lease.NewTable()
	tab.Promote(epoch)
	if err := tab.Grant(1, 10); err != nil {
		t.Fatal(err)
	}
	if left, err := tab.Remaining(1, after(5)); left != 10*time.Second || err != nil {
		t.Errorf("remaining %v, %v", left, err)
	}
	if next, ok := tab.NextDeadline(); !ok || !next.IsZero() {
		t.Errorf("next deadline %v, %t", next, ok)
	}
	wantDue(t, tab, 7, 9)
	wantDue(t, tab, 16, 9)
	wantDue(t, tab, 17, 9, 1)
}

// A revoked and granted again lease owes nothing to the one before it.
func TestGrantAgain(t *testing.T) {
	tab := table(t, map[lease.ID]int64{1: 10})
	tab.Promote(epoch)
	tab.Revoke(1)
	if err := tab.Grant(1, 20); err != nil {
		t.Fatal(err)
	}
	wantDue(t, tab, 0, 9)
	wantDue(t, tab, 10, 9)
	wantDue(t, tab, 20, 9, 1)
}

func TestNewLeaderStartsOver(t *testing.T) {
	tab := table(t, map[lease.ID]int64{1: 10})
	tab.Promote(epoch)
	tab.Demote()
	wantDue(t, tab, 50, 9)
	if _, ok := tab.NextDeadline(); ok {
		t.Error("a follower has a deadline")
	}
	tab.Promote(after(50))
	wantDue(t, tab, 59, 9)
	wantDue(t, tab, 60, 9, 1)
	tab.Demote()
	tab.Promote(after(60)) // what was handed out and never revoked lives on
	wantDue(t, tab, 69, 9)
	wantDue(t, tab, 70, 9, 1)
}

func TestResetKeepsLeading(t *testing.T) {
	tab := table(t, map[lease.ID]int64{1: 10})
	tab.Promote(epoch)
	tab.Reset([]lease.Lease{{ID: 2, TTLSeconds: 30}}, map[string]lease.ID{"k": 2, "stray": 9})
	if got := tab.List(); !slices.Equal(got, []lease.ID{2}) {
		t.Errorf("leases %v", got)
	}
	if got := tab.Keys(2); !slices.Equal(got, []string{"k"}) {
		t.Errorf("keys %q", got)
	}
	wantDue(t, tab, 5, 9)
	wantDue(t, tab, 35, 9, 2)
}
