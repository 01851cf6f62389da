package coordd

import (
	"context"
	"fmt"
	"time"

	"github.com/coordd/coordd/coordd/rpc"
)

// followMembers keeps the connections to the other members as the store says,
// and ends this member once it was removed.
//
// Who is removed gets one election timeout more: messages that wait for it tell
// it so. The same time a member that has removed itself stays, for those who are
// still to learn that its removal is decided and might need its vote for that. Its
// clients it turns away at once: no leader answers it any more.
func (s *Server) followMembers() {
	until := map[uint64]time.Time{} // zero for members; for who is none any more, when to let go
	for {
		changed := s.storage.store.MembersChanged()
		next := s.connectMembers(until, time.Now())
		select {
		case <-changed:
		case <-next:
		case <-s.ctx.Done():
			return
		}
	}
}

// connectMembers does what is due now, and returns what tells of the next time.
func (s *Server) connectMembers(until map[uint64]time.Time, now time.Time) (next <-chan time.Time) {
	members := s.storage.store.Members()
	for _, m := range members {
		until[m.Id] = time.Time{}
		if m.Id == s.storage.memberID {
			continue
		}
		if err := s.transport.Add(m.Id, m.PeerUrls); err != nil {
			s.log.Error("a member cannot be reached", "name", m.Name, "error", err)
		}
	}
	for _, id := range s.transport.Peers() {
		if _, known := until[id]; !known { // it has called, and may have been removed since
			until[id] = time.Time{}
		}
	}
	for id, due := range until {
		switch {
		case !s.storage.store.Removed(id):
		case due.IsZero():
			until[id] = now.Add(s.cfg.ElectionTimeout)
			next = time.After(s.cfg.ElectionTimeout)
			if id == s.storage.memberID {
				s.node.Retire()
				s.clients.stop(stopTimeout)
			}
		case due.After(now):
			next = time.After(due.Sub(now))
		default:
			delete(until, id)
			s.letGo(id)
		}
	}
	return next
}

// refused is told that another member takes this one for removed. It may be about
// to find that in its own log, and to answer whoever asked it for that.
func (s *Server) refused() {
	s.refuse.Do(func() {
		time.AfterFunc(s.cfg.ElectionTimeout, func() { s.failWith(removedError(&s.cfg, s.storage.memberID)) })
	})
}

// calledBy connects to a member that has called. This one may have missed that it
// was added or has moved, and must answer it to learn of that.
func (s *Server) calledBy(id uint64, urls []string) {
	if err := s.transport.Called(id, urls); err != nil && s.ctx.Err() == nil {
		s.log.Warn("a member that has called cannot be reached", "member", fmt.Sprintf("%x", id), "error", err)
	}
}

// peerURLs are where the others reach this member, by its own record.
func (s *Server) peerURLs() []string {
	for _, m := range s.storage.store.Members() {
		if m.Id == s.storage.memberID {
			return m.PeerUrls
		}
	}
	return nil
}

// letGo ends what there is with a member that was removed.
func (s *Server) letGo(id uint64) {
	if id == s.storage.memberID {
		s.failWith(removedError(&s.cfg, id))
		return
	}
	s.log.Info("let go of a removed member", "member", fmt.Sprintf("%x", id))
	s.transport.Remove(id)
}

// removedError says why a member that was removed ends, and what can be done.
func removedError(cfg *Config, id uint64) error {
	return fmt.Errorf("coordd: member %x was removed from the cluster for good; to have %s in it again, delete %s, add it with 'member add', and start it with --initial-cluster-state existing",
		id, cfg.Name, cfg.dataDir())
}

// handOver moves leadership to another voter before this member stops, so that
// the others need no election. It takes an election timeout at most.
func (s *Server) handOver() {
	if s.node == nil || !s.node.Status().IsLeader() || s.Err() != nil || len(s.storage.store.ConfState().GetVoters()) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.ElectionTimeout)
	defer cancel()
	to, err := rpc.Successor(ctx, s.node, s.mayLeadSince)
	if err == nil {
		err = s.node.TransferLeader(ctx, to)
	}
	if err != nil {
		s.log.Warn("leadership was not handed over; the others will elect a leader", "error", err)
		return
	}
	s.log.Info("leadership handed over", "to", fmt.Sprintf("%x", to))
}
