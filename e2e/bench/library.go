package main

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/coordd/coordd/proto/v3lockpb"
	"github.com/coordd/coordd/recipes"
)

// sessionSeconds is the TTL of contenders' leases. It is long, so that renewals,
// three times a TTL, are not what is measured.
const sessionSeconds = 600

// library is a way to lock.
type library struct {
	name  string
	queue string // what the keys of all who hold the lock or wait for it begin with
	enter func(ctx context.Context, client *clientv3.Client) (contender, error)
}

// contender is one of those who compete for the lock, with a lease of its own.
type contender struct {
	pass  func(ctx context.Context) error // acquires the lock and releases it
	leave func()
}

func libraries() []library {
	return []library{concurrencyLibrary(), lockService(), recipesLibrary()}
}

// concurrencyLibrary is the one of etcd's client.
func concurrencyLibrary() library {
	const name = "bench/concurrency"
	return library{"concurrency.Mutex", name + "/", func(ctx context.Context, client *clientv3.Client) (contender, error) {
		session, err := concurrency.NewSession(client, concurrency.WithTTL(sessionSeconds))
		if err != nil {
			return contender{}, fmt.Errorf("begin session: %w", err)
		}
		mutex := concurrency.NewMutex(session, name)
		pass := func(ctx context.Context) error {
			if err := mutex.Lock(ctx); err != nil {
				return err
			}
			return mutex.Unlock(ctx)
		}
		return contender{pass, func() { session.Close() }}, nil
	}}
}

// lockService is v3lock: the server waits.
func lockService() library {
	const name = "bench/v3lock"
	return library{"v3lock", name + "/", func(ctx context.Context, client *clientv3.Client) (contender, error) {
		granted, err := client.Grant(ctx, sessionSeconds)
		if err != nil {
			return contender{}, fmt.Errorf("grant lease: %w", err)
		}
		locks := v3lockpb.NewLockClient(client.ActiveConnection())
		pass := func(ctx context.Context) error {
			held, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte(name), Lease: int64(granted.ID)})
			if err != nil {
				return err
			}
			_, err = locks.Unlock(ctx, &v3lockpb.UnlockRequest{Key: held.GetKey()})
			return err
		}
		return contender{pass, func() { client.Revoke(context.WithoutCancel(ctx), granted.ID) }}, nil
	}}
}

// recipesLibrary is ours.
func recipesLibrary() library {
	const prefix, name = "/bench/locks", "one"
	return library{"recipes.Mutex", prefix + "/" + name + "/q/", func(ctx context.Context, client *clientv3.Client) (contender, error) {
		session, err := recipes.NewSession(ctx, client, &recipes.SessionOptions{TTLSeconds: sessionSeconds})
		if err != nil {
			return contender{}, err
		}
		mutex := recipes.NewMutex(session, name, &recipes.MutexOptions{Prefix: prefix})
		pass := func(ctx context.Context) error {
			hold, err := mutex.Lock(ctx)
			if err != nil {
				return err
			}
			return hold.Unlock(ctx)
		}
		return contender{pass, func() { session.Close() }}, nil
	}}
}
