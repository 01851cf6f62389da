package rpc

import (
	"context"
	"strings"
	"sync"
)

// A member whose store is in doubt, by an alarm CORRUPT of its own or of nobody
// in particular, serves no data. What is needed to find out and to mend goes on:
// status, alarms, hashes, snapshots, membership, and logging in.

// dataServices are those whose answers depend on keys and leases.
var dataServices = []string{"/etcdserverpb.KV/", "/etcdserverpb.Watch/", "/etcdserverpb.Lease/", "/v3lockpb.Lock/", "/v3electionpb.Election/", "/coord.v1."}

func servesData(fullMethod string) bool {
	for _, service := range dataServices {
		if strings.HasPrefix(fullMethod, service) {
			return true
		}
	}
	return false
}

// watchAlarms ends streams of data when the store comes in doubt, until ctx ends.
func (s *Server) watchAlarms(ctx context.Context) {
	for {
		changed := s.Store.AlarmsChanged()
		if s.Store.Corrupt(s.MemberID) {
			s.sound.lose()
		} else {
			s.sound.found()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// condition is something that streams depend on: they end when it is lost.
type condition struct {
	mu   sync.Mutex
	ctx  context.Context // ended while it is lost
	lost context.CancelFunc
}

func newCondition() condition {
	ctx, cancel := context.WithCancel(context.Background())
	return condition{ctx: ctx, lost: cancel}
}

// present returns a context that ends when the condition is lost.
func (c *condition) present() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ctx
}

func (c *condition) found() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		c.ctx, c.lost = context.WithCancel(context.Background())
	}
}

func (c *condition) lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost()
}
