package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// disturbance is what requests see of something else that a server does.
type disturbance struct {
	p99Before        time.Duration
	longestMeanwhile time.Duration
	took             time.Duration // the other thing
	failed           int64         // requests meanwhile; they count with the time they took
}

// ratio is p99 while it lasts to p99 before.
func (r result) ratio() float64 {
	if r.p99Before == 0 {
		return 0
	}
	return float64(r.p99) / float64(r.p99Before)
}

// disturb drives op for d alone, then while other runs, and returns what is
// measured of the latter.
func (l load) disturb(ctx context.Context, s *side, d time.Duration, op operation, other func(context.Context) error) (result, error) {
	before, err := l.drive(ctx, s, d, op)
	if err != nil {
		return result{}, err
	}
	var took time.Duration
	var failed atomic.Int64
	tolerant := func(ctx context.Context, kv pb.KVClient, rng *rand.Rand) error {
		if err := op(ctx, kv, rng); err != nil && ctx.Err() == nil {
			failed.Add(1)
		}
		return ctx.Err()
	}
	r, err := l.driveWhile(ctx, s, tolerant, func(ctx context.Context) error {
		began := time.Now()
		err := other(ctx)
		took = time.Since(began)
		return err
	})
	r.disturbance = disturbance{p99Before: before.p99, longestMeanwhile: r.longest, took: took, failed: failed.Load()}
	return r, err
}

// defragment lets each member defragment its store, one after the other.
func (s *side) defragment(ctx context.Context) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: s.cluster.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer client.Close()
	for _, m := range s.cluster.Members {
		if _, err := client.Defragment(ctx, m.ClientURL); err != nil {
			return fmt.Errorf("defragment %s: %w", m.Name, err)
		}
	}
	return nil
}
