package coordd

import (
	"errors"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// errDamaged ends the sending of a store that is in doubt: whoever lags would
// have it in place of a sound one, and in the next comparison the sound ones
// could be the fewer.
var errDamaged = errors.New("coordd: by an alarm CORRUPT this member's store is in doubt; it is sent to nobody")

// damaged says whether an alarm CORRUPT stands for this very member. That of
// member 0, for nobody in particular, does not count: all are the same then.
func (s *Server) damaged(member uint64) bool {
	return slices.ContainsFunc(s.storage.store.Alarms(), func(a *pb.AlarmMember) bool {
		return a.Alarm == pb.AlarmType_CORRUPT && a.MemberID == member
	})
}

// yieldWhenDamaged hands leadership over as long as this member's store is
// damaged, until Stop: a leader serves those that lag.
func (s *Server) yieldWhenDamaged() {
	for {
		changed, alarms := s.node.Changed(), s.storage.store.AlarmsChanged()
		if s.damaged(s.storage.memberID) {
			s.handOver()
		}
		select {
		case <-changed:
		case <-alarms:
		case <-s.ctx.Done():
			return
		}
	}
}

// mayLeadSince is since when a member has been connected and fit to lead; zero if it is not.
func (s *Server) mayLeadSince(member uint64) time.Time {
	if s.damaged(member) {
		return time.Time{}
	}
	return s.transport.ActiveSince(member)
}
