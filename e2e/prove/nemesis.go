package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/e2e/cluster"
	"github.com/coordd/coordd/e2e/lincheck"
	"github.com/coordd/coordd/e2e/proxy"
	"github.com/coordd/coordd/recipes"
)

const (
	faultTime = (roamTTLSeconds + 1) * time.Second // longer than leases last
	calmTime  = time.Second
)

// fault is something that happens while the roamers roam, and is over when it returns.
type fault struct {
	name string
	do   func(context.Context) error
}

// faults are all kinds that there are.
func (s *soak) faults() []fault {
	both := proxy.Faults{Requests: proxy.Hold, Replies: proxy.Hold}
	return []fault{
		{"stop the holder", s.stopHolder},
		{"kill a worker", s.replaceWorker},
		{"cut a worker off", s.link(both)},
		{"silence a worker", s.link(proxy.Faults{Requests: proxy.Hold})},
		{"let a worker hear nothing", s.link(proxy.Faults{Replies: proxy.Hold})},
		{"lose all replies to a worker", s.link(proxy.Faults{Replies: proxy.Drop})},
		{"slow a worker's link", s.link(proxy.Faults{Delay: 50 * time.Millisecond})},
		{"reset a worker's connections", s.resetLink},
		{"stop the leader", s.onLeader(s.stopMember)},
		{"stop a follower", s.onFollower(s.stopMember)},
		{"stall the leader again and again", s.onLeader(s.stallMember)},
		{"kill the leader", s.onLeader(s.restartMember)},
		{"kill a follower", s.onFollower(s.restartMember)},
		{"cut the leader off", s.onLeader(s.isolate(both, both))},
		{"silence the leader", s.onLeader(s.isolate(proxy.Faults{Requests: proxy.Hold}, proxy.Faults{}))},
		{"let the leader hear nothing", s.onLeader(s.isolate(proxy.Faults{}, proxy.Faults{Requests: proxy.Hold}))},
		{"move the leadership", s.moveLeader},
		{"compact", s.compact},
		{"resize the semaphore", s.resize},
		{"add a member and remove it", s.changeMembers},
	}
}

// insist repeats what fails while the cluster has not recovered from the fault before.
func insist(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil {
			return nil
		}
		if pause(ctx, 200*time.Millisecond); ctx.Err() != nil {
			return err
		}
	}
}

func (s *soak) anyWorker() *player { return s.workers[rand.N(len(s.workers))] }

// stopHolder stops the worker that has the first mutex, or any if nobody has it.
func (s *soak) stopHolder(ctx context.Context) error {
	p := s.anyWorker()
	var resp *clientv3.GetResponse
	err := insist(ctx, func() (err error) {
		resp, err = s.client.Get(ctx, targets[0].path()+"/q/", clientv3.WithFirstCreate()...)
		return err
	})
	if err != nil {
		return err
	}
	for _, kv := range resp.Kvs {
		var who recipes.Holder
		if err := json.Unmarshal(kv.Value, &who); err != nil {
			return err
		}
		for _, other := range s.workers {
			if other.cmd.Process.Pid == who.PID {
				p = other
			}
		}
	}
	if err := p.stop(); err != nil {
		return err
	}
	pause(ctx, faultTime)
	return p.resume()
}

// replaceWorker kills one and starts another.
func (s *soak) replaceWorker(ctx context.Context) error {
	i := rand.N(len(s.workers))
	s.workers[i].end()
	p, err := s.newRoamers(ctx, i)
	if err != nil {
		return err
	}
	s.workers[i] = p
	return nil
}

func (s *soak) link(f proxy.Faults) func(context.Context) error {
	return func(ctx context.Context) error {
		p := s.anyWorker()
		p.link.set(f)
		pause(ctx, faultTime)
		p.link.set(proxy.Faults{})
		return nil
	}
}

func (s *soak) resetLink(ctx context.Context) error {
	p := s.anyWorker()
	for range 10 {
		for _, l := range p.link {
			l.Reset()
		}
		pause(ctx, faultTime/20)
	}
	return nil
}

// onLeader does something to the member that leads at this moment.
func (s *soak) onLeader(do func(context.Context, *cluster.Member) error) func(context.Context) error {
	return func(ctx context.Context) error {
		m, err := s.leader(ctx)
		if err != nil {
			return err
		}
		return do(ctx, m)
	}
}

func (s *soak) onFollower(do func(context.Context, *cluster.Member) error) func(context.Context) error {
	return func(ctx context.Context) error {
		leader, err := s.leader(ctx)
		if err != nil {
			return err
		}
		for {
			if m := s.store.Members[rand.N(len(s.store.Members))]; m != leader {
				return do(ctx, m)
			}
		}
	}
}

// leader returns the member that calls itself the leader.
func (s *soak) leader(ctx context.Context) (*cluster.Member, error) {
	for ctx.Err() == nil {
		for _, m := range s.store.Members {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			status, err := s.client.Status(ctx, m.ClientURL)
			cancel()
			if err == nil && status.Leader == status.Header.MemberId {
				return m, nil
			}
		}
	}
	return nil, fmt.Errorf("no member leads: %w", context.Cause(ctx))
}

func (s *soak) stopMember(ctx context.Context, m *cluster.Member) error {
	if err := syscall.Kill(m.PID(), syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop %s: %w", m.Name, err)
	}
	pause(ctx, faultTime)
	return syscall.Kill(m.PID(), syscall.SIGCONT)
}

// stallMember is what a slow disk or a busy machine does.
func (s *soak) stallMember(ctx context.Context, m *cluster.Member) error {
	for range 10 {
		if err := syscall.Kill(m.PID(), syscall.SIGSTOP); err != nil {
			return fmt.Errorf("stall %s: %w", m.Name, err)
		}
		pause(ctx, faultTime/20)
		if err := syscall.Kill(m.PID(), syscall.SIGCONT); err != nil {
			return fmt.Errorf("resume %s: %w", m.Name, err)
		}
		pause(ctx, faultTime/20)
	}
	return nil
}

func (s *soak) restartMember(ctx context.Context, m *cluster.Member) error {
	m.Kill()
	pause(ctx, faultTime/2)
	if err := m.Start(); err != nil {
		return err
	}
	return m.AwaitReady(ctx)
}

// isolate does something to what a member says to the others, and to what they say to it.
func (s *soak) isolate(said, heard proxy.Faults) func(context.Context, *cluster.Member) error {
	return func(ctx context.Context, m *cluster.Member) error {
		for url, link := range s.peerLinks {
			if url == m.PeerURL {
				link.Set(heard)
			} else {
				link.SetFor(m.PID(), said)
			}
		}
		pause(ctx, faultTime)
		for _, link := range s.peerLinks {
			link.Heal()
		}
		return nil
	}
}

func (s *soak) moveLeader(ctx context.Context) error {
	for range 5 {
		leader, err := s.leader(ctx)
		if err != nil {
			return err
		}
		var members *clientv3.MemberListResponse
		err = insist(ctx, func() (err error) {
			members, err = s.client.MemberList(ctx)
			return err
		})
		if err != nil {
			return err
		}
		for _, m := range members.Members {
			if m.Name != leader.Name && !m.IsLearner {
				_ = s.coordctl(ctx, "--endpoints", leader.ClientURL, "move-leader", fmt.Sprintf("%x", m.ID)) // it may have moved by itself
				break
			}
		}
		pause(ctx, faultTime/10)
	}
	return nil
}

// compact goes as far as the recording allows.
func (s *soak) compact(ctx context.Context) error {
	for range 3 {
		err := insist(ctx, func() error {
			_, err := s.client.Compact(ctx, s.recorder.Revision())
			if errors.Is(err, rpctypes.ErrCompacted) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		pause(ctx, faultTime/10)
	}
	return nil
}

func (s *soak) resize(ctx context.Context) error {
	for _, limit := range []int64{1, 4, 2, roamLimit} {
		if err := insist(ctx, func() error { return s.setLimit(ctx, limit) }); err != nil {
			return err
		}
		pause(ctx, faultTime/10)
	}
	return nil
}

func (s *soak) setLimit(ctx context.Context, limit int64) error {
	t := target{semaphore, "s0"}
	op := lincheck.Op{Call: now(), Do: lincheck.SetLimit, Weight: limit}
	_, err := s.client.Put(ctx, t.path()+"/limit", fmt.Sprint(limit))
	if err != nil {
		pause(ctx, faultTime) // it may still come; the next try sets the same
	}
	op.Return = now()
	s.diary.write(line{Target: t, Op: &op})
	return err
}

func (s *soak) changeMembers(ctx context.Context) error {
	m, err := s.store.Prepare()
	if err != nil {
		return err
	}
	defer s.store.Forget(m)
	var id uint64
	err = insist(ctx, func() (err error) {
		id, err = s.addLearner(ctx, m.PeerURL)
		return err
	})
	if err == nil {
		err = m.Start()
	}
	if err != nil {
		return err
	}
	defer m.Kill()
	err = m.AwaitReady(ctx)
	if err == nil {
		err = insist(ctx, func() error { // until it has caught up
			_, err := s.client.MemberPromote(ctx, id)
			if errors.Is(err, rpctypes.ErrMemberNotLearner) {
				return nil
			}
			return err
		})
	}
	if err != nil {
		return err
	}
	pause(ctx, faultTime/4)
	return insist(ctx, func() error {
		_, err := s.client.MemberRemove(ctx, id)
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			return nil
		}
		return err
	})
}

// addLearner adds a member, unless a try before has.
func (s *soak) addLearner(ctx context.Context, peerURL string) (id uint64, err error) {
	list, err := s.client.MemberList(ctx)
	if err != nil {
		return 0, err
	}
	for _, m := range list.Members {
		if slices.Contains(m.PeerURLs, peerURL) {
			return m.ID, nil
		}
	}
	added, err := s.client.MemberAddAsLearner(ctx, []string{peerURL})
	if err != nil {
		return 0, err
	}
	return added.Member.ID, nil
}
