package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
)

// deletion is the 99th percentile of what follows when a holder's key is deleted.
type deletion struct {
	roundTrip time.Duration // the deletion is answered
	ended     time.Duration // the hold's context ends; from the same beginning
	late      time.Duration // the one after the other
}

// deleteOwnKeys deletes the key of one hold after the other, on another
// connection than the holder's.
func deleteOwnKeys(ctx context.Context, s *side) (deletion, error) {
	const trials = 500
	clients, err := s.connect(2)
	if err != nil {
		return deletion{}, err
	}
	defer closeClients(clients)
	session, err := recipes.NewSession(ctx, clients[0], &recipes.SessionOptions{TTLSeconds: sessionSeconds})
	if err != nil {
		return deletion{}, err
	}
	defer session.Close()
	mutex := recipes.NewMutex(session, "deleted", &recipes.MutexOptions{Prefix: "/bench/deletion"})
	var roundTrips, ends, lates []time.Duration
	for range trials {
		roundTrip, ended, err := deleteOwnKey(ctx, mutex, clients[1])
		if err != nil {
			return deletion{}, err
		}
		roundTrips, ends = append(roundTrips, roundTrip), append(ends, ended)
		lates = append(lates, max(0, ended-roundTrip))
	}
	return deletion{p99(roundTrips), p99(ends), p99(lates)}, nil
}

func deleteOwnKey(ctx context.Context, mutex *recipes.Mutex, other *clientv3.Client) (roundTrip, ended time.Duration, err error) {
	hold, err := mutex.Lock(ctx)
	if err != nil {
		return 0, 0, err
	}
	over := make(chan time.Time, 1)
	context.AfterFunc(hold.Context(), func() { over <- time.Now() })
	begin := time.Now()
	if _, err := other.Delete(ctx, hold.Key()); err != nil {
		return 0, 0, fmt.Errorf("delete the holder's key: %w", err)
	}
	roundTrip = time.Since(begin)
	select {
	case at := <-over:
		return roundTrip, at.Sub(begin), nil
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
}

func p99(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)*99/100].Round(10 * time.Microsecond)
}

// revision returns the store's.
func revision(ctx context.Context, client *clientv3.Client) (int64, error) {
	got, err := client.Get(ctx, "bench/revision")
	if err != nil {
		return 0, fmt.Errorf("get revision: %w", err)
	}
	return got.Header.Revision, nil
}
