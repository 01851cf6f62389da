package restore_test

import (
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"github.com/coordd/coordd/coordd"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/fence"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

func TestEpochKeyIsThatOfTheRecipes(t *testing.T) {
	if kvcore.EpochKey != recipes.EpochKey {
		t.Errorf("the store's is %s, the recipes' %s", kvcore.EpochKey, recipes.EpochKey)
	}
}

// runOnce starts a member of a cluster of one, lets f talk to it, and stops it.
func runOnce(t *testing.T, cfg coordd.Config, f func(*clientv3.Client)) {
	t.Helper()
	s, err := coordd.Start(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	f(clientOf(t, s))
}

// TestEachRestoreHasItsOwnEpoch: two of one backup with the same flags, one right
// after the other, and one of a backup of the restored cluster.
func TestEachRestoreHasItsOwnEpoch(t *testing.T) {
	settings, restores := plan(t, unpack(t, "etcd-3.7.3"), 1)
	var epochs []uint64
	for i := range 3 {
		settings[0].DataDir = filepath.Join(t.TempDir(), "data")
		restores[0].DataDir = settings[0].DataDir
		if i == 2 {
			restores[0].SkipHashCheck = true // the store of a member that was stopped
		}
		layout := mustRestore(t, restores[0])
		runOnce(t, settings[0], func(c *clientv3.Client) { epochs = append(epochs, epochOf(t, c)) })
		if i == 1 {
			restores[0].Snapshot = layout.Store()
		}
	}
	if !(0 < epochs[0] && epochs[0] < epochs[1] && epochs[1] < epochs[2]) {
		t.Errorf("epochs %d do not rise", epochs)
	}
}

// TestNoWriteComesBeforeTheEpoch: clients of the old cluster are there before the new
// one has a leader, and at every member.
func TestNoWriteComesBeforeTheEpoch(t *testing.T) {
	settings, restores := plan(t, unpack(t, "etcd-3.7.3"), 3)
	var servers []*coordd.Server
	var writing sync.WaitGroup
	for i, cfg := range restores {
		mustRestore(t, cfg)
		s, err := coordd.Start(settings[i], slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Stop)
		servers = append(servers, s)
		c, err := clientv3.New(clientv3.Config{Endpoints: s.ClientURLs(), Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		for range 8 {
			writing.Go(func() {
				for written := false; !written && t.Context().Err() == nil; {
					_, err := c.Put(t.Context(), "eager", "")
					written = err == nil
				}
			})
		}
	}
	writing.Wait()
	c := clientOf(t, servers[0])
	first := <-c.Watch(t.Context(), "", clientv3.WithPrefix(), clientv3.WithRev(newest+1))
	if len(first.Events) == 0 || string(first.Events[0].Kv.Key) != recipes.EpochKey || first.Events[0].Kv.ModRevision != newest+1 {
		t.Errorf("the first write of the new cluster is %v, %v", first.Events, first.Err())
	}
	for _, e := range first.Events[1:] {
		if string(e.Kv.Key) == recipes.EpochKey {
			t.Error("the epoch was raised twice")
		}
	}
}

// TestRestartDoesNotRaiseTheEpoch: it is the restore's, not the process's.
func TestRestartDoesNotRaiseTheEpoch(t *testing.T) {
	settings, restores := plan(t, unpack(t, "etcd-3.7.3"), 1)
	mustRestore(t, restores[0])
	var epochs [2]uint64
	for i := range epochs {
		runOnce(t, settings[0], func(c *clientv3.Client) { epochs[i] = epochOf(t, c) })
	}
	if epochs[0] == 0 || epochs[0] != epochs[1] {
		t.Errorf("epoch %d, and after a restart %d", epochs[0], epochs[1])
	}
}

// TestEpochRisesWithoutAUser: in a store that asks for users and has a NOSPACE alarm.
func TestEpochRisesWithoutAUser(t *testing.T) {
	settings, restores := plan(t, unpack(t, "etcd-3.5.35"), 1)
	mustRestore(t, restores[0])
	runOnce(t, settings[0], func(c *clientv3.Client) {
		if _, _, err := recipes.ReadEpoch(t.Context(), c); err == nil {
			t.Error("the epoch was read without a user, so the backup asks for none")
		}
		root, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Username: "root", Password: "rootpw", Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if epochOf(t, root) == 0 {
			t.Error("the epoch was not raised")
		}
	})
}

// TestTokenFromBeforeARestoreIsOfAnotherEpoch: a lock that was granted after the
// backup and one that is granted in its place after the restore may have the
// same revision; no guard can take one for the other.
func TestTokenFromBeforeARestoreIsOfAnotherEpoch(t *testing.T) {
	settings, restores := plan(t, unpack(t, "etcd-3.7.3"), 1)
	tokens := make([]fence.Token, 2)
	for i := range tokens {
		settings[0].DataDir = filepath.Join(t.TempDir(), "data")
		restores[0].DataDir = settings[0].DataDir
		mustRestore(t, restores[0])
		runOnce(t, settings[0], func(c *clientv3.Client) { tokens[i] = lockOnce(t, c) })
	}
	if tokens[0].Revision() != tokens[1].Revision() {
		t.Fatalf("revisions %d and %d: this proves nothing", tokens[0].Revision(), tokens[1].Revision())
	}
	if order, err := tokens[0].Compare(tokens[1]); err == nil {
		t.Errorf("%s and %s compare as %d", tokens[0], tokens[1], order)
	}
}

// lockOnce returns the token of a lock that is taken and given back.
func lockOnce(t *testing.T, c *clientv3.Client) fence.Token {
	t.Helper()
	session, err := recipes.NewSession(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	hold, err := recipes.NewMutex(session, "lock", nil).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return hold.Token()
}
