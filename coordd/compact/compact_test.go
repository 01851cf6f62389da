package compact

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func TestRetention(t *testing.T) {
	start := time.Unix(0, 0)
	for _, c := range []struct {
		mode, retention string
		interval        time.Duration // 0: no policy
		fails           bool
	}{
		{Periodic, "0", 0, false},
		{Revision, "0", 0, false},
		{Periodic, "0s", 0, false},
		{Periodic, "1", 6 * time.Minute, false},
		{Periodic, "24", 6 * time.Minute, false},
		{Periodic, "90m", 6 * time.Minute, false},
		{Periodic, "10m", time.Minute, false},
		{Periodic, "5s", 500 * time.Millisecond, false},
		{Revision, "1000", 5 * time.Minute, false},
		{Periodic, "-1", 0, true},
		{Periodic, "-5m", 0, true},
		{Periodic, "1ns", 0, true},
		{Periodic, "9999999999", 0, true},
		{Periodic, "x", 0, true},
		{Revision, "10m", 0, true},
		{Revision, "-3", 0, true},
		{"hourly", "1", 0, true},
		{"", "0", 0, true},
	} {
		p, err := NewPolicy(c.mode, c.retention, start)
		if (err != nil) != c.fails || (p != nil) != (c.interval > 0) || p != nil && p.Interval() != c.interval {
			t.Errorf("%s %q: %#v, %v", c.mode, c.retention, p, err)
		}
	}
}

// compactions runs a policy for a time in which a revision comes every minute,
// and returns when it compacted and how long what it removed had been there.
func compactions(p Policy, length time.Duration) (at, age []time.Duration) {
	start := time.Unix(0, 0)
	for now := start; now.Sub(start) <= length; now = now.Add(p.Interval()) {
		current := int64(now.Sub(start)/time.Minute) + 1
		if revision := p.Look(now, current); revision != 0 {
			p.Compacted(now, revision)
			at = append(at, now.Sub(start))
			age = append(age, time.Duration(current-revision)*time.Minute)
		}
	}
	return at, age
}

func TestPeriodicCompaction(t *testing.T) {
	const h = time.Hour
	for _, c := range []struct {
		period time.Duration
		length time.Duration
		want   []time.Duration
	}{
		{h, 5 * h, []time.Duration{h, 2 * h, 3 * h, 4 * h, 5 * h}},
		{24 * h, 27 * h, []time.Duration{24 * h, 25 * h, 26 * h, 27 * h}},
		{30 * time.Minute, 2 * h, []time.Duration{h / 2, h, 3 * h / 2, 2 * h}},
	} {
		at, age := compactions(newByTime(c.period, time.Unix(0, 0)), c.length)
		if !slices.Equal(at, c.want) {
			t.Errorf("%s: compacted at %v, want %v", c.period, at, c.want)
		}
		for i, a := range age {
			if a != c.period {
				t.Errorf("%s: at %s what was %s old was kept", c.period, at[i], a)
			}
		}
	}
}

func TestCompactionByRevision(t *testing.T) {
	p := &byRevision{keep: 100}
	now := time.Time{}
	for _, c := range []struct{ current, want int64 }{{50, 0}, {100, 0}, {101, 1}, {101, 0}, {350, 250}, {350, 0}} {
		got := p.Look(now, c.current)
		if got != c.want {
			t.Errorf("at %d: compact at %d, want %d", c.current, got, c.want)
		}
		if got != 0 {
			if again := p.Look(now, c.current); again != got {
				t.Errorf("at %d: not told again before it is done", c.current)
			}
			p.Compacted(now, got)
		}
	}
}

// member is a node whose proposals are remembered.
type member struct {
	mu       sync.Mutex
	leads    bool
	err      error
	proposed []int64
}

func (m *member) Status() raftnode.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leads {
		return raftnode.Status{ID: 1, Leader: 1}
	}
	return raftnode.Status{ID: 1, Leader: 2}
}

func (m *member) Propose(_ context.Context, req proto.Message) (proto.Message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.proposed = append(m.proposed, req.(*pb.CompactionRequest).Revision)
	return &pb.CompactionResponse{}, m.err
}

// set says what becomes of proposals from now on.
func (m *member) set(leads bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leads, m.err = leads, err
}

func (m *member) compactedAt() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.proposed)
}

// TestOnlyTheLeaderCompacts: a follower looks on, a new leader compacts at once,
// what failed is tried again, and what somebody else has done counts as done.
func TestOnlyTheLeaderCompacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &member{}
		begin := time.Now()
		d := Driver{
			Node:     m,
			Revision: func() int64 { return int64(time.Since(begin)/time.Second) + 1 },
			Policy:   newByTime(100*time.Second, begin),
			Now:      time.Now,
			Logger:   slog.New(slog.DiscardHandler),
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go d.Run(ctx)
		time.Sleep(205 * time.Second)
		synctest.Wait()
		if len(m.compactedAt()) != 0 {
			t.Fatalf("a follower compacted at %v", m.compactedAt())
		}
		m.set(true, errors.New("no"))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if !slices.Equal(m.compactedAt(), []int64{111, 121}) {
			t.Fatalf("a new leader compacted at %v", m.compactedAt())
		}
		m.set(true, kvcore.ErrCompacted)
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if !slices.Equal(m.compactedAt(), []int64{111, 121, 131}) {
			t.Fatalf("then it compacted at %v", m.compactedAt())
		}
	})
}
