package kvcore

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
)

// EpochKey is an ordinary key of the store: the epoch of the fencing tokens that
// are made of its revisions, in decimal; 0 where it is not there. It rises
// whenever revisions may have gone back, since a token's revision counts within
// its epoch only. Clients read it, and on any etcd they may write it too.
const EpochKey = "/coordd/epoch"

// epochDueKey, in bucket meta, says that the epoch has to be raised: a place in
// the log, 8 bytes big-endian. Only a request behind that place settles it: one
// before it is of the time before the cluster was forced to begin anew.
//
// A restore leaves this mark and not the new epoch. Each member of a new cluster
// is restored by itself, at another time, and all must begin with one state; and
// two clusters restored from one backup must differ, or a token of one would pass
// for the other's. So the first request in the log of the new cluster draws the
// epoch, once for all members.
var epochDueKey = []byte("coorddEpochDue")

func epochDueChange(place uint64) change {
	return change{backend.Meta, epochDueKey, binary.BigEndian.AppendUint64(nil, place)}
}

// EpochDue says whether the epoch has to be raised before anything else is
// written. It costs next to nothing.
func (s *Store) EpochDue() bool { return s.epochDue.Load() != 0 }

// NextEpoch returns the request that raises the epoch: to unixMicro, the time
// now, or by one where it is that high already. An epoch that cannot be read, or
// cannot rise, counts as 0.
func (s *Store) NextEpoch(ctx context.Context, unixMicro uint64) (*coordpb.EpochRaiseRequest, error) {
	found, err := s.Range(ctx, &pb.RangeRequest{Key: []byte(EpochKey)})
	if err != nil {
		return nil, fmt.Errorf("kvcore: read the epoch: %w", err)
	}
	request := &coordpb.EpochRaiseRequest{Epoch: max(unixMicro, 1)}
	for _, kv := range found.GetKvs() {
		request.ModRevision = kv.GetModRevision()
		if epoch, err := strconv.ParseUint(string(kv.GetValue()), 10, 64); err == nil && epoch < math.MaxUint64 {
			request.Epoch = max(request.Epoch, epoch+1)
		}
	}
	return request, nil
}

// raiseEpoch does nothing where another request was first.
func (w *writing) raiseEpoch(r *coordpb.EpochRaiseRequest) *coordpb.EpochRaiseResponse {
	if w.get([]byte(EpochKey)).GetModRevision() != r.ModRevision {
		return &coordpb.EpochRaiseResponse{}
	}
	w.put(&pb.PutRequest{Key: []byte(EpochKey), Value: strconv.AppendUint(nil, r.Epoch, 10)})
	if w.EpochDue() && w.current.applied.index > w.epochDue.Load() {
		w.epochDue.Store(0)
		w.queue(change{backend.Meta, epochDueKey, nil})
	}
	return &coordpb.EpochRaiseResponse{}
}

func (st *loaded) loadEpochDue(r backend.Reader) error {
	if v := r.Get(backend.Meta, epochDueKey); v != nil {
		if len(v) != 8 {
			return fmt.Errorf("%s: %d bytes, not 8", epochDueKey, len(v))
		}
		st.epochDue = binary.BigEndian.Uint64(v)
	}
	return nil
}
