package recipes

import (
	"context"
	"iter"
	"math"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// watch yields the responses of a watch, the first of which says that it was created, until ctx ends or the watch breaks.
//
// All watches of a session share a stream, which the client keeps by the metadata of their contexts. In the client of etcd
// 3.7.3 the end of a stream can hang for ever when watches are refused at about the same time, and whoever wants a watch
// after them waits for it. So after a watch that was refused, or that nobody answered, the session takes another stream.
func (s *Session) watch(ctx context.Context, key string, opts ...clientv3.OpOption) iter.Seq[clientv3.WatchResponse] {
	return func(yield func(clientv3.WatchResponse) bool) {
		watchCtx, stop := join(s.streamContext(), ctx)
		defer stop()
		unanswered := time.AfterFunc(s.answerTime(), stop)
		defer unanswered.Stop()
		opts := append(opts[:len(opts):len(opts)], clientv3.WithCreatedNotify())
		created := false
		for resp := range s.client.Watch(watchCtx, key, opts...) {
			unanswered.Stop()
			created = created || resp.Created && !resp.Canceled
			if !yield(resp) {
				return
			}
			if resp.Canceled {
				break // the channel may never be closed
			}
		}
		if !created && ctx.Err() == nil {
			s.streams.Add(1)
		}
	}
}

// streamContext has no end, and the metadata of the session's stream.
func (s *Session) streamContext() context.Context {
	ctx := clientv3.WithRequireLeader(context.WithoutCancel(s.ctx))
	if n := s.streams.Load(); n > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, "recipes-stream", strconv.FormatInt(n, 10))
	}
	return ctx
}

// answerTime bounds the wait for a watch to be created. Those who act for others wait as long as they do.
func (s *Session) answerTime() time.Duration {
	if s.attached {
		return math.MaxInt64
	}
	return s.requestTime()
}
