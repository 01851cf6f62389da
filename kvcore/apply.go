package kvcore

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/index"
	"github.com/coordd/coordd/kvcore/lease"
	"github.com/coordd/coordd/proto/coordpb"
)

// Result is what became of one request: a response, or an error and then the
// request had no effect. The header of a response holds the revision alone.
type Result struct {
	Response proto.Message
	Err      error
}

// Apply applies the requests of one log entry in order. Each takes effect as a
// whole or not at all; readers see those of one entry together. An unknown or
// malformed request yields an error. Apply panics if index is not above that of
// Applied, since that entry was applied before.
func (s *Store) Apply(index, term uint64, reqs []proto.Message) []Result {
	s.mu.Lock()
	first := s.current.tail.next
	s.advance(index, term)
	w := writing{Store: s, left: len(reqs)}
	results := make([]Result, len(reqs))
	for i, req := range reqs {
		response, err := w.apply(req)
		if err != nil {
			response = nil
		}
		results[i] = Result{response, err}
		w.left--
	}
	s.publish()
	t := s.current.tail // Flush may drop entries from s.current.tail from here on
	s.mu.Unlock()
	s.notify(&t, first)
	return results
}

func (s *Store) setConfState(cs *raftpb.ConfState) {
	cs = proto.CloneOf(cs)
	s.queue(confStateChange(cs))
	s.confState.Store(cs)
}

func (s *Store) advance(index, term uint64) {
	if index <= s.current.applied.index {
		panic(fmt.Sprintf("kvcore: apply entry %d after %d", index, s.current.applied.index))
	}
	s.current.applied = position{index, term}
}

// writing is the application of one entry.
type writing struct {
	*Store
	left    int        // requests yet to be answered
	replies []putReply // allocated ahead for them
}

// putReply is a put's response in one piece.
type putReply struct {
	response pb.PutResponse
	header   pb.ResponseHeader
}

func (w *writing) apply(req proto.Message) (proto.Message, error) {
	req, err := w.admit(req)
	if err != nil {
		return nil, err
	}
	if err := w.checkAlarms(req); err != nil {
		return nil, err
	}
	w.txn = index.Revision{Main: w.current.revision + 1}
	switch r := req.(type) {
	case *pb.PutRequest:
		if err := w.checkPut(r); err != nil {
			return nil, err
		}
		return w.put(r), nil
	case *pb.DeleteRangeRequest:
		if err := checkDelete(r); err != nil {
			return nil, err
		}
		return w.deleteRange(r), nil
	case *pb.TxnRequest:
		return w.applyTxn(r)
	case *pb.CompactionRequest:
		return w.compact(r)
	case *pb.LeaseGrantRequest:
		return w.grant(r)
	case *pb.LeaseRevokeRequest:
		return w.revoke(r)
	case *pb.AlarmRequest:
		return w.applyAlarm(r)
	case *coordpb.LeaseExpireRequest:
		return w.expire(r), nil
	case *coordpb.LeaseCheckpointRequest:
		return w.checkpoint(r), nil
	case *coordpb.EpochRaiseRequest:
		return w.raiseEpoch(r), nil
	case *coordpb.MemberPublishRequest:
		return w.publishMember(r), nil
	case *pb.MemberUpdateRequest:
		return w.updateMember(r)
	case *coordpb.TokenAssignRequest:
		return w.assignToken(r)
	case *pb.AuthEnableRequest, *pb.AuthDisableRequest,
		*pb.AuthUserAddRequest, *pb.AuthUserDeleteRequest, *pb.AuthUserChangePasswordRequest,
		*pb.AuthUserGrantRoleRequest, *pb.AuthUserRevokeRoleRequest,
		*pb.AuthRoleAddRequest, *pb.AuthRoleDeleteRequest,
		*pb.AuthRoleGrantPermissionRequest, *pb.AuthRoleRevokePermissionRequest:
		return w.applyAuth(r)
	default:
		return nil, fmt.Errorf("%w: no command is a %T", ErrMalformed, req)
	}
}

// record appends a change to the tail. kv needs no mod revision.
func (s *Store) record(kv *mvccpb.KeyValue, tombstone bool) {
	if !tombstone {
		kv.ModRevision = s.txn.Main
	}
	data := appendKeyValue(s.arena.take(sizeKeyValue(kv)), kv)
	e := s.current.tail.append()
	e.rev, e.data, e.tombstone = s.txn, data, tombstone
	e.key = recordKey(data)
	s.current.revision = s.txn.Main
	s.txn.Sub++
	s.unflushed.Add(int64(entryBytes(e)))
}

// checkPut says why the put cannot be applied, by the state before the
// transaction it is part of.
func (s *Store) checkPut(r *pb.PutRequest) error {
	if len(r.GetKey()) == 0 {
		return ErrEmptyKey
	}
	if r.Lease != 0 {
		if _, ok := s.leases.Lookup(lease.ID(r.Lease)); !ok {
			return ErrLeaseNotFound
		}
	}
	if r.IgnoreValue || r.IgnoreLease {
		v := s.snapshot()
		if _, ok := v.index.Get(r.Key, v.revision); !ok {
			return ErrKeyNotFound
		}
	}
	return nil
}

// put applies a put that has been checked.
func (w *writing) put(r *pb.PutRequest) *pb.PutResponse {
	w.counts.puts.Add(1)
	w.counts.putBytes.Add(uint64(len(r.Key) + len(r.Value)))
	kv := mvccpb.KeyValue{Key: r.Key, Value: r.Value, Lease: r.Lease}
	reply := w.reply()
	if r.PrevKv || r.IgnoreValue || r.IgnoreLease {
		before := w.get(r.Key)
		if r.IgnoreValue {
			kv.Value = before.GetValue()
		}
		if r.IgnoreLease {
			kv.Lease = before.GetLease()
		}
		if r.PrevKv {
			reply.response.PrevKv = before
		}
	}
	k := w.tree.Put(r.Key, w.txn)
	w.stale = true
	kv.CreateRevision, kv.Version = k.Created.Main, k.Version
	w.record(&kv, false)
	w.attach(&kv)
	reply.header.Revision = w.current.revision
	return &reply.response
}

func (s *Store) attach(kv *mvccpb.KeyValue) {
	if kv.Lease == 0 {
		s.leases.Detach(kv.Key)
		return
	}
	// A store restored from a backup may hold keys of a lease that is gone;
	// ignore_lease keeps them as they are.
	_ = s.leases.Attach(lease.ID(kv.Lease), kv.Key)
}

func (w *writing) reply() *putReply {
	if len(w.replies) == 0 {
		w.replies = make([]putReply, min(max(w.left, 1), 64))
	}
	reply := &w.replies[0]
	w.replies = w.replies[1:]
	reply.response.Header = &reply.header
	return reply
}

// get returns the key as the writer sees it now, nil if it is not there.
func (s *Store) get(key []byte) *mvccpb.KeyValue {
	r := s.reading()
	defer r.close()
	k, ok := r.index.Get(key, r.revision)
	if !ok {
		return nil
	}
	kv := new(mvccpb.KeyValue)
	must(r.load(kv, k.Modified, false))
	return kv
}

func checkDelete(r *pb.DeleteRangeRequest) error {
	if len(r.GetKey()) == 0 {
		return ErrEmptyKey
	}
	return nil
}

func (s *Store) deleteRange(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	s.counts.deletes.Add(1)
	var found []index.Key
	v := s.snapshot()
	v.index.Ascend(r.Key, r.RangeEnd, v.revision, func(k index.Key) bool {
		found = append(found, k)
		return true
	})
	response := &pb.DeleteRangeResponse{Deleted: int64(len(found))}
	if r.PrevKv && len(found) > 0 {
		response.PrevKvs = s.previous(found)
	}
	for _, k := range found {
		s.delete(k.Key)
	}
	response.Header = s.header()
	return response
}

func (s *Store) previous(keys []index.Key) []*mvccpb.KeyValue {
	r := s.reading()
	defer r.close()
	kvs, err := r.loadAll(keys, false, &budget{})
	must(err)
	return kvs
}

// delete buries a key, if it is live.
func (s *Store) delete(key []byte) {
	if !s.tree.Delete(key, s.txn) {
		return
	}
	s.stale = true
	s.record(&mvccpb.KeyValue{Key: key}, true)
	s.leases.Detach(key)
}

func (s *Store) header() *pb.ResponseHeader {
	return &pb.ResponseHeader{Revision: s.current.revision}
}

// maxLeaseTTLSeconds is etcd's bound.
const maxLeaseTTLSeconds = 9_000_000_000

func (s *Store) grant(r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if r.ID == 0 {
		return nil, fmt.Errorf("%w: lease 0", ErrMalformed)
	}
	if r.TTL > maxLeaseTTLSeconds {
		return nil, ErrLeaseTTLTooLarge
	}
	ttl := max(r.TTL, 1)
	if err := s.leases.Grant(lease.ID(r.ID), ttl); err != nil {
		return nil, ErrLeaseExists
	}
	s.counts.leasesGranted.Add(1)
	s.queue(leaseChange(lease.Lease{ID: lease.ID(r.ID), TTLSeconds: ttl}))
	return &pb.LeaseGrantResponse{Header: s.header(), ID: r.ID, TTL: ttl}, nil
}

func (s *Store) revoke(r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	if !s.end(r.ID) {
		return nil, ErrLeaseNotFound
	}
	return &pb.LeaseRevokeResponse{Header: s.header()}, nil
}

// end removes a lease and its keys, in key order.
func (s *Store) end(id int64) bool {
	keys, ok := s.leases.Revoke(lease.ID(id))
	if !ok {
		return false
	}
	s.counts.leasesEnded.Add(1)
	s.queue(change{backend.Lease, leaseKey(id), nil})
	for _, key := range keys {
		s.delete([]byte(key))
	}
	return true
}

// expire ends leases for a leader. An entry of another term than it was
// proposed for may come after renewals by the next leader, and must do nothing.
func (s *Store) expire(r *coordpb.LeaseExpireRequest) *coordpb.LeaseExpireResponse {
	response := &coordpb.LeaseExpireResponse{}
	if r.Term != s.current.applied.term {
		return response
	}
	for _, id := range r.Ids {
		s.txn = index.Revision{Main: s.current.revision + 1}
		if s.end(id) {
			response.Expired = append(response.Expired, id)
		}
	}
	return response
}

// checkpoint records for a leader how long leases have left. It is bound to the
// term as expire is: it must not shorten what the next leader has renewed.
func (s *Store) checkpoint(r *coordpb.LeaseCheckpointRequest) *coordpb.LeaseCheckpointResponse {
	if r.Term == s.current.applied.term {
		for _, c := range r.Checkpoints {
			if l, ok := s.leases.Checkpoint(lease.ID(c.GetId()), c.GetRemainingTtlSeconds()); ok {
				s.queue(leaseChange(l))
			}
		}
	}
	return &coordpb.LeaseCheckpointResponse{}
}

// must is for reads by the writer: what its index knows of is in the tail or in
// the backend, or the store is damaged beyond going on.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("kvcore: the index and the records differ: %v", err))
	}
}
