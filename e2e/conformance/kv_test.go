package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func key(s string) []byte { return []byte(s) }

// put is a put that must not fail.
func (r *rig) put(k, v string) {
	r.Helper()
	if _, err := r.Put(r.ctx, &pb.PutRequest{Key: key(k), Value: []byte(v)}); err != nil {
		r.Fatalf("put %q: %v", k, err)
	}
}

// all is every key from "" on.
func all() *pb.RangeRequest { return &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}} }

var putBodies = []body{
	{"put", func(r *rig) {
		r.put("a", "1")
		r.put("a", "2")
		r.put("a", "")
		r.Put(r.ctx, &pb.PutRequest{Key: key("a"), Value: key("4"), PrevKv: true})
		r.Put(r.ctx, &pb.PutRequest{Key: key("new"), Value: key("4"), PrevKv: true})
		r.Put(r.ctx, &pb.PutRequest{})
		r.Put(r.ctx, &pb.PutRequest{Value: key("v")})
		r.Put(r.ctx, &pb.PutRequest{Key: []byte{0}, Value: []byte{0xff, 0}})
		r.Range(r.ctx, all())
	}},
	{"put ignore_value", func(r *rig) {
		r.LeaseGrant(r.ctx, &pb.LeaseGrantRequest{ID: 77, TTL: 1000})
		r.Put(r.ctx, &pb.PutRequest{Key: key("iv"), IgnoreValue: true})
		r.Put(r.ctx, &pb.PutRequest{Key: key("iv"), Value: key("v"), Lease: 77})
		r.Put(r.ctx, &pb.PutRequest{Key: key("iv"), IgnoreValue: true})
		r.Range(r.ctx, &pb.RangeRequest{Key: key("iv")})
		r.Put(r.ctx, &pb.PutRequest{Key: key("iv"), Lease: 77, IgnoreValue: true, PrevKv: true})
		r.Put(r.ctx, &pb.PutRequest{Key: key("iv"), Value: key("x"), IgnoreValue: true})
		r.Range(r.ctx, &pb.RangeRequest{Key: key("iv")})
	}},
	{"put ignore_lease", func(r *rig) {
		r.Put(r.ctx, &pb.PutRequest{Key: key("il"), IgnoreLease: true})
		r.Put(r.ctx, &pb.PutRequest{Key: key("il"), Value: key("v"), Lease: 77})
		r.Put(r.ctx, &pb.PutRequest{Key: key("il"), Value: key("w"), IgnoreLease: true})
		r.Put(r.ctx, &pb.PutRequest{Key: key("il"), Value: key("w"), Lease: 77, IgnoreLease: true})
		r.Put(r.ctx, &pb.PutRequest{Key: key("il"), IgnoreLease: true, IgnoreValue: true})
		r.Range(r.ctx, &pb.RangeRequest{Key: key("il")})
		r.Put(r.ctx, &pb.PutRequest{Key: key("none"), Lease: 4711})
		r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 77})
		r.Range(r.ctx, all())
	}},
	{"put too large", func(r *rig) {
		for _, size := range []int{1536 << 10, 1536<<10 - 100, 3 << 20} {
			_, err := r.KVClient.Put(r.ctx, &pb.PutRequest{Key: key("large"), Value: make([]byte, size)})
			r.transcript.lines = nil // the value itself tells nothing
			r.note("put of %d bytes: %s", size, errorText(err))
		}
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("large")})
	}},
}

var rangeBodies = []body{
	{"range fill", func(r *rig) {
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		for i, k := range []string{"c", "a", "b", "d", "e", "b", "a", "a"} {
			r.put("r/"+k, fmt.Sprint(9-i))
		}
		r.Range(r.ctx, all())
	}},
	{"range of keys", func(r *rig) {
		for _, req := range []*pb.RangeRequest{
			{},
			{Key: key("r/a")},
			{Key: key("missing")},
			{Key: key("r/"), RangeEnd: key("r0")},
			{Key: key("r/b"), RangeEnd: key("r/d")},
			{Key: key("r/d"), RangeEnd: key("r/b")},
			{Key: key("r/b"), RangeEnd: []byte{0}},
			{Key: key("r/a"), RangeEnd: key("r/a")},
			{RangeEnd: key("x")},
			{Key: key("r/"), RangeEnd: key("r0"), Limit: 2},
			{Key: key("r/"), RangeEnd: key("r0"), Limit: 5},
			{Key: key("r/"), RangeEnd: key("r0"), Limit: 6},
			{Key: key("r/"), RangeEnd: key("r0"), Limit: -1},
			{Key: key("r/a"), Limit: 1},
			{Key: key("r/"), RangeEnd: key("r0"), KeysOnly: true},
			{Key: key("r/"), RangeEnd: key("r0"), CountOnly: true},
			{Key: key("r/"), RangeEnd: key("r0"), CountOnly: true, Limit: 2},
			{Key: key("r/"), RangeEnd: key("r0"), CountOnly: true, KeysOnly: true, Serializable: true},
			{Key: key("r/a"), CountOnly: true},
			{Key: key("none"), CountOnly: true},
			{Key: key("r/a"), KeysOnly: true},
		} {
			r.Range(r.ctx, req)
		}
	}},
	{"range at revisions", func(r *rig) {
		now, err := r.KVClient.Range(r.ctx, all())
		if err != nil {
			r.Fatal(err)
		}
		for _, back := range []int64{0, 1, 2, 5, 8, -1, -1000} {
			r.Range(r.ctx, &pb.RangeRequest{Key: key("r/"), RangeEnd: key("r0"), Revision: now.Header.Revision - back})
			r.Range(r.ctx, &pb.RangeRequest{Key: key("r/a"), Revision: now.Header.Revision - back})
			r.Range(r.ctx, &pb.RangeRequest{Key: key("r/"), RangeEnd: key("r0"), Revision: now.Header.Revision - back, CountOnly: true})
			r.Range(r.ctx, &pb.RangeRequest{Key: key("r/"), RangeEnd: key("r0"), Revision: now.Header.Revision - back, Limit: 2})
		}
		r.Range(r.ctx, &pb.RangeRequest{Key: key("r/a"), Revision: -5})
	}},
	{"range sorted", func(r *rig) {
		for target := pb.RangeRequest_KEY; target <= pb.RangeRequest_VALUE; target++ {
			for order := pb.RangeRequest_NONE; order <= pb.RangeRequest_DESCEND; order++ {
				for _, limit := range []int64{0, 1, 2, 3, 10} {
					req := &pb.RangeRequest{Key: key("r/"), RangeEnd: key("r0"), SortTarget: target, SortOrder: order, Limit: limit}
					r.Range(r.ctx, req)
					req = proto.CloneOf(req)
					req.KeysOnly = true
					r.Range(r.ctx, req)
				}
			}
		}
		r.Range(r.ctx, &pb.RangeRequest{Key: key("r/"), RangeEnd: key("r0"), SortTarget: 9})
		r.Range(r.ctx, &pb.RangeRequest{Key: key("r/"), RangeEnd: key("r0"), SortOrder: 9})
		r.Range(r.ctx, &pb.RangeRequest{Key: key("r/"), RangeEnd: key("r0"), SortOrder: -1})
	}},
	{"range filtered by revision", func(r *rig) {
		now, err := r.KVClient.Range(r.ctx, all())
		if err != nil {
			r.Fatal(err)
		}
		for back := int64(0); back < 9; back += 2 {
			rev := now.Header.Revision - back
			for _, req := range []*pb.RangeRequest{
				{MinModRevision: rev}, {MaxModRevision: rev}, {MinCreateRevision: rev}, {MaxCreateRevision: rev},
				{MinModRevision: rev - 3, MaxModRevision: rev, Limit: 1}, {MaxCreateRevision: rev, CountOnly: true},
				{MinModRevision: rev, Limit: 1, SortTarget: pb.RangeRequest_MOD, SortOrder: pb.RangeRequest_DESCEND},
				{MaxModRevision: rev, Limit: 1, SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_ASCEND},
				{MinCreateRevision: -1}, {MaxModRevision: -1},
			} {
				req.Key, req.RangeEnd = key("r/"), key("r0")
				r.Range(r.ctx, req)
			}
		}
	}},
	{"range serializable", func(r *rig) {
		r.Range(r.ctx, &pb.RangeRequest{Key: key("r/a"), Serializable: true})
		r.Range(r.ctx, &pb.RangeRequest{Key: key("r/"), RangeEnd: key("r0"), Serializable: true, Limit: 2})
	}},
	{"range stream", func(r *rig) {
		for i := range 300 {
			r.put(fmt.Sprintf("s/%04d", i), string(bytes.Repeat([]byte{byte('a' + i%26)}, i)))
		}
		r.transcript.lines = nil
		for _, req := range []*pb.RangeRequest{
			{Key: key("s/"), RangeEnd: key("s0")},
			{Key: key("s/"), RangeEnd: key("s0"), Limit: 25},
			{Key: key("s/"), RangeEnd: key("s0"), KeysOnly: true},
			{Key: key("s/"), RangeEnd: key("s0"), CountOnly: true},
			{Key: key("s/0001")},
			{Key: key("nothing"), RangeEnd: key("nothinh")},
			{},
			{Key: key("s/"), RangeEnd: key("s0"), Revision: 100000},
			{Key: key("s/"), RangeEnd: key("s0"), SortTarget: pb.RangeRequest_MOD},
			{Key: key("s/"), RangeEnd: key("s0"), SortOrder: pb.RangeRequest_DESCEND},
			{Key: key("s/"), RangeEnd: key("s0"), SortOrder: pb.RangeRequest_ASCEND},
			{Key: key("s/"), RangeEnd: key("s0"), MinModRevision: 4},
			{Key: key("s/"), RangeEnd: key("s0"), MaxCreateRevision: 4},
			{Key: key("s/"), RangeEnd: key("s0"), Serializable: true, Limit: 3},
		} {
			r.rangeStream(req)
		}
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("s/"), RangeEnd: key("s0")})
	}},
}

// rangeStream joins the chunks of a stream, of which only the last has a header.
func (r *rig) rangeStream(req *pb.RangeRequest) {
	r.Helper()
	r.note("KV/RangeStream %s", r.transcript.text(req))
	stream, err := r.RangeStream(r.ctx, req)
	if err != nil {
		r.Fatal(err)
	}
	whole := new(pb.RangeResponse)
	for last := false; ; {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			r.note("  → %d keys, more %t, count %d, revision %d, the end had a header: %t", len(whole.Kvs), whole.More, whole.Count, whole.GetHeader().GetRevision(), last)
			for _, kv := range whole.Kvs {
				r.note("    %s", r.transcript.text(kv))
			}
			return
		}
		if err != nil {
			r.note("  %s", errorText(err))
			return
		}
		if last {
			r.note("  a chunk came after the one with the header")
		}
		part := chunk.GetRangeResponse()
		last = part.GetHeader() != nil
		proto.Merge(whole, part)
	}
}

var deleteBodies = []body{
	{"delete", func(r *rig) {
		for _, k := range []string{"d/a", "d/b", "d/c", "d/d"} {
			r.put(k, "v"+k)
		}
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{})
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("none")})
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("d/a"), PrevKv: true})
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("d/a"), PrevKv: true})
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("d/d"), RangeEnd: key("d/b")})
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("d/"), RangeEnd: key("d/d"), PrevKv: true})
		r.Range(r.ctx, &pb.RangeRequest{Key: key("d/"), RangeEnd: key("d0")})
		r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("d/"), RangeEnd: []byte{0}})
		r.put("d/a", "again")
		r.Range(r.ctx, &pb.RangeRequest{Key: key("d/a")})
	}},
}

func opPut(k, v string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key(k), Value: key(v)}}}
}

func opGet(k string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key(k)}}}
}

func opDelete(k, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key(k), RangeEnd: key(end), PrevKv: true}}}
}

func opTxn(t *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}

func ops(all ...*pb.RequestOp) []*pb.RequestOp { return all }

var txnBodies = []body{
	{"txn", func(r *rig) {
		r.put("t/a", "1")
		for _, t := range []*pb.TxnRequest{
			{},
			{Success: ops(opGet("t/a"), opGet("none"))},
			{Success: ops(opPut("t/b", "2"), opPut("t/c", "3"), opGet("t/b"))},
			{Success: ops(opDelete("t/b", ""), opGet("t/b"), opPut("t/d", "4"))},
			{Success: ops(opDelete("t/", "t0"), opGet("t/a"))},
			{Success: ops(opDelete("none", ""))},
			{Success: ops(opPut("t/x", "1"), opPut("t/x", "2"))},
			{Success: ops(opPut("t/x", "1"), opDelete("t/", "t0"))},
			{Success: ops(opDelete("t/", "t0"), opPut("t/x", "1"))},
			{Success: ops(opDelete("t/", "t0"), opDelete("t/", "t0"))},
			{Success: ops(opPut("", "1"))},
			{Success: ops(opGet(""))},
			{Success: ops(opDelete("", ""))},
			{Success: ops(&pb.RequestOp{})},
			{Success: ops(opTxn(nil))},
			{Compare: []*pb.Compare{{}}},
			{Success: ops(opPut("t/x", "1")), Failure: ops(opPut("t/x", "2"))},
			{Success: ops(opPut("t/v", "1"), opTxn(&pb.TxnRequest{Success: ops(opPut("t/w", "2"), opGet("t/v"))}))},
			{Success: ops(opPut("t/v", "1"), opTxn(&pb.TxnRequest{Success: ops(opPut("t/v", "2"))}))},
			{Success: ops(opTxn(&pb.TxnRequest{Success: ops(opPut("t/v", "2")), Failure: ops(opPut("t/v", "3"))}))},
			{Success: ops(opTxn(&pb.TxnRequest{Success: ops(opTxn(&pb.TxnRequest{Success: ops(opPut("t/deep", "2"))}))}))},
		} {
			r.Txn(r.ctx, t)
		}
		r.Range(r.ctx, all())
	}},
	{"txn compares", func(r *rig) {
		r.LeaseGrant(r.ctx, &pb.LeaseGrantRequest{ID: 88, TTL: 1000})
		r.put("c/a", "m")
		r.Put(r.ctx, &pb.PutRequest{Key: key("c/b"), Value: key("m"), Lease: 88})
		r.put("c/b", "n")
		r.Put(r.ctx, &pb.PutRequest{Key: key("c/b"), IgnoreValue: true, Lease: 88})
		for _, k := range []string{"c/a", "c/b", "c/missing", ""} {
			for _, end := range []string{"", "c0", "c/", "\x00"} {
				for result := pb.Compare_EQUAL; result <= pb.Compare_NOT_EQUAL; result++ {
					for _, c := range []*pb.Compare{
						{Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 1}},
						{Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{}},
						{Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 0}},
						{Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 5}},
						{Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: key("m")}},
						{Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: 88}},
						{Target: pb.Compare_VERSION},
						{Target: pb.Compare_VALUE},
						{Target: pb.Compare_MOD, TargetUnion: &pb.Compare_Version{Version: 1}},
					} {
						c.Key, c.RangeEnd, c.Result = key(k), key(end), result
						r.Txn(r.ctx, &pb.TxnRequest{Compare: []*pb.Compare{c}, Success: ops(opGet("c/a"))})
					}
				}
			}
		}
		r.Txn(r.ctx, &pb.TxnRequest{Compare: []*pb.Compare{{Key: key("c/a"), Result: 9, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 1}}}})
		r.Txn(r.ctx, &pb.TxnRequest{Compare: []*pb.Compare{{Key: key("c/a"), Target: 9}}})
		r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 88})
	}},
	{"txn limits", func(r *rig) {
		for _, n := range []int{127, 128, 129} {
			var puts []*pb.RequestOp
			var compares []*pb.Compare
			for i := range n {
				puts = append(puts, opPut(fmt.Sprintf("l/%d", i), ""))
				compares = append(compares, &pb.Compare{Key: key("l"), Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{}})
			}
			for _, t := range []*pb.TxnRequest{
				{Success: puts}, {Failure: puts}, {Compare: compares}, {Success: ops(opTxn(&pb.TxnRequest{Success: puts}))},
				{Success: ops(opGet("x"), opTxn(&pb.TxnRequest{Compare: compares}))},
			} {
				_, err := r.KVClient.Txn(r.ctx, t)
				r.transcript.lines = nil
				r.note("%d: %s", n, errorText(err))
			}
		}
	}},
	{"txn with options", func(r *rig) {
		op := func(p *pb.PutRequest) *pb.TxnRequest {
			return &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}})}
		}
		r.Txn(r.ctx, op(&pb.PutRequest{Key: key("o"), IgnoreValue: true}))
		r.Txn(r.ctx, op(&pb.PutRequest{Key: key("o"), Lease: 99999}))
		r.Txn(r.ctx, op(&pb.PutRequest{Key: key("o"), Value: key("1"), PrevKv: true}))
		r.Txn(r.ctx, op(&pb.PutRequest{Key: key("o"), Value: key("2"), PrevKv: true}))
		r.Txn(r.ctx, op(&pb.PutRequest{Key: key("o"), Value: key("2"), IgnoreValue: true}))
		r.Txn(r.ctx, op(&pb.PutRequest{Key: key("o"), IgnoreLease: true, Lease: 1}))
		get := func(g *pb.RangeRequest) *pb.TxnRequest {
			return &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: g}})}
		}
		r.Txn(r.ctx, get(&pb.RangeRequest{Key: key("o"), Revision: 1 << 40}))
		r.Txn(r.ctx, get(&pb.RangeRequest{Key: key("o"), Revision: 2}))
		r.Txn(r.ctx, get(&pb.RangeRequest{Key: key("o"), SortTarget: 17}))
		r.Txn(r.ctx, get(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Limit: 1, KeysOnly: true, Serializable: true}))
		mixed := get(&pb.RangeRequest{Key: key("o"), Revision: 1 << 40})
		mixed.Success = append(ops(opPut("o2", "1")), mixed.Success...)
		r.Txn(r.ctx, mixed)
		r.Range(r.ctx, &pb.RangeRequest{Key: key("o2")})
	}},
}

var compactBodies = []body{
	{"compact", func(r *rig) {
		r.Compact(r.ctx, &pb.CompactionRequest{Revision: 1 << 40})
		r.Compact(r.ctx, &pb.CompactionRequest{Revision: -1})
		r.HashKV(r.ctx, &pb.HashKVRequest{})
		now, err := r.KVClient.Range(r.ctx, all())
		if err != nil {
			r.Fatal(err)
		}
		rev := now.Header.Revision
		r.HashKV(r.ctx, &pb.HashKVRequest{Revision: rev - 3})
		r.Compact(r.ctx, &pb.CompactionRequest{Revision: rev - 5, Physical: true})
		r.Compact(r.ctx, &pb.CompactionRequest{Revision: rev - 5})
		r.Compact(r.ctx, &pb.CompactionRequest{Revision: rev - 6})
		r.Compact(r.ctx, &pb.CompactionRequest{})
		for _, back := range []int64{6, 5, 4, 0} {
			r.Range(r.ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev - back})
			r.Range(r.ctx, &pb.RangeRequest{Key: key("o"), Revision: rev - back})
			if back != 5 { // etcd answers with the sum it took while it compacted, of the time before
				r.HashKV(r.ctx, &pb.HashKVRequest{Revision: rev - back})
			}
			r.rangeStream(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev - back})
			r.Txn(r.ctx, &pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key("o"), Revision: rev - back}}})})
		}
		r.HashKV(r.ctx, &pb.HashKVRequest{Revision: rev + 100})
		r.put("after", "1")
		r.Compact(r.ctx, &pb.CompactionRequest{Revision: rev + 1, Physical: true})
		r.HashKV(r.ctx, &pb.HashKVRequest{})
	}},
	// A stream ends with an error where the revision that it reads is compacted away.
	{"range stream while the past is compacted", func(r *rig) {
		unnoted := r.apart()
		for i := range 160 {
			if _, err := unnoted.Put(r.ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "big/%04d", i), Value: make([]byte, 128<<10)}); err != nil {
				r.Fatal(err)
			}
		}
		stream, err := unnoted.RangeStream(r.ctx, &pb.RangeRequest{Key: key("big/"), RangeEnd: key("big0")})
		if err != nil {
			r.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			r.Fatal(err)
		}
		m, err := unnoted.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("big/"), RangeEnd: key("big0")})
		if err != nil {
			r.Fatal(err)
		}
		if _, err := unnoted.Compact(r.ctx, &pb.CompactionRequest{Revision: m.Header.Revision, Physical: true}); err != nil {
			r.Fatal(err)
		}
		for err == nil {
			_, err = stream.Recv()
		}
		r.note("the rest: %s", errorText(err))
	}},
}
