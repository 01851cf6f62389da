package kvtest

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
)

// Within reports whether a request with this key and range end means the key.
func Within(key string, from, end []byte) bool {
	switch string(end) {
	case "":
		return key == string(from)
	case "\x00":
		return key >= string(from)
	}
	return key >= string(from) && key < string(end)
}

// At returns the keys that lived at a revision.
func (m *Model) At(rev int64) map[string]*mvccpb.KeyValue {
	if rev == m.Revision {
		return m.Now
	}
	live := map[string]*mvccpb.KeyValue{}
	for _, c := range m.Log {
		if c.KV.ModRevision > rev {
			break
		}
		if c.Tombstone {
			delete(live, string(c.KV.Key))
		} else {
			live[string(c.KV.Key)] = c.KV
		}
	}
	return live
}

// Range answers a range request.
func (m *Model) Range(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	at := r.Revision
	if at > m.Revision {
		return nil, kvcore.ErrFutureRevision
	}
	if at <= 0 {
		at = m.Revision
	}
	if at < m.Compact {
		return nil, kvcore.ErrCompacted
	}
	live := m.At(at)
	response := &pb.RangeResponse{Header: m.header()}
	var all []*mvccpb.KeyValue
	for _, key := range slices.Sorted(maps.Keys(live)) {
		if Within(key, r.Key, r.RangeEnd) {
			all = append(all, live[key])
		}
	}
	response.Count = int64(len(all))
	if r.CountOnly {
		return response, nil
	}
	filtered := min(r.MinModRevision, r.MaxModRevision, r.MinCreateRevision, r.MaxCreateRevision) != 0 ||
		max(r.MinModRevision, r.MaxModRevision, r.MinCreateRevision, r.MaxCreateRevision) != 0
	// What etcd does where a sort target is given without an order.
	early := r.SortOrder == pb.RangeRequest_NONE && !filtered
	if early && r.Limit > 0 && int64(len(all)) > r.Limit {
		all = all[:r.Limit+1]
	}
	all = slices.DeleteFunc(all, func(kv *mvccpb.KeyValue) bool {
		return r.MinModRevision != 0 && kv.ModRevision < r.MinModRevision ||
			r.MaxModRevision != 0 && kv.ModRevision > r.MaxModRevision ||
			r.MinCreateRevision != 0 && kv.CreateRevision < r.MinCreateRevision ||
			r.MaxCreateRevision != 0 && kv.CreateRevision > r.MaxCreateRevision
	})
	sign := 1
	if r.SortOrder == pb.RangeRequest_DESCEND {
		sign = -1
	}
	slices.SortStableFunc(all, func(a, b *mvccpb.KeyValue) int { return sign * order(r.SortTarget, a, b) })
	if r.Limit > 0 && int64(len(all)) > r.Limit {
		all = all[:r.Limit]
		response.More = true
	}
	for _, kv := range all {
		if r.KeysOnly {
			kv = proto.CloneOf(kv)
			kv.Value = nil
		}
		response.Kvs = append(response.Kvs, kv)
	}
	return response, nil
}

func order(target pb.RangeRequest_SortTarget, a, b *mvccpb.KeyValue) int {
	switch target {
	case pb.RangeRequest_VERSION:
		return cmp.Compare(a.Version, b.Version)
	case pb.RangeRequest_CREATE:
		return cmp.Compare(a.CreateRevision, b.CreateRevision)
	case pb.RangeRequest_MOD:
		return cmp.Compare(a.ModRevision, b.ModRevision)
	case pb.RangeRequest_VALUE:
		return bytes.Compare(a.Value, b.Value)
	}
	return bytes.Compare(a.Key, b.Key)
}

// Events returns what a watch shows of the revisions from first to last, as of
// now: previous values that are compacted now are left out.
func (m *Model) Events(o kvcore.WatchOptions, first, last int64) (events []*mvccpb.Event) {
	for _, c := range m.Log {
		rev := c.KV.ModRevision
		if rev < first || rev > last || !Within(string(c.KV.Key), o.Key, o.RangeEnd) ||
			c.Tombstone && o.NoDelete || !c.Tombstone && o.NoPut {
			continue
		}
		e := &mvccpb.Event{Kv: c.KV}
		if c.Tombstone {
			e.Type = mvccpb.Event_DELETE
		}
		if o.PrevKV && rev-1 >= m.Compact {
			e.PrevKv = m.At(rev - 1)[string(c.KV.Key)]
		}
		events = append(events, e)
	}
	return events
}
