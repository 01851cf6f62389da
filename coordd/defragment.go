package coordd

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coordd/coordd/kvcore/backend"
)

// errOvertaken ends a defragmentation where the store is replaced as a whole or
// closed.
var errOvertaken = errors.New("coordd: the store was replaced by the leader's, or closed, while it was defragmented")

// defragmenter lets a defragmentation and whoever else replaces the store's file
// exclude each other: a defragmentation gives way.
type defragmenter struct {
	mu      sync.Mutex
	held    int                     // by those it gives way to
	running context.CancelCauseFunc // nil while there is none
	done    chan struct{}           // closed when the running one has ended
}

// defragment runs one on the store.
func (s *storage) defragment(ctx context.Context, progress func(done, total int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !s.defragmenter.begin(cancel) {
		return backend.ErrBusy
	}
	defer s.defragmenter.end()
	err := s.store.Defragment(ctx, paced(ctx, progress))
	if err != nil && errors.Is(context.Cause(ctx), errOvertaken) {
		return errOvertaken
	}
	return err
}

// paced makes the copying rest for as long as it took: what it does to the disk
// and the processor must not show in the latency of requests.
func paced(ctx context.Context, progress func(done, total int64)) func(done, total int64) {
	last := time.Now()
	return func(done, total int64) {
		progress(done, total)
		select {
		case <-time.After(time.Since(last)):
		case <-ctx.Done():
		}
		last = time.Now()
	}
}

func (d *defragmenter) begin(cancel context.CancelCauseFunc) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held > 0 || d.running != nil {
		return false
	}
	d.running, d.done = cancel, make(chan struct{})
	return true
}

func (d *defragmenter) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.done)
	d.running = nil
}

// hold ends a defragmentation that is under way and lets none begin until resume.
func (d *defragmenter) hold() (resume func()) {
	d.mu.Lock()
	d.held++
	running, done := d.running, d.done
	d.mu.Unlock()
	if running != nil {
		running(errOvertaken)
		<-done
	}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.held--
	}
}
