package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/coordd/coordd/recipes"
)

const (
	expiringLeases  = 10_000
	expiringSeconds = 20 // long enough for all to lock and to be waited for
	expiryPrefix    = "/bench/expiry"
	afterExpiry     = 30 * time.Second // when to give up
)

// expiry is what follows when leases end together. Late is counted, lease by
// lease, from the earliest moment at which the store may end it: its TTL after
// its last renewal was sent.
type expiry struct {
	leases          int
	freed, acquired time.Duration // the latest: the lock is free; its waiter has it
	longestPut      time.Duration // of one client that puts meanwhile

	serverCPU, clientCPU time.Duration // meanwhile; the client is this program
}

// expiring is a lock whose holder will not renew its lease any more.
type expiring struct {
	name  string
	lease clientv3.LeaseID
	key   string // the holder's

	mu              sync.Mutex // guards all below
	due             time.Time
	freed, acquired time.Time
}

func expireTogether(ctx context.Context, s *side) (expiry, error) {
	clients, err := s.connect(connectionsOf(expiringLeases))
	if err != nil {
		return expiry{}, err
	}
	defer closeClients(clients)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	locks, err := holdAll(ctx, clients)
	if err != nil {
		return expiry{}, err
	}
	freed := watchFreed(ctx, clients[0], locks)
	waiting, ended := errgroup.WithContext(ctx)
	sessions, err := waitForAll(ended, waiting, clients, locks)
	defer closeSessions(sessions)
	if err != nil {
		return expiry{}, err
	}
	if err := renewAll(ctx, clients[0], locks); err != nil {
		return expiry{}, err
	}
	e := expiry{leases: len(locks)}
	ctx, cancel := context.WithTimeout(ctx, expiringSeconds*time.Second+afterExpiry)
	defer cancel()
	if err := pause(ctx, (expiringSeconds-1)*time.Second); err != nil {
		return expiry{}, err
	}
	server, client, err := cpuOfBoth(s)
	if err != nil {
		return expiry{}, err
	}
	if e.longestPut, err = putUntil(ctx, clients[0], freed); err != nil {
		return expiry{}, err
	}
	if err := waiting.Wait(); err != nil {
		return expiry{}, err
	}
	if e.serverCPU, e.clientCPU, err = cpuOfBoth(s); err != nil {
		return expiry{}, err
	}
	e.serverCPU, e.clientCPU = e.serverCPU-server, (e.clientCPU - client).Round(time.Millisecond)
	for _, l := range locks {
		e.freed, e.acquired = max(e.freed, l.freed.Sub(l.due)), max(e.acquired, l.acquired.Sub(l.due))
	}
	e.freed, e.acquired = e.freed.Round(time.Millisecond), e.acquired.Round(time.Millisecond)
	return e, nil
}

// cpuOfBoth returns the processor time that the members and this program have used.
func cpuOfBoth(s *side) (server, client time.Duration, err error) {
	if server, err = cpuOf(s); err != nil {
		return 0, 0, err
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0, 0, fmt.Errorf("processor time: %w", err)
	}
	return server, time.Duration(own.Utime.Nano() + own.Stime.Nano()), nil
}

// holdAll locks each name with a lease of its own.
func holdAll(ctx context.Context, clients []*clientv3.Client) ([]*expiring, error) {
	locks := make([]*expiring, expiringLeases)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i := range locks {
		client := clients[i%len(clients)]
		g.Go(func() error {
			granted, err := client.Grant(ctx, expiringSeconds)
			if err != nil {
				return fmt.Errorf("grant lease: %w", err)
			}
			l := &expiring{name: fmt.Sprint(i), lease: granted.ID}
			holder := recipes.AttachSession(context.WithoutCancel(ctx), client, l.lease)
			hold, err := l.mutex(holder).Lock(ctx)
			if err != nil {
				return err
			}
			l.key, locks[i] = hold.Key(), l
			return nil
		})
	}
	return locks, g.Wait()
}

// mutex is in etcd's layout, which a session that is attached to a lease can lock.
func (l *expiring) mutex(s *recipes.Session) *recipes.Mutex {
	return recipes.NewMutex(s, expiryPrefix+"/"+l.name, &recipes.MutexOptions{EtcdLayout: true})
}

// waitForAll makes one waiter for each lock, and returns when all are in their
// queues; many share a session. They come a crowd at a time: etcd refuses to have
// more than 5,000 writes under way.
func waitForAll(ctx context.Context, g *errgroup.Group, clients []*clientv3.Client, locks []*expiring) (sessions []*recipes.Session, err error) {
	for _, client := range clients {
		session, err := recipes.NewSession(ctx, client, &recipes.SessionOptions{TTLSeconds: sessionSeconds})
		if err != nil {
			return sessions, err
		}
		sessions = append(sessions, session)
	}
	const crowd = 1000
	for i, l := range locks {
		if i%crowd == 0 {
			if err := awaitKeys(ctx, clients[0], expiryPrefix, len(locks)+i); err != nil {
				return sessions, err
			}
		}
		g.Go(func() error {
			if _, err := l.mutex(sessions[i%len(sessions)]).Lock(ctx); err != nil {
				return err
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.acquired = time.Now()
			return nil
		})
	}
	return sessions, awaitKeys(ctx, clients[0], expiryPrefix, 2*len(locks))
}

func closeSessions(sessions []*recipes.Session) {
	for _, s := range sessions {
		s.Close()
	}
}

// watchFreed notes when the holders' keys go. It closes what it returns when all have.
func watchFreed(ctx context.Context, client *clientv3.Client, locks []*expiring) <-chan struct{} {
	byKey := make(map[string]*expiring, len(locks))
	for _, l := range locks {
		byKey[l.key] = l
	}
	all := make(chan struct{})
	events := client.Watch(ctx, expiryPrefix, clientv3.WithPrefix(), clientv3.WithFilterPut())
	go func() {
		defer close(all)
		for r := range events {
			now := time.Now()
			for _, e := range r.Events {
				if l := byKey[string(e.Kv.Key)]; l != nil {
					l.mu.Lock()
					l.freed = now
					l.mu.Unlock()
					delete(byKey, string(e.Kv.Key))
				}
			}
			if len(byKey) == 0 {
				return
			}
		}
	}()
	return all
}

// renewAll renews all leases one last time, on one stream, so that they end
// together. Few are under way at once, so that it is known well when the store has
// handled each.
func renewAll(ctx context.Context, client *clientv3.Client, locks []*expiring) error {
	stream, err := pb.NewLeaseClient(client.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return fmt.Errorf("renew leases: %w", err)
	}
	for some := range slices.Chunk(locks, atOnce) {
		sent := time.Now()
		for _, l := range some {
			l.due = sent.Add(expiringSeconds * time.Second)
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(l.lease)}); err != nil {
				return fmt.Errorf("renew leases: %w", err)
			}
		}
		for range some {
			reply, err := stream.Recv()
			if err != nil {
				return fmt.Errorf("renew leases: %w", err)
			}
			if reply.TTL != expiringSeconds {
				return fmt.Errorf("lease %016x was granted %d s, want %d", reply.ID, reply.TTL, expiringSeconds)
			}
		}
	}
	return stream.CloseSend()
}

// putUntil puts a key 200 times a second until done is closed, and returns how
// long the longest took.
func putUntil(ctx context.Context, client *clientv3.Client, done <-chan struct{}) (longest time.Duration, err error) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return longest.Round(time.Millisecond), ctx.Err()
		case <-ticker.C:
		}
		begin := time.Now()
		if _, err := client.Put(ctx, "bench/meanwhile", ""); err != nil {
			return 0, fmt.Errorf("put while leases end: %w", err)
		}
		longest = max(longest, time.Since(begin))
	}
}
