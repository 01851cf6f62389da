package kvtest

import (
	"fmt"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
)

// Generator draws commands that collide often: few keys, few leases, revisions
// near those that exist. It looks at the model to aim.
type Generator struct {
	*rand.Rand
	Model *Model
	Term  uint64 // of the entry the next command will be in
}

// Command draws a command for the log. Some are refused for what they hold, and
// a few are such as Validate keeps out of the log.
func (g *Generator) Command() proto.Message {
	for {
		req := g.command()
		if kvcore.Validate(req, 128) == nil || g.IntN(20) == 0 {
			return g.onBehalf(req)
		}
	}
}

func (g *Generator) command() proto.Message {
	switch n := g.IntN(108); {
	case n >= 100:
		return g.userCommand()
	case n < 45:
		return g.put()
	case n < 55:
		return g.deleteRange()
	case n < 82:
		return g.txn(2)
	case n < 85:
		return &pb.CompactionRequest{Revision: g.revision()}
	case n < 92:
		return &pb.LeaseGrantRequest{ID: g.lease(), TTL: 1 + g.Int64N(60)}
	case n < 95:
		return &pb.LeaseRevokeRequest{ID: g.lease()}
	case n < 96:
		return &coordpb.LeaseCheckpointRequest{Term: g.Term - uint64(g.IntN(2)), Checkpoints: []*coordpb.LeaseCheckpoint{
			{Id: g.lease(), RemainingTtlSeconds: g.Int64N(60)}, {Id: g.lease(), RemainingTtlSeconds: -g.Int64N(2)},
		}}
	case n < 98:
		return &coordpb.LeaseExpireRequest{Term: g.Term - uint64(g.IntN(2)), Ids: []int64{g.lease(), g.lease()}}
	case n < 99:
		return &coordpb.MemberPublishRequest{Id: g.member(), Name: fmt.Sprint("m", g.IntN(9)), ClientUrls: []string{"http://localhost:1"}}
	default:
		return &pb.MemberUpdateRequest{ID: g.member(), PeerURLs: g.peerURLs()}
	}
}

func (g *Generator) key() []byte {
	key := []byte{"abcdefgh"[g.IntN(8)]}
	if g.IntN(3) == 0 {
		key = append(key, "/\x00\xff"[g.IntN(3)], "xyz"[g.IntN(3)])
	}
	return key
}

func (g *Generator) end(key []byte) []byte {
	switch g.IntN(6) {
	case 0:
		return []byte{0}
	case 1:
		return append(key[:len(key)-1:len(key)-1], key[len(key)-1]+1)
	case 2:
		return g.key()
	}
	return nil
}

func (g *Generator) lease() int64 { return 1 + g.Int64N(6) }

// revision is mostly a past one, seldom 0 or in the future.
func (g *Generator) revision() int64 {
	switch g.IntN(12) {
	case 0:
		return 0
	case 1:
		return g.Model.Revision + g.Int64N(3)
	case 2:
		return 1 + g.Int64N(g.Model.Revision)
	}
	return max(0, g.Model.Revision-g.Int64N(60))
}

func (g *Generator) value() []byte {
	value := make([]byte, g.IntN(4)*g.IntN(40))
	for i := range value {
		value[i] = byte('a' + g.IntN(26))
	}
	return value
}

func (g *Generator) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), PrevKv: g.IntN(3) == 0, IgnoreValue: g.IntN(8) == 0, IgnoreLease: g.IntN(8) == 0}
	if !r.IgnoreValue {
		r.Value = g.value()
	}
	if !r.IgnoreLease && g.IntN(3) == 0 {
		r.Lease = g.lease()
	}
	return r
}

func (g *Generator) deleteRange() *pb.DeleteRangeRequest {
	key := g.key()
	return &pb.DeleteRangeRequest{Key: key, RangeEnd: g.end(key), PrevKv: g.IntN(2) == 0}
}

// Range draws a range request.
func (g *Generator) Range() *pb.RangeRequest {
	key := g.key()
	r := &pb.RangeRequest{Key: key, RangeEnd: g.end(key), Limit: max(0, g.Int64N(8)-4)}
	if g.IntN(2) == 0 {
		r.Revision = g.revision()
	}
	if g.IntN(2) == 0 {
		r.SortOrder = pb.RangeRequest_SortOrder(g.IntN(3))
		r.SortTarget = pb.RangeRequest_SortTarget(g.IntN(5))
	}
	r.KeysOnly, r.CountOnly = g.IntN(5) == 0, g.IntN(8) == 0
	for _, bound := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		if g.IntN(8) == 0 {
			*bound = g.revision()
		}
	}
	return r
}

func (g *Generator) txn(depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for range g.IntN(3) {
		r.Compare = append(r.Compare, g.compare())
	}
	for range g.IntN(4) {
		r.Success = append(r.Success, g.op(depth))
	}
	for range g.IntN(3) {
		r.Failure = append(r.Failure, g.op(depth))
	}
	return r
}

func (g *Generator) op(depth int) *pb.RequestOp {
	switch n := g.IntN(10); {
	case n < 4:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: g.put()}}
	case n < 6:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: g.deleteRange()}}
	case n < 9 || depth == 0:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: g.Range()}}
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: g.txn(depth - 1)}}
}

func (g *Generator) compare() *pb.Compare {
	key := g.key()
	c := &pb.Compare{Key: key, Result: pb.Compare_CompareResult(g.IntN(4))}
	if g.IntN(4) == 0 {
		c.RangeEnd = g.end(key)
	}
	switch g.IntN(5) {
	case 0:
		c.Target, c.TargetUnion = pb.Compare_VERSION, &pb.Compare_Version{Version: g.Int64N(4)}
	case 1:
		c.Target, c.TargetUnion = pb.Compare_CREATE, &pb.Compare_CreateRevision{CreateRevision: g.revision()}
	case 2:
		c.Target, c.TargetUnion = pb.Compare_MOD, &pb.Compare_ModRevision{ModRevision: g.revision()}
	case 3:
		c.Target, c.TargetUnion = pb.Compare_VALUE, &pb.Compare_Value{Value: g.value()}
	case 4:
		c.Target, c.TargetUnion = pb.Compare_LEASE, &pb.Compare_Lease{Lease: g.Int64N(7)}
	}
	return c
}

// Watch draws the options of a watch.
func (g *Generator) Watch() kvcore.WatchOptions {
	key := g.key()
	o := kvcore.WatchOptions{Key: key, RangeEnd: g.end(key), PrevKV: g.IntN(3) == 0, NoPut: g.IntN(8) == 0, NoDelete: g.IntN(8) == 0}
	if g.IntN(4) > 0 {
		o.StartRevision = g.revision()
	}
	return o
}
