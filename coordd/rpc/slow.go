package rpc

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/proto/coordv1"
	"github.com/coordd/coordd/proto/v3electionpb"
	"github.com/coordd/coordd/proto/v3lockpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

const (
	// slowLogInterval is the time between two lines of slow requests: when all
	// are slow, writing them down must not make them slower.
	slowLogInterval = 100 * time.Millisecond
	// shownKeyBytes is how much of a key is logged.
	shownKeyBytes = 128
)

// slowLog writes slow requests down, with where their time went.
type slowLog struct {
	count atomic.Uint64

	mu      sync.Mutex
	next    time.Time // not before
	skipped int       // since the last line
}

// waitsByDesign tells the calls that may take as long as others hold something.
func waitsByDesign(method string) bool {
	return method == v3lockpb.Lock_Lock_FullMethodName || method == v3electionpb.Election_Campaign_FullMethodName ||
		method == coordv1.Barriers_Wait_FullMethodName
}

// turn says whether a line may be written now, and how many were left out
// since the last one.
func (l *slowLog) turn(now time.Time) (skipped int, ok bool) {
	l.count.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next) {
		l.skipped++
		return 0, false
	}
	skipped, l.skipped = l.skipped, 0
	l.next = now.Add(slowLogInterval)
	return skipped, true
}

func (l *slowLog) log(log *slog.Logger, method string, req any, err error, took time.Duration, t *raftnode.Times) {
	skipped, ok := l.turn(time.Now())
	if !ok {
		return
	}
	attrs := []any{"method", method, "took", took, "request", summary(req)}
	if m, ok := req.(proto.Message); ok {
		attrs = append(attrs, "bytes", proto.Size(m))
	}
	rest := took
	for _, part := range []struct {
		name string
		time time.Duration
	}{
		{"queue", t.Queue}, {"replicate", t.Replicate}, {"apply", t.Apply}, {"read_index", t.ReadIndex}, {"unsettled", t.Unsettled},
	} {
		if part.time > 0 {
			attrs = append(attrs, part.name, part.time)
			rest -= part.time
		}
	}
	attrs = append(attrs, "rest", rest)
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	if skipped > 0 {
		attrs = append(attrs, "more_not_shown", skipped)
	}
	log.Warn("slow request", attrs...)
}

// summary says what a request is about: keys, never values nor passwords.
func summary(req any) string {
	switch r := req.(type) {
	case *pb.RangeRequest:
		return fmt.Sprintf("%s limit %d", keys(r.GetKey(), r.GetRangeEnd()), r.GetLimit())
	case *pb.PutRequest:
		return fmt.Sprintf("%s value of %d bytes", keys(r.GetKey(), nil), len(r.GetValue()))
	case *pb.DeleteRangeRequest:
		return keys(r.GetKey(), r.GetRangeEnd())
	case *pb.TxnRequest:
		first := ""
		if len(r.GetCompare()) > 0 {
			first = ", the first of " + keys(r.GetCompare()[0].GetKey(), r.GetCompare()[0].GetRangeEnd())
		}
		return fmt.Sprintf("%d compares%s, %d and %d operations", len(r.GetCompare()), first, len(r.GetSuccess()), len(r.GetFailure()))
	case *pb.CompactionRequest:
		return fmt.Sprintf("revision %d, physical %t", r.GetRevision(), r.GetPhysical())
	case interface{ GetID() int64 }:
		return fmt.Sprintf("lease %x", r.GetID())
	case interface{ GetName() string }:
		return fmt.Sprintf("name %q", shown([]byte(r.GetName())))
	default:
		return ""
	}
}

func keys(key, end []byte) string {
	switch {
	case len(end) == 0:
		return fmt.Sprintf("key %q", shown(key))
	case len(end) == 1 && end[0] == 0:
		return fmt.Sprintf("keys from %q", shown(key))
	default:
		return fmt.Sprintf("keys %q to %q", shown(key), shown(end))
	}
}

// shown is a key, or its beginning.
func shown(key []byte) []byte { return key[:min(len(key), shownKeyBytes)] }
