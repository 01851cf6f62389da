package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// sessionTTLSeconds is the lease that a lock or a leadership gets whose caller
// brings none, as in etcd.
const sessionTTLSeconds = 60

// errPlaceLost says that an entry left its queue without being taken out by
// its own call: its lease ended, or somebody deleted the key.
var errPlaceLost = errors.New("rpc: place in the queue lost")

// queue is the keys below a name, oldest first: whoever created the oldest
// holds the lock or leads. It is laid out as by the lock library of etcd's Go
// client, <name>/<lease in hexadecimal>, so that both exclude each other.
//
// All that it reads and writes goes through the KV service with the caller's
// context, and so with the caller's permissions.
type queue struct {
	*Server
	prefix []byte
}

// entry is one lease's place in a queue.
type entry struct {
	queue
	key      []byte
	lease    int64
	ownLease bool               // granted for this call; it ends with a call that fails
	created  bool               // by this call; an older one is another call's to remove
	alone    bool               // nobody was ahead when it was created
	revision int64              // create revision of key
	value    []byte             // of key when it was found or created
	header   *pb.ResponseHeader // of the answer that said so
}

func (s *Server) queue(name []byte) queue {
	return queue{s, append(bytes.Clone(name), '/')}
}

func (q queue) kv() *kvServer        { return &kvServer{Server: q.Server} }
func (q queue) leases() *leaseServer { return &leaseServer{Server: q.Server} }

// enter creates the entry of a lease, or finds it where the lease has one. It
// does not heed the end of ctx: an enqueue whose outcome is not known would
// leave an entry behind that nobody waits with.
func (q queue) enter(ctx context.Context, lease int64, value []byte) (*entry, error) {
	ctx = context.WithoutCancel(ctx)
	e := &entry{queue: q, lease: lease, value: value}
	if lease == 0 {
		granted, err := q.leases().LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: sessionTTLSeconds})
		if err != nil {
			return nil, err
		}
		e.lease, e.ownLease = granted.ID, true
	}
	e.key = fmt.Appendf(bytes.Clone(q.prefix), "%x", e.lease)
	response, err := q.kv().Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(e.key, 0)},
		Success: []*pb.RequestOp{q.last(0), put(&pb.PutRequest{Key: e.key, Value: value, Lease: e.lease})},
		Failure: []*pb.RequestOp{get(&pb.RangeRequest{Key: e.key})},
	})
	if err != nil {
		return nil, e.leaveAfter(ctx, err)
	}
	e.header, e.revision, e.created = response.Header, response.Header.Revision, response.Succeeded
	found := response.Responses[0].GetResponseRange().Kvs
	if e.alone = e.created && len(found) == 0; !e.created {
		e.revision, e.value = found[0].CreateRevision, found[0].Value
	}
	return e, nil
}

// last reads the youngest entry of the queue, or of those up to a create revision.
func (q queue) last(upTo int64) *pb.RequestOp {
	return get(&pb.RangeRequest{
		Key: q.prefix, RangeEnd: prefixEnd(q.prefix), MaxCreateRevision: upTo,
		SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_DESCEND, Limit: 1, KeysOnly: true,
	})
}

// wait returns once the entry is the oldest of its queue, with the header of
// the answer that said so. That it is still there and that nobody is ahead is
// seen in one snapshot: an entry whose lease ended while it waited never wins.
func (e *entry) wait(ctx context.Context) (*pb.ResponseHeader, error) {
	if e.alone {
		return e.header, nil
	}
	for {
		response, err := e.kv().Txn(ctx, &pb.TxnRequest{
			Compare: []*pb.Compare{createdAt(e.key, e.revision)},
			Success: []*pb.RequestOp{e.last(e.revision - 1)},
		})
		switch {
		case err != nil:
			return nil, err
		case !response.Succeeded:
			return nil, errPlaceLost
		}
		ahead := response.Responses[0].GetResponseRange().Kvs
		if len(ahead) == 0 {
			return response.Header, e.renew(ctx)
		}
		if err := e.awaitDelete(ctx, response.Header.Revision, ahead[0].Key, e.key); err != nil {
			return nil, err
		}
	}
}

// awaitDelete returns once one of the keys was deleted after the revision, or
// may have been.
func (e *entry) awaitDelete(ctx context.Context, after int64, keys ...[]byte) error {
	wake := make(chan struct{}, 1)
	for _, key := range keys {
		options := kvcore.WatchOptions{Key: key, StartRevision: after + 1, NoPut: true}
		cursor, err := e.Store.Watch(options, func() { poke(wake) })
		if err != nil {
			return err
		}
		defer cursor.Close()
		if events, more, err := cursor.Next(1); len(events) > 0 || more || err != nil {
			return nil // the next look at the queue settles it
		}
	}
	renewals := time.NewTicker(sessionTTLSeconds * time.Second / 3)
	defer renewals.Stop()
	for {
		select {
		case <-wake:
			return nil
		case <-renewals.C:
			_ = e.renew(ctx) // there is time for another; without the lease the key goes
		case <-ctx.Done():
			return ctx.Err()
		case <-e.stopping.Done():
			return raftnode.ErrStopped
		}
	}
}

// renew gives a lease of the call's own its whole time again. A caller's lease
// is the caller's to renew.
func (e *entry) renew(ctx context.Context) error {
	if !e.ownLease {
		return nil
	}
	response, err := e.leases().keepAlive(ctx, &pb.LeaseKeepAliveRequest{ID: e.lease})
	if err == nil && response.TTL == 0 {
		err = errPlaceLost
	}
	return err
}

// leaveAfter gives the place up after a failure, which it returns.
func (e *entry) leaveAfter(ctx context.Context, failure error) error {
	if err := e.leave(ctx); err != nil {
		e.Logger.Warn("a place in a queue stays until its lease ends", "key", string(e.key), "error", err)
	}
	return failure
}

// leave takes the entry out, whether or not the caller is still there.
func (e *entry) leave(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	switch {
	case e.ownLease: // an enqueue that is still on its way fails without the lease
		_, err := e.leases().LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: e.lease})
		return err
	case e.created:
		_, _, err := e.change(ctx, e.key, e.revision, del(e.key))
		return err
	}
	return nil
}

// change applies op if key is still the one created at the revision.
func (q queue) change(ctx context.Context, key []byte, revision int64, op *pb.RequestOp) (*pb.ResponseHeader, bool, error) {
	response, err := q.kv().Txn(ctx, &pb.TxnRequest{Compare: []*pb.Compare{createdAt(key, revision)}, Success: []*pb.RequestOp{op}})
	if err != nil {
		return nil, false, err
	}
	return response.Header, response.Succeeded, nil
}

// first returns the oldest entry, nil if there is none.
func (q queue) first(ctx context.Context) (*mvccpb.KeyValue, *pb.ResponseHeader, error) {
	response, err := q.kv().Range(ctx, &pb.RangeRequest{
		Key: q.prefix, RangeEnd: prefixEnd(q.prefix),
		SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_ASCEND, Limit: 1,
	})
	if err != nil || len(response.Kvs) == 0 {
		return nil, response.GetHeader(), err
	}
	return response.Kvs[0], response.Header, nil
}

// prefixEnd is the first key behind all that begin with a prefix that ends in a slash.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	end[len(end)-1]++
	return end
}

func createdAt(key []byte, revision int64) *pb.Compare {
	return &pb.Compare{
		Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_CreateRevision{CreateRevision: revision},
	}
}

func put(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func get(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func del(key []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}
}

// poke leaves a token in a channel of capacity 1.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
