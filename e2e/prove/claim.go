package main

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"golang.org/x/sync/errgroup"

	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/fence"
)

// kind is what is acquired.
type kind string

const (
	mutex     kind = "mutex"
	etcdMutex kind = "etcd's mutex" // of its concurrency package
	semaphore kind = "semaphore"    // one slot of twoSlots
	election  kind = "election"
)

// twoSlots is the limit of the semaphores.
const twoSlots = 2

// claim is one acquisition, of whatever.
type claim struct {
	token   fence.Token
	valid   func() error // nil while the holder believes that it holds
	release func(context.Context) error
}

// session is one of recipes or one of etcd's package.
type session struct {
	recipes     *recipes.Session
	concurrency *concurrency.Session
}

func openSessions(ctx context.Context, clients []*clientv3.Client, c command) ([]session, error) {
	n := c.Sessions
	if n == 0 {
		n = c.Lanes
	}
	sessions := make([]session, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for i := range sessions {
		client := clients[i%len(clients)]
		group.Go(func() (err error) {
			if c.Kind == etcdMutex {
				sessions[i].concurrency, err = concurrency.NewSession(client, concurrency.WithTTL(int(c.TTLSeconds)))
				return err
			}
			sessions[i].recipes, err = recipes.NewSession(ctx, client, &recipes.SessionOptions{TTLSeconds: c.TTLSeconds, MaxDrift: c.MaxDrift})
			return err
		})
	}
	return sessions, group.Wait()
}

// claimer acquires what has a name, again and again.
func (s session) claimer(k kind, name string) func(context.Context) (*claim, error) {
	switch k {
	case mutex:
		m := recipes.NewMutex(s.recipes, name, nil)
		return func(ctx context.Context) (*claim, error) { return claimOf(m.Lock(ctx)) }
	case semaphore:
		m := recipes.NewSemaphore(s.recipes, name, &recipes.SemaphoreOptions{Limit: twoSlots})
		return func(ctx context.Context) (*claim, error) { return claimOf(m.Acquire(ctx, 1)) }
	case etcdMutex:
		return func(ctx context.Context) (*claim, error) { return s.lockConcurrency(ctx, name) }
	}
	return func(context.Context) (*claim, error) { return nil, fmt.Errorf("a %s is not locked", k) }
}

func claimOf(hold *recipes.Hold, err error) (*claim, error) {
	if err != nil {
		return nil, err
	}
	token := hold.Token()
	for t := range hold.Tokens() { // the one slot of a semaphore
		token = t
	}
	return &claim{token: token, valid: hold.Valid, release: hold.Unlock}, nil
}

var errSessionDone = errors.New("the session is done")

func (s session) lockConcurrency(ctx context.Context, name string) (*claim, error) {
	m := concurrency.NewMutex(s.concurrency, name)
	if err := m.Lock(ctx); err != nil {
		return nil, err
	}
	return &claim{
		valid: func() error {
			select {
			case <-s.concurrency.Done():
				return errSessionDone
			default:
				return nil
			}
		},
		release: m.Unlock,
	}, nil
}
