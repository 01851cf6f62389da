package kvcore

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/coordd/coordd/kvcore/index"
)

// Range reads keys as of one moment: now, or a past revision. It returns
// ErrCompacted or ErrFutureRevision where the revision cannot be read, and the
// error of ctx if that ends first. The bytes of the response must not be
// modified.
func (s *Store) Range(ctx context.Context, req *pb.RangeRequest) (response *pb.RangeResponse, err error) {
	s.counts.ranges.Add(1)
	err = s.read(req.Revision, func(r *reading) (err error) {
		response, err = r.rangeKeys(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// rangeReply is the response to a range of one key in one piece.
type rangeReply struct {
	response pb.RangeResponse
	header   pb.ResponseHeader
	kv       mvccpb.KeyValue
	kvs      [1]*mvccpb.KeyValue
}

func (r *reading) rangeKeys(ctx context.Context, req *pb.RangeRequest) (*pb.RangeResponse, error) {
	at := req.Revision
	switch {
	case at > r.revision:
		return nil, ErrFutureRevision
	case at <= 0:
		at = r.revision
	}
	if at < r.compact {
		return nil, ErrCompacted
	}
	reply := &rangeReply{}
	response := &reply.response
	response.Header = &reply.header
	response.Header.Revision = r.revision
	var err error
	switch {
	case len(req.RangeEnd) == 0:
		err = r.rangeOne(req, at, reply)
	case req.CountOnly:
		response.Count = r.index.Count(req.Key, req.RangeEnd, at)
	case at == r.revision && isExtreme(req):
		err = r.rangeExtreme(req, response)
	default:
		err = r.rangeMany(ctx, req, at, response)
	}
	if err != nil {
		return nil, err
	}
	return response, nil
}

func (r *reading) rangeOne(req *pb.RangeRequest, at int64, reply *rangeReply) error {
	k, ok := r.index.Get(req.Key, at)
	if !ok {
		return nil
	}
	reply.response.Count = 1
	if req.CountOnly || !admits(req, k) {
		return nil
	}
	reply.kvs[0] = &reply.kv
	reply.response.Kvs = reply.kvs[:]
	return r.load(&reply.kv, k.Modified, req.KeysOnly)
}

// isExtreme recognises the question for the key created or changed first or last.
func isExtreme(req *pb.RangeRequest) bool {
	return req.Limit == 1 && req.SortOrder != pb.RangeRequest_NONE &&
		(req.SortTarget == pb.RangeRequest_CREATE || req.SortTarget == pb.RangeRequest_MOD) &&
		min(req.MinModRevision, req.MaxModRevision, req.MinCreateRevision, req.MaxCreateRevision) >= 0
}

func (r *reading) rangeExtreme(req *pb.RangeRequest, response *pb.RangeResponse) (err error) {
	q := index.ExtremeQuery{
		By: index.ByCreate, Largest: req.SortOrder == pb.RangeRequest_DESCEND,
		MinCreate: req.MinCreateRevision, MaxCreate: req.MaxCreateRevision,
		MinModify: req.MinModRevision, MaxModify: req.MaxModRevision,
	}
	if req.SortTarget == pb.RangeRequest_MOD {
		q.By = index.ByModify
	}
	response.Count = r.index.Count(req.Key, req.RangeEnd, r.revision)
	k, ok := r.index.Extreme(req.Key, req.RangeEnd, q)
	if !ok {
		return nil
	}
	response.More = response.Count > 1
	if response.More && filtered(req) {
		// Is there a second key within the bounds, on either side of the first?
		after := append(slices.Clip(k.Key), 0)
		response.More = r.index.Any(after, req.RangeEnd, q) ||
			bytes.Compare(req.Key, k.Key) < 0 && r.index.Any(req.Key, k.Key, q)
	}
	response.Kvs, err = r.loadAll([]index.Key{k}, req.KeysOnly, &budget{})
	return err
}

func (r *reading) rangeMany(ctx context.Context, req *pb.RangeRequest, at int64, response *pb.RangeResponse) (err error) {
	b := budgetOf(ctx)
	keys, count, err := r.collect(ctx, req, at, b)
	if err != nil {
		return err
	}
	response.Count = count
	limit := int64(math.MaxInt64)
	if req.Limit > 0 {
		limit = req.Limit
	}
	if response.More = int64(len(keys)) > limit; !response.More {
		limit = int64(len(keys))
	}
	if req.SortTarget == pb.RangeRequest_VALUE {
		kvs, err := r.loadAll(keys, false, b)
		if err != nil {
			return err
		}
		sortBy(kvs, req.SortOrder, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Value, b.Value) })
		response.Kvs = kvs[:limit]
		for _, kv := range response.Kvs {
			if req.KeysOnly {
				kv.Value = nil
			}
		}
		return ctx.Err()
	}
	if compare := comparison(req); compare != nil {
		sortBy(keys, req.SortOrder, compare)
	}
	response.Kvs, err = r.loadAll(keys[:limit], req.KeysOnly, b)
	return err
}

// collect returns the keys to choose from, in key order, and how many there are
// in the whole range. Where nothing but key order matters it stops one behind
// the limit. So it does, as etcd, where a target is to be sorted by but no order
// is given: what is sorted then is the beginning of the range.
func (r *reading) collect(ctx context.Context, req *pb.RangeRequest, at int64, b *budget) (keys []index.Key, count int64, err error) {
	most := int64(math.MaxInt64)
	inKeyOrder := req.SortOrder == pb.RangeRequest_NONE ||
		req.SortTarget == pb.RangeRequest_KEY && req.SortOrder == pb.RangeRequest_ASCEND
	if req.Limit > 0 && req.Limit < most && inKeyOrder && !filtered(req) {
		most = req.Limit + 1
	}
	cheapCount := at == r.revision
	r.index.Ascend(req.Key, req.RangeEnd, at, func(k index.Key) bool {
		if count++; count%1024 == 0 {
			if err = ctx.Err(); err != nil {
				return false
			}
		}
		if count <= most && admits(req, k) {
			keys = append(keys, k)
			if err = b.spend(keyBytes); err != nil {
				return false
			}
		}
		return count < most || !cheapCount
	})
	if cheapCount && count == most {
		count = r.index.Count(req.Key, req.RangeEnd, at)
	}
	return keys, count, err
}

func filtered(req *pb.RangeRequest) bool {
	return req.MinModRevision != 0 || req.MaxModRevision != 0 || req.MinCreateRevision != 0 || req.MaxCreateRevision != 0
}

// admits applies the revision filters, of which 0 means none.
func admits(req *pb.RangeRequest, k index.Key) bool {
	return (req.MinModRevision == 0 || k.Modified.Main >= req.MinModRevision) &&
		(req.MaxModRevision == 0 || k.Modified.Main <= req.MaxModRevision) &&
		(req.MinCreateRevision == 0 || k.Created.Main >= req.MinCreateRevision) &&
		(req.MaxCreateRevision == 0 || k.Created.Main <= req.MaxCreateRevision)
}

// comparison returns what to sort keys by, nil if they are sorted already.
func comparison(req *pb.RangeRequest) func(a, b index.Key) int {
	switch req.SortTarget {
	case pb.RangeRequest_VERSION:
		return func(a, b index.Key) int { return cmp.Compare(a.Version, b.Version) }
	case pb.RangeRequest_CREATE:
		return func(a, b index.Key) int { return cmp.Compare(a.Created.Main, b.Created.Main) }
	case pb.RangeRequest_MOD:
		return func(a, b index.Key) int { return cmp.Compare(a.Modified.Main, b.Modified.Main) }
	case pb.RangeRequest_KEY:
		if req.SortOrder == pb.RangeRequest_DESCEND {
			return func(a, b index.Key) int { return bytes.Compare(a.Key, b.Key) }
		}
	}
	return nil
}

// sortBy sorts rising unless the order says otherwise. Equals stay in key order.
func sortBy[T any](s []T, order pb.RangeRequest_SortOrder, compare func(a, b T) int) {
	if order == pb.RangeRequest_DESCEND {
		slices.SortStableFunc(s, func(a, b T) int { return compare(b, a) })
		return
	}
	slices.SortStableFunc(s, compare)
}
