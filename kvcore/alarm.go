package kvcore

import (
	"cmp"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
)

// Alarms returns the alarms that stand, ordered by kind and member. They must
// not be changed.
func (s *Store) Alarms() []*pb.AlarmMember { return slices.Clone(*s.alarms.Load()) }

// AlarmsChanged returns a channel that is closed when alarms are raised or lifted
// next. Take it before asking what stands, so that no change falls between.
func (s *Store) AlarmsChanged() <-chan struct{} { return s.alarmsChanged.wait() }

// Corrupt says whether what a member holds is in doubt: an alarm CORRUPT stands
// for it, or for nobody in particular, which is member 0.
func (s *Store) Corrupt(member uint64) bool {
	return slices.ContainsFunc(*s.alarms.Load(), func(a *pb.AlarmMember) bool {
		return a.Alarm == pb.AlarmType_CORRUPT && (a.MemberID == member || a.MemberID == 0)
	})
}

// raised says whether the alarm stands for the member.
func (s *Store) raised(a *pb.AlarmMember) bool {
	return slices.ContainsFunc(*s.alarms.Load(), func(o *pb.AlarmMember) bool { return compareAlarms(a, o) == 0 })
}

// applyAlarm raises or lifts an alarm. It answers as etcd does: with the alarm when it stands now, or does no
// longer, through this request or an earlier one; with nothing where there was
// none to lift.
func (s *Store) applyAlarm(r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	response := &pb.AlarmResponse{Header: s.header()}
	if _, known := pb.AlarmType_name[int32(r.Alarm)]; !known {
		return nil, fmt.Errorf("%w: alarm %d", ErrMalformed, r.Alarm)
	}
	a := &pb.AlarmMember{MemberID: r.MemberID, Alarm: r.Alarm}
	switch r.Action {
	case pb.AlarmRequest_ACTIVATE:
		if r.Alarm == pb.AlarmType_NONE {
			break
		}
		if !s.raised(a) {
			s.setAlarms(append(s.Alarms(), a))
			s.queue(change{backend.Alarm, alarmKey(a), []byte{}})
		}
		response.Alarms = []*pb.AlarmMember{a}
	case pb.AlarmRequest_DEACTIVATE:
		if s.raised(a) {
			s.setAlarms(slices.DeleteFunc(s.Alarms(), func(o *pb.AlarmMember) bool { return compareAlarms(a, o) == 0 }))
			s.queue(change{backend.Alarm, alarmKey(a), nil})
			response.Alarms = []*pb.AlarmMember{a}
		}
	default: // asking what stands is a read
		return nil, fmt.Errorf("%w: alarm action %d", ErrMalformed, r.Action)
	}
	return response, nil
}

func (s *Store) setAlarms(alarms []*pb.AlarmMember) {
	slices.SortFunc(alarms, compareAlarms)
	s.alarms.Store(&alarms)
	s.alarmsChanged.notify()
}

func compareAlarms(a, b *pb.AlarmMember) int {
	return cmp.Or(cmp.Compare(a.Alarm, b.Alarm), cmp.Compare(a.MemberID, b.MemberID))
}

// checkAlarms says whether the alarms that stand allow a client's request, the same on
// every member. NOSPACE, of whichever member, refuses what takes space. CORRUPT
// of member 0, when nobody knows whom to believe, refuses every change of keys
// and leases; that of one member is none of the others' business, and keeps its
// clients from getting here. Other requests are the cluster's own: they pass.
func (s *Store) checkAlarms(req proto.Message) error {
	for _, a := range *s.alarms.Load() {
		switch {
		case a.Alarm == pb.AlarmType_NOSPACE && Cost(req) > 0:
			return ErrNoSpace
		case a.Alarm == pb.AlarmType_CORRUPT && a.MemberID == 0 && isChange(req):
			return ErrCorrupt
		}
	}
	return nil
}

func isChange(req proto.Message) bool {
	switch req.(type) {
	case *pb.PutRequest, *pb.DeleteRangeRequest, *pb.TxnRequest, *pb.CompactionRequest, *pb.LeaseGrantRequest, *pb.LeaseRevokeRequest:
		return true
	}
	return false
}

// What a record and a lease are taken to cost beside key and value, in bytes, as
// in etcd.
const (
	recordCost = 256
	leaseCost  = 64
)

// Cost estimates the bytes that a request takes in the backend, 0 if it takes
// none. That of a transaction is its more expensive branch's.
func Cost(req proto.Message) (bytes int) {
	switch r := req.(type) {
	case *pb.PutRequest:
		return recordCost + len(r.Key) + len(r.Value)
	case *pb.LeaseGrantRequest:
		return leaseCost
	case *pb.TxnRequest:
		return max(costOf(r.Success), costOf(r.Failure))
	}
	return 0
}

func costOf(ops []*pb.RequestOp) (bytes int) {
	for _, op := range ops {
		switch {
		case op.GetRequestPut() != nil:
			bytes += Cost(op.GetRequestPut())
		case op.GetRequestTxn() != nil:
			bytes += Cost(op.GetRequestTxn())
		}
	}
	return bytes
}

// alarmKey is the whole of an alarm in the backend, as etcd writes it.
func alarmKey(a *pb.AlarmMember) []byte {
	key, err := proto.MarshalOptions{Deterministic: true}.Marshal(a)
	if err != nil {
		panic(fmt.Sprintf("kvcore: encode alarm %v: %v", a, err))
	}
	return key
}

func (st *loaded) loadAlarms(r backend.Reader) (err error) {
	r.Ascend(backend.Alarm, nil, nil, func(k, _ []byte) bool {
		a := new(pb.AlarmMember)
		if err = proto.Unmarshal(k, a); err != nil {
			err = fmt.Errorf("alarm %x: %w", k, err)
			return false
		}
		st.alarms = append(st.alarms, a)
		return true
	})
	return err
}
