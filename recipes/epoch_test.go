package recipes

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/coordd/coordd/recipes/fence"
)

// ownEpoch is a part of the store with an epoch of its own, since the store's is that of all tests.
func ownEpoch(f *fixture) clientv3.KV { return namespace.NewKV(f.client.KV, f.Name()) }

func putEpoch(t *testing.T, kv clientv3.KV, value string) {
	t.Helper()
	if _, err := kv.Put(t.Context(), EpochKey, value); err != nil {
		t.Fatal(err)
	}
}

func TestEpochIsZeroUntilBumped(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		kv, t := ownEpoch(f), f.T
		if epoch, rev, err := ReadEpoch(t.Context(), kv); epoch != 0 || rev != 0 || err != nil {
			t.Fatalf("an empty store: epoch %d at %d, %v", epoch, rev, err)
		}
		before := uint64(time.Now().UnixMicro())
		bumped, err := BumpEpoch(t.Context(), kv)
		if err != nil || bumped < before {
			t.Fatalf("bumped to %d at %d: %v", bumped, before, err)
		}
		epoch, rev, err := ReadEpoch(t.Context(), kv)
		if err != nil || epoch != bumped || rev == 0 {
			t.Fatalf("read %d at %d, %v; want %d", epoch, rev, err, bumped)
		}
	})
}

func TestEpochNeverGoesBack(t *testing.T) {
	f := newFixture(t)
	kv := ownEpoch(f)
	putEpoch(t, kv, "9999999999999999") // a clock that was ahead
	for want := uint64(10000000000000000); want < 10000000000000003; want++ {
		if got, err := BumpEpoch(t.Context(), kv); got != want || err != nil {
			t.Errorf("bumped to %d, %v; want %d", got, err, want)
		}
	}
}

func TestEachBumpRaises(t *testing.T) {
	f := newFixture(t)
	kv := ownEpoch(f)
	var epochs sync.Map
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			epoch, err := BumpEpoch(t.Context(), kv)
			if _, twice := epochs.LoadOrStore(epoch, true); twice || err != nil {
				t.Errorf("bumped to %d, twice %t, %v", epoch, twice, err)
			}
		})
	}
	running.Wait()
}

func TestGarbageIsNoEpoch(t *testing.T) {
	f := newFixture(t)
	kv := ownEpoch(f)
	for _, value := range []string{"", "-1", "1.5", "0x10", " 7", "18446744073709551616"} {
		putEpoch(t, kv, value)
		if epoch, _, err := ReadEpoch(t.Context(), kv); err == nil || !strings.Contains(err.Error(), EpochKey) {
			t.Errorf("%.20q: epoch %d, %v", value, epoch, err)
		}
		if epoch, err := BumpEpoch(t.Context(), kv); err == nil {
			t.Errorf("%.20q: bumped to %d", value, epoch)
		}
	}
	putEpoch(t, kv, "18446744073709551615")
	if epoch, err := BumpEpoch(t.Context(), kv); err == nil {
		t.Errorf("the last epoch: bumped to %d", epoch)
	}
}

func TestReadEpochEndsWithItsContext(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := ReadEpoch(ctx, f.client); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

// Revisions that went back with a restore cannot pass a newer token for an older one: the tokens are of two epochs.
func TestTokensOfTwoEpochsDoNotCompare(t *testing.T) {
	token := func(epoch uint64, revision int64) fence.Token {
		made, err := fence.New(fence.Fields{Cluster: 1, Epoch: epoch, Mode: fence.Exclusive, Resource: "/coordd/locks/a", Revision: revision})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	before, after := token(0, 900), token(1700000000, 31)
	if order, err := after.Compare(before); !errors.Is(err, fence.ErrIncomparable) {
		t.Errorf("compared: %d, %v", order, err)
	}
}
