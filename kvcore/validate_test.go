package kvcore_test

import (
	"errors"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
)

func TestValidate(t *testing.T) {
	put := func(key string) *pb.RequestOp { return op(&pb.PutRequest{Key: []byte(key)}) }
	get := op(&pb.RangeRequest{Key: []byte("a")})
	del := func(key, end string) *pb.RequestOp {
		return op(&pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)})
	}
	nest := func(success, failure []*pb.RequestOp) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: success, Failure: failure}}}
	}
	ops := func(ops ...*pb.RequestOp) []*pb.RequestOp { return ops }
	txn := func(ops ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: ops} }
	for _, c := range []struct {
		name string
		req  proto.Message
		want error
	}{
		{"range", &pb.RangeRequest{Key: []byte("a")}, nil},
		{"range without key", &pb.RangeRequest{}, kvcore.ErrEmptyKey},
		{"range with unknown order", &pb.RangeRequest{Key: []byte("a"), SortOrder: 3}, kvcore.ErrInvalidSort},
		{"range with unknown target", &pb.RangeRequest{Key: []byte("a"), SortTarget: 5}, kvcore.ErrInvalidSort},
		{"put without key", &pb.PutRequest{Value: []byte("v")}, kvcore.ErrEmptyKey},
		{"put of a value to be ignored", &pb.PutRequest{Key: []byte("a"), Value: []byte("v"), IgnoreValue: true}, kvcore.ErrValueProvided},
		{"put of a lease to be ignored", &pb.PutRequest{Key: []byte("a"), Lease: 1, IgnoreLease: true}, kvcore.ErrLeaseProvided},
		{"delete without key", &pb.DeleteRangeRequest{RangeEnd: []byte{0}}, kvcore.ErrEmptyKey},
		{"empty txn", txn(), nil},
		{"compare without key", &pb.TxnRequest{Compare: []*pb.Compare{{}}}, kvcore.ErrEmptyKey},
		{"empty operation", txn(&pb.RequestOp{}), kvcore.ErrKeyNotFound},
		{"invalid operation in a nested branch", txn(nest(nil, ops(op(&pb.PutRequest{})))), kvcore.ErrEmptyKey},
		{"as many operations as allowed", txn(get, get, get, get), nil},
		{"one too many", txn(get, get, get, get, get), kvcore.ErrTooManyOps},
		{"too many failures", &pb.TxnRequest{Failure: ops(get, get, get, get, get)}, kvcore.ErrTooManyOps},
		{"nested with what its parent leaves", txn(get, nest(ops(get, get), nil)), nil},
		{"nested with more than its parent leaves", txn(get, nest(ops(get, get, get), nil)), kvcore.ErrTooManyOps},
		{"put twice", txn(put("a"), put("a")), kvcore.ErrDuplicateKey},
		{"put in both branches", &pb.TxnRequest{Success: ops(put("a")), Failure: ops(put("a"))}, nil},
		{"put and deleted", txn(put("a"), del("a", "")), kvcore.ErrDuplicateKey},
		{"put within a deleted range", txn(del("a", "c"), put("b")), kvcore.ErrDuplicateKey},
		{"put at the end of a deleted range", txn(del("a", "c"), put("c")), nil},
		{"put beside the deletion of everything", txn(del("a", "\x00"), put("c")), nil},
		{"deleted twice", txn(del("a", "c"), del("b", "")), nil},
		{"put here and in a nested branch", txn(put("a"), nest(nil, ops(put("a")))), kvcore.ErrDuplicateKey},
		{"put in both branches of a nested one", txn(nest(ops(put("a")), ops(put("a")))), nil},
		{"put in two nested ones", txn(nest(ops(put("a")), nil), nest(nil, ops(put("a")))), kvcore.ErrDuplicateKey},
		{"put in a nested one, deleted here", txn(nest(ops(put("a")), nil), del("a", "b")), kvcore.ErrDuplicateKey},
		{"put here, deleted in a nested one", txn(nest(ops(del("a", "b")), nil), put("a")), kvcore.ErrDuplicateKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := kvcore.Validate(c.req, 4); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// Nesting multiplies nothing: what stands deep in a transaction is not copied at
// every level.
func TestValidateDeepTransaction(t *testing.T) {
	nest := func(ops []*pb.RequestOp) []*pb.RequestOp {
		return []*pb.RequestOp{op(&pb.TxnRequest{Success: ops})}
	}
	keys := 0
	var tree func(levels int, leaf func(key []byte) *pb.RequestOp) []*pb.RequestOp
	tree = func(levels int, leaf func(key []byte) *pb.RequestOp) (ops []*pb.RequestOp) {
		for range 17 {
			if levels > 0 {
				ops = append(ops, nest(tree(levels-1, leaf))...)
				continue
			}
			keys++
			ops = append(ops, leaf(fmt.Appendf(nil, "%06d", keys)))
		}
		return ops
	}
	for name, leaf := range map[string]func(key []byte) *pb.RequestOp{
		"puts":    func(key []byte) *pb.RequestOp { return op(&pb.PutRequest{Key: key}) },
		"deletes": func(key []byte) *pb.RequestOp { return op(&pb.DeleteRangeRequest{Key: key}) },
	} {
		allocs := func(ops []*pb.RequestOp) float64 {
			return testing.AllocsPerRun(1, func() {
				if err := kvcore.Validate(&pb.TxnRequest{Success: ops}, 128); err != nil {
					t.Error(err)
				}
			})
		}
		ops := tree(2, leaf)
		flat := allocs(ops)
		for range 128 - 3*17 {
			ops = nest(ops)
		}
		if deep := allocs(ops); deep > 2*flat {
			t.Errorf("%s: %g allocations, %g without the nesting around", name, deep, flat)
		}
	}
}
