package recipes

import (
	"context"
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

func TestCloseRevokesAndEndsEverything(t *testing.T) {
	f := newFixture(t)
	m := f.mutex(f.session, "one")
	holder := f.lock(m)
	for range 2 {
		if err := f.session.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, ctx := range []context.Context{f.session.Context(), holder.Context()} {
		if cause := context.Cause(ctx); !errors.Is(cause, ErrLost) || !errors.Is(cause, ErrSessionClosed) {
			t.Errorf("cause is %v", cause)
		}
	}
	if keys := f.queue(m); len(keys) != 0 {
		t.Errorf("left behind: %v", keys)
	}
	if err := holder.Unlock(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("Unlock: %v", err)
	}
	if _, err := m.Lock(t.Context()); !errors.Is(err, ErrSessionClosed) {
		t.Errorf("Lock of a closed session: %v", err)
	}
	if _, err := f.client.KeepAliveOnce(t.Context(), f.session.Lease()); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("the lease lives: %v", err)
	}
}

func TestRevokedLeaseEndsTheSession(t *testing.T) {
	f := newFixture(t)
	s := openSession(t, f.client, 3)
	if _, err := f.client.Revoke(t.Context(), s.Lease()); err != nil {
		t.Fatal(err)
	}
	<-s.Context().Done()
	if err := s.Valid(); !errors.Is(err, ErrLeaseGone) {
		t.Errorf("cause is %v", err)
	}
}

// A break of every connection shorter than the validity costs nothing.
func TestSessionSurvivesBrokenConnections(t *testing.T) {
	f := newFixture(t)
	proxy := newProxy(t, startServer(t))
	s := openSession(t, dial(t, proxy.endpoint()), 3)
	for range 3 {
		proxy.reset()
		before := s.deadline.Load()
		for s.deadline.Load() == before && sleep(s.Context(), s.ttl/60) {
		}
	}
	if err := s.Valid(); err != nil {
		t.Error(err)
	}
	f.lock(f.mutex(s, "one"))
}
