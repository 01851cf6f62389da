package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/e2e/cluster"
)

const memberCount = 3

// findLeader returns the member that calls itself the leader.
func findLeader(ctx context.Context, store *cluster.Cluster, client *clientv3.Client) (*cluster.Member, error) {
	var errs []error
	for ctx.Err() == nil {
		errs = nil
		for _, m := range store.Members {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			s, err := client.Status(ctx, m.ClientURL)
			cancel()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", m.Name, err))
			} else if s.Leader == s.Header.MemberId {
				return m, nil
			}
		}
	}
	return nil, errors.Join(append(errs, errors.New("no member leads"), context.Cause(ctx))...)
}
