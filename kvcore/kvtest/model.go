// Package kvtest holds what tests of the store and of clusters of it compare
// with: a naive model of the state machine, a generator of commands, and a runner
// that puts both beside a real store.
package kvtest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
)

// Change is one change of one key. A tombstone's KV has the key and the mod
// revision only.
type Change struct {
	KV        *mvccpb.KeyValue
	Tombstone bool
}

// Model is the state machine as plainly as it can be put: a list of all changes
// ever made, the keys that live now, the leases. Nothing is ever forgotten.
type Model struct {
	Log      []Change
	Now      map[string]*mvccpb.KeyValue
	Leases   map[int64]int64 // id to TTL in seconds
	Left     map[int64]int64 // id to seconds left at the last checkpoint
	Members  map[uint64]*coordpb.Member
	Removed  map[uint64]bool // members that were
	Users    Users
	Revision int64
	Compact  int64

	changed bool // within a transaction: Revision is that of the transaction
}

// NewModel returns the model of a new store.
func NewModel() *Model {
	return &Model{
		Now: map[string]*mvccpb.KeyValue{}, Leases: map[int64]int64{}, Left: map[int64]int64{}, Members: map[uint64]*coordpb.Member{},
		Removed:  map[uint64]bool{},
		Users:    Users{Revision: 1, Users: map[string]*authpb.User{}, Roles: map[string][]*authpb.Permission{}},
		Revision: 1, Compact: -1,
	}
}

func (m *Model) clone() *Model {
	c := *m
	c.Log, c.Now, c.Leases, c.Left = slices.Clone(m.Log), maps.Clone(m.Now), maps.Clone(m.Leases), maps.Clone(m.Left)
	c.Users = m.Users.clone()
	return &c
}

// Apply applies one command of an entry of the given term.
func (m *Model) Apply(term uint64, req proto.Message) kvcore.Result {
	before := m.clone()
	m.changed = false
	req, err := m.admit(req)
	if err != nil {
		return kvcore.Result{Err: err}
	}
	response, err := m.apply(term, req)
	if err != nil {
		*m = *before
		return kvcore.Result{Err: err}
	}
	return kvcore.Result{Response: response}
}

func (m *Model) apply(term uint64, req proto.Message) (proto.Message, error) {
	switch r := req.(type) {
	case *pb.PutRequest:
		return m.put(m, r)
	case *pb.DeleteRangeRequest:
		return m.deleteRange(r)
	case *pb.TxnRequest:
		response, err := m.txn(m.clone(), r)
		if err != nil {
			return nil, err
		}
		response.Header.Revision = m.Revision
		return response, nil
	case *pb.CompactionRequest:
		if r.Revision <= m.Compact {
			return nil, kvcore.ErrCompacted
		}
		if r.Revision > m.Revision {
			return nil, kvcore.ErrFutureRevision
		}
		m.Compact = r.Revision
		return &pb.CompactionResponse{Header: m.header()}, nil
	case *pb.LeaseGrantRequest:
		if _, ok := m.Leases[r.ID]; ok {
			return nil, kvcore.ErrLeaseExists
		}
		m.Leases[r.ID] = r.TTL
		return &pb.LeaseGrantResponse{Header: m.header(), ID: r.ID, TTL: r.TTL}, nil
	case *pb.LeaseRevokeRequest:
		if !m.revoke(r.ID) {
			return nil, kvcore.ErrLeaseNotFound
		}
		return &pb.LeaseRevokeResponse{Header: m.header()}, nil
	case *coordpb.LeaseCheckpointRequest:
		for _, c := range r.Checkpoints {
			ttl, ok := m.Leases[c.Id]
			if r.Term != term || !ok {
				continue
			}
			delete(m.Left, c.Id)
			if c.RemainingTtlSeconds > 0 && c.RemainingTtlSeconds < ttl {
				m.Left[c.Id] = c.RemainingTtlSeconds
			}
		}
		return &coordpb.LeaseCheckpointResponse{}, nil
	case *coordpb.LeaseExpireRequest:
		response := &coordpb.LeaseExpireResponse{}
		for _, id := range r.Ids {
			m.changed = false
			if r.Term == term && m.revoke(id) {
				response.Expired = append(response.Expired, id)
			}
		}
		return response, nil
	}
	return m.reconfigure(req)
}

func (m *Model) header() *pb.ResponseHeader { return &pb.ResponseHeader{Revision: m.Revision} }

// change begins the transaction's revision with its first change.
func (m *Model) change(c Change) {
	if !m.changed {
		m.changed = true
		m.Revision++
	}
	c.KV.ModRevision = m.Revision
	m.Log = append(m.Log, c)
}

// put checks against the state before the transaction.
func (m *Model) put(before *Model, r *pb.PutRequest) (*pb.PutResponse, error) {
	if len(r.Key) == 0 {
		return nil, kvcore.ErrEmptyKey
	}
	if _, ok := before.Leases[r.Lease]; r.Lease != 0 && !ok {
		return nil, kvcore.ErrLeaseNotFound
	}
	if before.Now[string(r.Key)] == nil && (r.IgnoreLease || r.IgnoreValue) {
		return nil, kvcore.ErrKeyNotFound
	}
	old := m.Now[string(r.Key)]
	kv := &mvccpb.KeyValue{Key: r.Key, Value: r.Value, Lease: r.Lease}
	if r.IgnoreValue {
		kv.Value = old.GetValue()
	}
	if r.IgnoreLease {
		kv.Lease = old.GetLease()
	}
	m.change(Change{KV: kv})
	kv.Version, kv.CreateRevision = old.GetVersion()+1, old.GetCreateRevision()
	if old == nil {
		kv.CreateRevision = m.Revision
	}
	m.Now[string(r.Key)] = kv
	response := &pb.PutResponse{Header: m.header()}
	if r.PrevKv {
		response.PrevKv = old
	}
	return response, nil
}

func (m *Model) deleteRange(r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if len(r.Key) == 0 {
		return nil, kvcore.ErrEmptyKey
	}
	response := &pb.DeleteRangeResponse{}
	for _, key := range slices.Sorted(maps.Keys(m.Now)) {
		if Within(key, r.Key, r.RangeEnd) {
			response.Deleted++
			if r.PrevKv {
				response.PrevKvs = append(response.PrevKvs, m.Now[key])
			}
			m.delete(key)
		}
	}
	response.Header = m.header()
	return response, nil
}

func (m *Model) delete(key string) {
	m.change(Change{KV: &mvccpb.KeyValue{Key: []byte(key)}, Tombstone: true})
	delete(m.Now, key)
}

func (m *Model) revoke(id int64) bool {
	if _, ok := m.Leases[id]; !ok {
		return false
	}
	for _, key := range m.LeaseKeys(id) {
		m.delete(key)
	}
	delete(m.Leases, id)
	delete(m.Left, id)
	return true
}

// LeaseKeys returns the keys attached to a lease, sorted.
func (m *Model) LeaseKeys(id int64) (keys []string) {
	for _, key := range slices.Sorted(maps.Keys(m.Now)) {
		if m.Now[key].Lease == id {
			keys = append(keys, key)
		}
	}
	return keys
}

func (m *Model) txn(before *Model, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	response := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: true}
	for _, c := range r.Compare {
		response.Succeeded = response.Succeeded && before.compare(c)
	}
	ops := r.Success
	if !response.Succeeded {
		ops = r.Failure
	}
	for _, op := range ops {
		answer := &pb.ResponseOp{}
		switch op := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			rev := op.RequestRange.Revision
			if rev > before.Revision {
				return nil, kvcore.ErrFutureRevision
			}
			if rev != 0 && rev < before.Compact {
				return nil, kvcore.ErrCompacted
			}
			r, err := m.Range(op.RequestRange)
			if err != nil {
				return nil, err
			}
			answer.Response = &pb.ResponseOp_ResponseRange{ResponseRange: r}
		case *pb.RequestOp_RequestPut:
			r, err := m.put(before, op.RequestPut)
			if err != nil {
				return nil, err
			}
			answer.Response = &pb.ResponseOp_ResponsePut{ResponsePut: r}
		case *pb.RequestOp_RequestDeleteRange:
			r, err := m.deleteRange(op.RequestDeleteRange)
			if err != nil {
				return nil, err
			}
			answer.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: r}
		case *pb.RequestOp_RequestTxn:
			r, err := m.txn(before, op.RequestTxn)
			if err != nil {
				return nil, err
			}
			answer.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: r}
		default:
			return nil, kvcore.ErrMalformed
		}
		response.Responses = append(response.Responses, answer)
	}
	return response, nil
}

func (m *Model) compare(c *pb.Compare) bool {
	found := false
	for key, kv := range m.Now {
		if Within(key, c.Key, c.RangeEnd) {
			found = true
			if !compareOne(c, kv) {
				return false
			}
		}
	}
	return found || c.Target != pb.Compare_VALUE && compareOne(c, &mvccpb.KeyValue{})
}

func compareOne(c *pb.Compare, kv *mvccpb.KeyValue) bool {
	var a, b int64
	switch c.Target {
	case pb.Compare_VALUE:
		a = int64(bytes.Compare(kv.Value, c.GetValue()))
	case pb.Compare_VERSION:
		a, b = kv.Version, c.GetVersion()
	case pb.Compare_CREATE:
		a, b = kv.CreateRevision, c.GetCreateRevision()
	case pb.Compare_MOD:
		a, b = kv.ModRevision, c.GetModRevision()
	case pb.Compare_LEASE:
		a, b = kv.Lease, c.GetLease()
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return a == b
	case pb.Compare_NOT_EQUAL:
		return a != b
	case pb.Compare_GREATER:
		return a > b
	case pb.Compare_LESS:
		return a < b
	}
	panic(fmt.Sprintf("kvtest: comparison %v", c.Result))
}
