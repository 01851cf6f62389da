package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/coordd/coordd/recipes"
)

// lockContenders hand one lock back and forth.
const lockContenders = 2

// contender acquires and releases the lock once.
type contender func(ctx context.Context) error

func lockWorkloads(s settings) []workload {
	return []workload{
		{"lock handoff, etcd's concurrency.Mutex", func(ctx context.Context, side *side) (result, error) {
			return handoff(ctx, side, s.duration, concurrencyMutex)
		}},
		{"lock handoff, recipes.Mutex", func(ctx context.Context, side *side) (result, error) {
			return handoff(ctx, side, s.duration, recipesMutex)
		}},
	}
}

func concurrencyMutex(ctx context.Context, client *clientv3.Client) (contender, func(), error) {
	session, err := concurrency.NewSession(client, concurrency.WithContext(ctx))
	if err != nil {
		return nil, nil, err
	}
	mutex := concurrency.NewMutex(session, "bench/lock")
	return func(ctx context.Context) error {
		if err := mutex.Lock(ctx); err != nil {
			return err
		}
		return mutex.Unlock(ctx)
	}, func() { session.Close() }, nil
}

func recipesMutex(ctx context.Context, client *clientv3.Client) (contender, func(), error) {
	session, err := recipes.NewSession(ctx, client, nil)
	if err != nil {
		return nil, nil, err
	}
	mutex := recipes.NewMutex(session, "bench-lock", nil)
	return func(ctx context.Context) error {
		hold, err := mutex.Lock(ctx)
		if err != nil {
			return err
		}
		return hold.Unlock(ctx)
	}, func() { session.Close() }, nil
}

// handoff counts how often the contenders acquire the lock within d.
func handoff(ctx context.Context, s *side, d time.Duration,
	enter func(context.Context, *clientv3.Client) (contender, func(), error),
) (result, error) {
	var acquired atomic.Int64
	var stop atomic.Bool
	contenders := make([]contender, lockContenders)
	for i := range contenders {
		client, err := clientv3.New(clientv3.Config{Endpoints: s.cluster.Endpoints(), Logger: zap.NewNop()})
		if err != nil {
			return result{}, fmt.Errorf("connect: %w", err)
		}
		defer client.Close()
		c, leave, err := enter(ctx, client)
		if err != nil {
			return result{}, fmt.Errorf("begin session: %w", err)
		}
		defer leave()
		contenders[i] = c
	}
	g, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	timer := time.AfterFunc(d, func() { stop.Store(true) })
	defer timer.Stop()
	for _, c := range contenders {
		g.Go(func() error {
			for !stop.Load() {
				if err := c(ctx); err != nil {
					return err
				}
				acquired.Add(1)
			}
			return nil
		})
	}
	err := g.Wait()
	return result{perSecond: float64(acquired.Load()) / time.Since(begin).Seconds()}, err
}
