package recipes

import (
	"context"
	"sync"
	"time"
)

// janitor removes queue entries whose removal was not confirmed to those who gave them up: they would block the queue for
// as long as the session lives. It tries each at once and then every period until the store confirms or the session has
// ended, when the lease takes them along. Those that may come back it removes until then.
type janitor struct {
	wake chan struct{} // holds one wake-up

	mu      sync.Mutex
	entries map[*entry]struct{} // guarded by mu; bounded by the attempts in doubt
}

func newJanitor() *janitor {
	return &janitor{wake: make(chan struct{}, 1), entries: make(map[*entry]struct{})}
}

// adopt takes over the removal of e. Adopting again changes nothing.
func (j *janitor) adopt(e *entry) {
	j.mu.Lock()
	j.entries[e] = struct{}{}
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

func (j *janitor) run(s *Session) {
	period := time.NewTicker(s.ttl / 3)
	defer period.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-j.wake:
		case <-period.C:
		}
		j.sweep(s)
	}
}

// sweep tries to remove every entry once.
func (j *janitor) sweep(s *Session) {
	for _, e := range j.snapshot() {
		err := s.try(s.ctx, func(ctx context.Context) error {
			_, err := e.remove(ctx)
			return err
		})
		if err == nil && !e.mayReturn() {
			j.mu.Lock()
			delete(j.entries, e)
			j.mu.Unlock()
		}
	}
}

func (j *janitor) snapshot() []*entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]*entry, 0, len(j.entries))
	for e := range j.entries {
		all = append(all, e)
	}
	return all
}
