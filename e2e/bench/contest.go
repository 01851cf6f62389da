package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

const (
	// aConnection is how many of many contenders share one.
	aConnection = 500
	// longestHandoff is how long the first is waited for; then it counts as done.
	longestHandoff = 10 * time.Second
	// atOnce bounds requests under way while contenders come and go.
	atOnce = 100
)

// contest is contenders that hand one lock from one to the next, without a pause.
type contest struct {
	library    library
	contenders int
}

func (c contest) name() string {
	return fmt.Sprintf("lock, %d contenders, %s", c.contenders, c.library.name)
}

// measure counts handoffs for d. It begins when all but one wait in the queue
// for that one, and the server has come to rest.
func (c contest) measure(ctx context.Context, s *side, d time.Duration) (result, error) {
	clients, err := s.connect(connectionsOf(c.contenders))
	if err != nil {
		return result{}, err
	}
	defer closeClients(clients)
	field, err := c.enter(ctx, clients)
	defer leave(field)
	if err != nil {
		return result{}, err
	}
	unlock, err := field[0].lock(ctx)
	if err != nil {
		return result{}, err
	}
	var acquired atomic.Int64
	running, stop := context.WithCancel(ctx)
	defer stop()
	g, running := errgroup.WithContext(running)
	compete := func(f contender) {
		g.Go(func() error {
			for running.Err() == nil {
				if err := f.pass(running); err != nil && running.Err() == nil {
					return err
				}
				acquired.Add(1)
			}
			return nil
		})
	}
	for _, f := range field[1:] {
		compete(f)
	}
	r, err := c.watch(running, s, clients[0], d, &acquired, func() error {
		defer compete(field[0])
		return unlock(running)
	})
	stop()
	if failed := g.Wait(); failed != nil {
		err = failed
	}
	return r, err
}

// watch measures the contest from its start on.
func (c contest) watch(ctx context.Context, s *side, client *clientv3.Client, d time.Duration, acquired *atomic.Int64, start func() error) (result, error) {
	if err := awaitKeys(ctx, client, c.library.queue, c.contenders); err != nil {
		return result{}, err
	}
	if err := s.rest(ctx); err != nil {
		return result{}, err
	}
	if err := start(); err != nil {
		return result{}, err
	}
	cpu, err := cpuOf(s)
	if err != nil {
		return result{}, err
	}
	begin, before := time.Now(), acquired.Load()
	n := int64(0)
	for n == 0 && time.Since(begin) < longestHandoff {
		if err := pause(ctx, d); err != nil {
			return result{}, err
		}
		n = acquired.Load() - before
	}
	elapsed := time.Since(begin)
	after, err := cpuOf(s)
	if err != nil {
		return result{}, err
	}
	n = max(n, 1)
	return result{perSecond: float64(n) / elapsed.Seconds(), cpuPerOp: (after - cpu) / time.Duration(n)}, nil
}

// rest waits until the members do hardly anything. On a busy machine one that
// would like to gets little of it, so the look is a long one.
func (s *side) rest(ctx context.Context) error {
	const look, most = 500 * time.Millisecond, 20 * time.Millisecond
	for {
		before, err := cpuOf(s)
		if err != nil {
			return err
		}
		if err := pause(ctx, look); err != nil {
			return err
		}
		if after, err := cpuOf(s); err != nil || after-before <= most {
			return err
		}
	}
}

// enter returns those who have come, also with an error.
func (c contest) enter(ctx context.Context, clients []*clientv3.Client) ([]contender, error) {
	field := make([]contender, c.contenders)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i := range field {
		g.Go(func() (err error) {
			field[i], err = c.library.enter(ctx, clients[i%len(clients)])
			return err
		})
	}
	return field, g.Wait()
}

func leave(field []contender) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, f := range field {
		if f.leave != nil {
			g.Go(func() error { f.leave(); return nil })
		}
	}
	g.Wait()
}

// connectionsOf is one for each of a few contenders, and one for many of many.
func connectionsOf(contenders int) int {
	if contenders <= 10 {
		return contenders
	}
	return max(4, contenders/aConnection)
}

func (s *side) connect(n int) ([]*clientv3.Client, error) {
	clients := make([]*clientv3.Client, 0, n)
	for range n {
		client, err := clientv3.New(clientv3.Config{Endpoints: s.cluster.Endpoints(), Logger: zap.NewNop()})
		if err != nil {
			closeClients(clients)
			return nil, fmt.Errorf("connect: %w", err)
		}
		clients = append(clients, client)
	}
	return clients, nil
}

func closeClients(clients []*clientv3.Client) {
	for _, c := range clients {
		c.Close()
	}
}

// awaitKeys waits until at least n keys begin with prefix.
func awaitKeys(ctx context.Context, client *clientv3.Client, prefix string, n int) error {
	for {
		got, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("count keys: %w", err)
		}
		if got.Count >= int64(n) {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
