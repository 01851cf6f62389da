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
	lock  func(ctx context.Context) (unlock func(context.Context) error, err error)
	leave func()
}

// pass acquires the lock and releases it.
func (c contender) pass(ctx context.Context) error {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	return unlock(ctx)
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
		lock := func(ctx context.Context) (func(context.Context) error, error) {
			return mutex.Unlock, mutex.Lock(ctx)
		}
		return contender{lock, func() { session.Close() }}, nil
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
		lock := func(ctx context.Context) (func(context.Context) error, error) {
			held, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte(name), Lease: int64(granted.ID)})
			return func(ctx context.Context) error {
				_, err := locks.Unlock(ctx, &v3lockpb.UnlockRequest{Key: held.GetKey()})
				return err
			}, err
		}
		return contender{lock, func() { client.Revoke(context.WithoutCancel(ctx), granted.ID) }}, nil
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
		lock := func(ctx context.Context) (func(context.Context) error, error) {
			hold, err := mutex.Lock(ctx)
			if err != nil {
				return nil, err
			}
			return hold.Unlock, nil
		}
		return contender{lock, func() { session.Close() }}, nil
	}}
}
