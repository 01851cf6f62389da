package recipes

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// cell is a key that says something while it has a value. It is filled in two transactions: one makes the key, without a
// value, and one gives it the value if its revision is still the one that was read. A request whose answer was lost may
// come late or twice, after the cell was cleared: the first then leaves a cell that says nothing, the second finds
// another revision. A put that only compares that there is no key would bring back what was cleared.
type cell struct {
	session *Session
	key     string
}

// fill returns the key with its value: the one given, or that of somebody who was sooner.
func (s cell) fill(ctx context.Context, value string, opts ...clientv3.OpOption) (*mvccpb.KeyValue, error) {
	absent := clientv3.Compare(clientv3.CreateRevision(s.key), "=", 0)
	for {
		found, err := s.put(ctx, absent, "")
		if err != nil || len(found.GetValue()) > 0 {
			return found, err
		}
		if found == nil {
			continue // cleared meanwhile
		}
		found, err = s.put(ctx, unchanged(found), value, opts...)
		if err != nil || len(found.GetValue()) > 0 {
			return found, err
		}
	}
}

// put puts the value if the condition holds, and returns the key as it is then.
func (s cell) put(
	ctx context.Context, condition clientv3.Cmp, value string, opts ...clientv3.OpOption,
) (*mvccpb.KeyValue, error) {
	get := clientv3.OpGet(s.key)
	resp, err := s.session.transact(ctx, []clientv3.Cmp{condition},
		[]clientv3.Op{clientv3.OpPut(s.key, value, opts...), get}, []clientv3.Op{get})
	if err != nil {
		return nil, err
	}
	return only(resp, len(resp.Responses)-1), nil
}

// load returns the key with its value, nil when it has none.
func (s cell) load(ctx context.Context) (*mvccpb.KeyValue, error) {
	found, err := s.get(ctx)
	if err != nil || found == nil || len(found.Value) == 0 {
		return nil, err
	}
	return found, nil
}

func (s cell) get(ctx context.Context) (*mvccpb.KeyValue, error) {
	resp, err := s.session.transact(ctx, nil, []clientv3.Op{clientv3.OpGet(s.key)}, nil)
	if err != nil {
		return nil, err
	}
	return only(resp, 0), nil
}

// clear deletes the key that it finds, and what with selects, with or without a value: a fill that is still on its way
// finds its revision gone. A value that came after the clear began stays.
func (s cell) clear(ctx context.Context, with ...clientv3.Op) error {
	found, err := s.get(ctx)
	if err != nil || found == nil {
		return err
	}
	_, err = s.session.transact(ctx, []clientv3.Cmp{unchanged(found)}, append(with, clientv3.OpDelete(s.key)), nil)
	return err
}

// unchanged compares that a key was not changed since it was read as kv.
func unchanged(kv *mvccpb.KeyValue) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(string(kv.Key)), "=", kv.ModRevision)
}

// only is the key that the i-th response of a transaction found, nil when it found none.
func only(resp *clientv3.TxnResponse, i int) *mvccpb.KeyValue {
	if found := resp.Responses[i].GetResponseRange().GetKvs(); len(found) > 0 {
		return found[0]
	}
	return nil
}
