package recipes

import (
	"context"
	"errors"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes/fence"
)

// claimOf takes up a token, as somebody else who has only that.
func (f *fixture) claimOf(token fence.Token, name string) *Claim {
	f.Helper()
	c, err := NewClaim(f.client, token, name)
	if err != nil {
		f.Fatal(err)
	}
	return c
}

func (f *fixture) checkStanding(c *Claim, want Standing) {
	f.Helper()
	if got, _, err := c.Standing(f.Context()); err != nil || got != want {
		f.Errorf("standing of %s is %d, want %d: %v", c.key, got, want, err)
	}
}

// A token stands for what it is of until that ends, and releases it once, with all its keys.
func TestClaimReleases(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		for name, take := range map[string]func(name string) (*Hold, error){
			"mutex":  func(name string) (*Hold, error) { return NewMutex(f.session, name, nil).Lock(f.Context()) },
			"writer": func(name string) (*Hold, error) { return NewRWMutex(f.session, name, nil).Lock(f.Context()) },
			"reader": func(name string) (*Hold, error) { return NewRWMutex(f.session, name, nil).RLock(f.Context()) },
			"semaphore": func(name string) (*Hold, error) {
				return NewSemaphore(f.session, name, &SemaphoreOptions{Limit: 2}).Acquire(f.Context(), 2)
			},
			"office": func(name string) (*Hold, error) {
				l, err := NewElection(f.session, name, nil).Campaign(f.Context(), "v")
				if err != nil {
					return nil, err
				}
				return l.Hold(), nil
			},
		} {
			f.Run(name, func(t *testing.T) {
				h, err := take(f.options.Prefix)
				if err != nil {
					t.Fatal(err)
				}
				c := f.claimOf(h.Token(), f.options.Prefix)
				f.checkStanding(c, Current)
				if held, err := c.Release(t.Context()); err != nil || !held {
					t.Fatalf("release: %t, %v", held, err)
				}
				<-h.Context().Done()
				if given, err := h.GivenUp(t.Context()); err != nil || !given {
					t.Errorf("given up: %t, %v", given, err)
				}
				f.checkStanding(c, Stale)
				if held, err := c.Release(t.Context()); err != nil || held {
					t.Errorf("released again: %t, %v", held, err)
				}
				left, err := f.client.Get(t.Context(), c.path+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
				if err != nil {
					t.Fatal(err)
				}
				for _, kv := range left.Kvs {
					if strings.Contains(string(kv.Key), h.entry.attempt()) && !strings.HasPrefix(string(kv.Key), c.path+abandonedDir) {
						t.Errorf("%s is left", kv.Key)
					}
				}
			})
		}
	})
}

// What somebody deleted was not given up.
func TestDeletedIsNotGivenUp(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		h, err := NewMutex(f.session, f.options.Prefix, nil).Lock(f.Context())
		if err != nil {
			f.Fatal(err)
		}
		if _, err := f.client.Delete(f.Context(), h.Key()); err != nil {
			f.Fatal(err)
		}
		<-h.Context().Done()
		if given, err := h.GivenUp(f.Context()); err != nil || given {
			f.Errorf("given up: %t, %v", given, err)
		}
	})
}

// Who knows the leader's token proclaims and transfers for him; to nobody it changes nothing.
func TestClaimLeads(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		name := f.options.Prefix
		ctx, cancel := context.WithCancel(f.Context())
		defer cancel()
		leader := f.campaign(NewElection(f.session, name, nil), "one")
		c := f.claimOf(leader.Token(), name)
		if err := c.Proclaim(ctx, "uno"); err != nil {
			f.Fatal(err)
		}
		if now, err := NewElection(f.session, name, nil).Leader(ctx); err != nil || string(now.KV.Value) != "uno" || now.KV.Lease != int64(f.session.Lease()) {
			f.Fatalf("%v, %v", now.KV, err)
		}
		if err := c.Transfer(ctx, newAttemptID()); !errors.Is(err, ErrNoCandidate) {
			f.Fatalf("transfer to nobody: %v", err)
		}
		f.checkStanding(c, Current)
		attempt := newAttemptID()
		elected := f.campaignLater(ctx, NewElection(openSession(f.T, f.client, 60), name, &ElectionOptions{Attempt: attempt}), "two")
		for range f.client.Watch(ctx, c.path+queueDir+attempt, clientv3.WithCreatedNotify()) {
			if got, err := f.client.Get(ctx, c.path+queueDir+attempt, clientv3.WithCountOnly()); err != nil || got.Count > 0 {
				break
			}
		}
		if err := c.Transfer(ctx, attempt); err != nil {
			f.Fatal(err)
		}
		next := <-elected
		if next.err != nil {
			f.Fatal(next.err)
		}
		<-leader.Context().Done()
		if given, err := leader.Hold().GivenUp(ctx); err != nil || !given {
			f.Errorf("given up: %t, %v", given, err)
		}
		if err := c.Proclaim(ctx, "late"); !errors.Is(err, ErrLost) {
			f.Errorf("who leads no more proclaims: %v", err)
		}
	})
}

// A token of something else is no claim.
func TestWrongTokens(t *testing.T) {
	f := newFixture(t)
	attempt := newAttemptID()
	for what, c := range map[string]struct{ resource, key, name string }{
		"another prefix":      {"/elsewhere/l", "q/w/" + attempt, ""},
		"below a name":        {DefaultLockPrefix + "/l/m", "q/w/" + attempt, ""},
		"another directory":   {DefaultLockPrefix + "/l", "x/" + attempt, ""},
		"no attempt":          {DefaultLockPrefix + "/l", "q/w/" + attempt[1:], ""},
		"another name":        {DefaultLockPrefix + "/l", "q/w/" + attempt, "m"},
		"a digest":            {DefaultLockPrefix + "/" + strings.Repeat("l", 200), "q/w/" + attempt, ""},
		"a digest of another": {DefaultLockPrefix + "/" + strings.Repeat("l", 200), "q/w/" + attempt, strings.Repeat("l", 199)},
	} {
		token, err := fence.New(fence.Fields{Cluster: 1, Mode: fence.Exclusive, Resource: c.resource, Revision: 1, Key: c.key})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewClaim(f.client, token, c.name); !errors.Is(err, ErrWrongToken) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
