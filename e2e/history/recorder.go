package history

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// resumePause spaces out attempts to go on recording after the watch broke.
const resumePause = 50 * time.Millisecond

// Recorder follows the store from the moment it was started. What it has seen is complete
// up to Revision, whatever happens to members and connections meanwhile. It is safe for
// concurrent use.
type Recorder struct {
	client *clientv3.Client
	prefix string
	cancel context.CancelFunc
	done   chan struct{} // closed when run has ended

	mu       sync.Mutex
	changed  *sync.Cond // with mu: more is known, or the recording has ended
	events   []Event
	revision int64 // everything up to it is in events
	err      error // why the recording has ended
}

// Record starts to record all keys that begin with prefix, "" for all. The recording ends with
// ctx or by Stop.
func Record(ctx context.Context, client *clientv3.Client, prefix string) (*Recorder, error) {
	present, err := client.Get(ctx, "history", clientv3.WithCountOnly())
	if err != nil {
		return nil, fmt.Errorf("history: read the present revision: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &Recorder{client: client, prefix: prefix, cancel: cancel, done: make(chan struct{}), revision: present.Header.Revision}
	r.changed = sync.NewCond(&r.mu)
	go r.run(ctx)
	return r, nil
}

func (r *Recorder) run(ctx context.Context) {
	defer close(r.done)
	for ctx.Err() == nil {
		if err := r.follow(ctx); err != nil {
			r.fail(err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(resumePause):
		}
	}
	r.fail(context.Cause(ctx))
}

// follow watches until the watch breaks. An error is for good.
func (r *Recorder) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	from := r.Revision() + 1
	for resp := range r.client.Watch(ctx, r.prefix, clientv3.WithPrefix(), clientv3.WithRev(from)) {
		if resp.CompactRevision != 0 {
			return fmt.Errorf("history: revisions from %d were compacted at %d", from, resp.CompactRevision)
		}
		if resp.Err() == nil && (len(resp.Events) > 0 || resp.IsProgressNotify()) {
			r.take(resp)
		}
	}
	return nil
}

func (r *Recorder) take(resp clientv3.WatchResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ev := range resp.Events {
		r.events = append(r.events, EventOf(ev))
	}
	known := resp.Header.Revision
	if n := len(resp.Events); n > 0 {
		known = resp.Events[n-1].Kv.ModRevision
	}
	r.revision = max(r.revision, known)
	r.changed.Broadcast()
}

func (r *Recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	r.changed.Broadcast()
}

// Revision is up to where the history is known.
func (r *Recorder) Revision() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revision
}

// Until waits until everything up to a revision is known, that of a change of a key with the
// prefix, and returns the history from the beginning to there.
func (r *Recorder) Until(revision int64) ([]Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.revision < revision && r.err == nil {
		r.changed.Wait()
	}
	if r.revision < revision {
		return nil, errors.Join(fmt.Errorf("history: known up to %d only, not to %d", r.revision, revision), r.err)
	}
	n := len(r.events)
	for n > 0 && r.events[n-1].Revision > revision {
		n--
	}
	return r.events[:n:n], nil
}

// Stop ends the recording. What was asked for by Until before stays.
func (r *Recorder) Stop() {
	r.cancel()
	<-r.done
}
