package kvcore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/coordd/coordd/kvcore/index"
)

// IsReadOnly reports whether the transaction holds nothing but ranges.
func IsReadOnly(r *pb.TxnRequest) bool {
	for _, ops := range [...][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if op.GetRequestRange() == nil {
				return false
			}
		}
	}
	return true
}

// Txn answers a read-only transaction as of now.
func (s *Store) Txn(ctx context.Context, req *pb.TxnRequest) (response *pb.TxnResponse, err error) {
	if !IsReadOnly(req) {
		return nil, fmt.Errorf("%w: transaction is not read-only", ErrMalformed)
	}
	s.counts.txns.Add(1)
	err = s.read(lowestRevision(req), func(r *reading) error {
		p, err := r.plan(req)
		if err != nil {
			return err
		}
		for _, op := range p.ops {
			if err := r.checkRange(op.GetRequestRange()); err != nil {
				return err
			}
		}
		s.counts.ranges.Add(uint64(len(p.ops)))
		response = p.response()
		response.Header.Revision = r.revision
		for i, op := range p.ops {
			if response.Responses[i], err = r.rangeOp(ctx, op.GetRequestRange()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// lowestRevision returns the lowest past revision the transaction may read, 0
// if it reads none.
func lowestRevision(req *pb.TxnRequest) (lowest int64) {
	for _, ops := range [...][]*pb.RequestOp{req.Success, req.Failure} {
		for _, op := range ops {
			if rev := op.GetRequestRange().GetRevision(); rev > 0 && (lowest == 0 || rev < lowest) {
				lowest = rev
			}
		}
	}
	return lowest
}

// plan says which way a transaction goes. All comparisons, those of nested
// transactions too, are of the state before it.
type plan struct {
	succeeded bool
	ops       []*pb.RequestOp
	nested    []*plan // of those ops that are transactions, in order
}

func (r *reading) plan(t *pb.TxnRequest) (*plan, error) {
	p := &plan{succeeded: true}
	for _, c := range t.Compare {
		ok, err := r.holds(c)
		if err != nil {
			return nil, err
		}
		if !ok {
			p.succeeded = false
			break
		}
	}
	if p.ops = t.Success; !p.succeeded {
		p.ops = t.Failure
	}
	for _, op := range p.ops {
		if inner := op.GetRequestTxn(); inner != nil {
			n, err := r.plan(inner)
			if err != nil {
				return nil, err
			}
			p.nested = append(p.nested, n)
		}
	}
	return p, nil
}

func (p *plan) response() *pb.TxnResponse {
	return &pb.TxnResponse{
		Header:    &pb.ResponseHeader{},
		Succeeded: p.succeeded,
		Responses: make([]*pb.ResponseOp, len(p.ops)),
	}
}

// holds evaluates one comparison: it must be true of every key in its range. A
// range without keys compares as a key with zeros, but has no value to compare.
func (r *reading) holds(c *pb.Compare) (bool, error) {
	all, empty := true, true
	var err error
	r.index.Ascend(c.GetKey(), c.GetRangeEnd(), r.revision, func(k index.Key) bool {
		empty = false
		all, err = r.holdsFor(c, k)
		return all && err == nil
	})
	if empty {
		return c.GetTarget() != pb.Compare_VALUE && compareResult(c, compareTarget(c, &mvccpb.KeyValue{})), nil
	}
	return all, err
}

func (r *reading) holdsFor(c *pb.Compare, k index.Key) (bool, error) {
	kv := mvccpb.KeyValue{Version: k.Version, CreateRevision: k.Created.Main, ModRevision: k.Modified.Main}
	if c.Target == pb.Compare_VALUE || c.Target == pb.Compare_LEASE {
		data, _, err := r.find(k.Modified)
		if err != nil {
			return false, err
		}
		if err := decodeKeyValue(&kv, data); err != nil {
			return false, err
		}
	}
	return compareResult(c, compareTarget(c, &kv)), nil
}

func compareTarget(c *pb.Compare, kv *mvccpb.KeyValue) int {
	switch c.GetTarget() {
	case pb.Compare_VALUE:
		return bytes.Compare(kv.Value, c.GetValue())
	case pb.Compare_CREATE:
		return cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		return cmp.Compare(kv.ModRevision, c.GetModRevision())
	case pb.Compare_VERSION:
		return cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_LEASE:
		return cmp.Compare(kv.Lease, c.GetLease())
	default:
		return 0
	}
}

func compareResult(c *pb.Compare, order int) bool {
	switch c.GetResult() {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	case pb.Compare_GREATER:
		return order > 0
	case pb.Compare_LESS:
		return order < 0
	default:
		return true
	}
}

// checkRange says why a range cannot be answered, by the state before the
// transaction it is part of.
func (r *reading) checkRange(req *pb.RangeRequest) error {
	switch {
	case req.Revision > r.revision:
		return ErrFutureRevision
	case req.Revision != 0 && req.Revision < r.compact:
		return ErrCompacted
	}
	return nil
}

func (r *reading) rangeOp(ctx context.Context, req *pb.RangeRequest) (*pb.ResponseOp, error) {
	response, err := r.rangeKeys(ctx, req)
	if err != nil {
		return nil, err
	}
	return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: response}}, nil
}

func (w *writing) applyTxn(req *pb.TxnRequest) (*pb.TxnResponse, error) {
	w.counts.txns.Add(1)
	r := w.reading()
	p, err := r.plan(req)
	if err == nil {
		err = w.checkPlan(r, p)
	}
	r.close()
	if err != nil {
		return nil, err
	}
	response := w.execute(p)
	response.Header.Revision = w.current.revision
	return response, nil
}

// checkPlan makes sure that nothing of the plan can fail, so that a transaction
// has an effect as a whole or not at all.
func (w *writing) checkPlan(r *reading, p *plan) error {
	nested := p.nested
	for _, op := range p.ops {
		var err error
		switch {
		case op.GetRequestRange() != nil:
			err = r.checkRange(op.GetRequestRange())
		case op.GetRequestPut() != nil:
			err = w.checkPut(op.GetRequestPut())
		case op.GetRequestDeleteRange() != nil:
			err = checkDelete(op.GetRequestDeleteRange())
		case op.GetRequestTxn() != nil:
			err = w.checkPlan(r, nested[0])
			nested = nested[1:]
		default:
			err = fmt.Errorf("%w: empty operation", ErrMalformed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// execute applies a checked plan. The header of a nested response stays empty,
// as etcd's does.
func (w *writing) execute(p *plan) *pb.TxnResponse {
	response := p.response()
	nested := p.nested
	for i, op := range p.ops {
		switch op := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			w.counts.ranges.Add(1)
			r := w.reading()
			answer, err := r.rangeOp(context.Background(), op.RequestRange)
			r.close()
			must(err)
			response.Responses[i] = answer
		case *pb.RequestOp_RequestPut:
			response.Responses[i] = &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: w.put(op.RequestPut)}}
		case *pb.RequestOp_RequestDeleteRange:
			response.Responses[i] = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: w.deleteRange(op.RequestDeleteRange)}}
		case *pb.RequestOp_RequestTxn:
			response.Responses[i] = &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: w.execute(nested[0])}}
			nested = nested[1:]
		}
	}
	return response
}
