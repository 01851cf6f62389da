package main

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"golang.org/x/sync/errgroup"

	"github.com/coordd/coordd/recipes"
)

// kind is what is acquired.
type kind string

const (
	mutex     kind = "mutex"
	etcdMutex kind = "etcd's mutex" // of its concurrency package
)

// claimer acquires what has a name.
type claimer func(ctx context.Context, name string) (*claim, error)

// openClaimers opens the sessions of a worker, one claimer for each.
func openClaimers(ctx context.Context, client *clientv3.Client, c command) ([]claimer, error) {
	open := openRecipes
	if c.Kind == etcdMutex {
		open = openConcurrency
	}
	n := c.Sessions
	if n == 0 {
		n = c.Lanes
	}
	claimers := make([]claimer, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for i := range claimers {
		group.Go(func() (err error) {
			claimers[i], err = open(ctx, client, c)
			return err
		})
	}
	return claimers, group.Wait()
}

func openRecipes(ctx context.Context, client *clientv3.Client, c command) (claimer, error) {
	session, err := recipes.NewSession(ctx, client, &recipes.SessionOptions{TTLSeconds: c.TTLSeconds, MaxDrift: c.MaxDrift})
	if err != nil {
		return nil, err
	}
	switch c.Kind {
	case mutex:
		return func(ctx context.Context, name string) (*claim, error) {
			hold, err := recipes.NewMutex(session, name, nil).Lock(ctx)
			if err != nil {
				return nil, err
			}
			return claimOf(hold), nil
		}, nil
	}
	return nil, fmt.Errorf("no such kind: %q", c.Kind)
}

func claimOf(hold *recipes.Hold) *claim {
	return &claim{token: hold.Token(), valid: hold.Valid, release: hold.Unlock}
}

var errSessionDone = errors.New("the session is done")

func openConcurrency(_ context.Context, client *clientv3.Client, c command) (claimer, error) {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(int(c.TTLSeconds)))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, name string) (*claim, error) {
		m := concurrency.NewMutex(session, name)
		if err := m.Lock(ctx); err != nil {
			return nil, err
		}
		return &claim{
			valid: func() error {
				select {
				case <-session.Done():
					return errSessionDone
				default:
					return nil
				}
			},
			release: m.Unlock,
		}, nil
	}, nil
}
