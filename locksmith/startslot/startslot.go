// Package startslot lets only some of many units start at the same time: those of
// one machine, or of a fleet that shares a store. A unit takes a slot before it
// starts and gives it back when it has started or failed.
//
// A slot is one of a semaphore of package recipes. Behind it stands a lease, because
// what a crash leaves behind must end by itself: the time to live is to be no less
// than the time that a start may take. Taking and giving back are two processes,
// which need to hand nothing on: lease and attempt are named by the invocation id
// that systemd gives each start of a unit, so either can be repeated.
package startslot

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
)

// Config names one start and what it waits for.
type Config struct {
	Name       string // of the semaphore
	Invocation string // systemd's INVOCATION_ID: 32 lower-case hexadecimal digits
	Limit      int64  // of a semaphore that has none yet; 0: it must have one
	TTLSeconds int64  // how long a slot lasts that nobody gives back
	Reason     string // for people, as the unit's name
}

// lease is the id of the lease of an invocation.
func lease(invocation string) (clientv3.LeaseID, error) {
	b, err := hex.DecodeString(invocation)
	if err != nil || len(b) != 16 {
		return 0, fmt.Errorf("startslot: invocation id %q is not of 32 hexadecimal digits", invocation)
	}
	id := clientv3.LeaseID(binary.BigEndian.Uint64(b) & math.MaxInt64)
	if id == clientv3.NoLease {
		return 0, fmt.Errorf("startslot: invocation id %q cannot name a lease", invocation)
	}
	return id, nil
}

// Acquire waits for a slot until ctx ends. The slot lasts until Release, or for
// TTLSeconds. When it fails nothing is held.
func Acquire(ctx context.Context, client *clientv3.Client, c Config) error {
	id, err := lease(c.Invocation)
	if err != nil {
		return err
	}
	session, err := open(ctx, client, id, c.TTLSeconds)
	if err != nil {
		return fmt.Errorf("startslot: %w", err)
	}
	semaphore := recipes.NewSemaphore(session, c.Name, &recipes.SemaphoreOptions{Reason: c.Reason, Attempt: c.Invocation, Limit: c.Limit})
	if _, err := semaphore.Acquire(ctx, 1); err != nil {
		return errors.Join(fmt.Errorf("startslot: %w", err), session.Close())
	}
	session.Detach()
	// The time of the start begins now, not with the last renewal.
	if _, err := client.KeepAliveOnce(ctx, id); err != nil {
		return errors.Join(fmt.Errorf("startslot: %s: renew: %w", c.Name, err), Release(context.WithoutCancel(ctx), client, c.Invocation))
	}
	return nil
}

// open grants the lease, or takes up the one that an earlier Acquire of the same
// start has granted.
func open(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID, ttlSeconds int64) (*recipes.Session, error) {
	o := &recipes.SessionOptions{TTLSeconds: ttlSeconds}
	o.Defaults()
	_, err := clientv3.RetryLeaseClient(client).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: int64(id), TTL: o.TTLSeconds})
	if err != nil && !errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseExist) {
		return nil, fmt.Errorf("grant lease: %w", err)
	}
	return recipes.ResumeSession(ctx, client, id, o)
}

// Release gives back the slot of an invocation. There may be none.
func Release(ctx context.Context, client *clientv3.Client, invocation string) error {
	id, err := lease(invocation)
	if err != nil {
		return err
	}
	if _, err := client.Revoke(ctx, id); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("startslot: release: %w", err)
	}
	return nil
}
