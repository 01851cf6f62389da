package rpc

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/auth"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// kvServer is etcdserverpb.KV.
type kvServer struct {
	pb.UnimplementedKVServer
	*Server
}

func (s *kvServer) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := s.prepareRead(ctx, r, r.GetSerializable()); err != nil {
		return nil, err
	}
	var response *pb.RangeResponse
	err := s.read(ctx, r, func() (err error) {
		response, err = s.Store.Range(ctx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	response.Header = s.fill(response.Header)
	return response, nil
}

// prepareRead checks a read and, unless it is serializable, waits until this
// member knows everything that was acknowledged before.
func (s *Server) prepareRead(ctx context.Context, r proto.Message, serializable bool) error {
	if err := kvcore.Validate(r, s.MaxTxnOps); err != nil {
		return err
	}
	if serializable {
		return nil
	}
	return s.Node.ReadIndex(ctx)
}

// propose checks a write and replicates it.
func propose[R proto.Message](ctx context.Context, s *Server, r proto.Message) (response R, err error) {
	if err := kvcore.Validate(r, s.MaxTxnOps); err != nil {
		return response, err
	}
	if proto.Size(r) > s.MaxRequestBytes {
		return response, raftnode.ErrTooLarge
	}
	command, err := s.onBehalf(ctx, r)
	if err != nil {
		return response, err
	}
	if err := s.Quota.Check(ctx, r); err != nil {
		return response, err
	}
	if err := RaiseEpoch(ctx, s.Node, s.Store, s.Now); err != nil {
		return response, err
	}
	m, err := s.Node.Propose(ctx, command)
	if err != nil {
		return response, err
	}
	return m.(R), nil
}

func (s *kvServer) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	response, err := propose[*pb.PutResponse](ctx, s.Server, r)
	if err != nil {
		return nil, err
	}
	response.Header = s.fill(response.Header)
	return response, nil
}

func (s *kvServer) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	response, err := propose[*pb.DeleteRangeResponse](ctx, s.Server, r)
	if err != nil {
		return nil, err
	}
	response.Header = s.fill(response.Header)
	return response, nil
}

func (s *kvServer) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	response, err := s.txn(ctx, r)
	if err != nil {
		return nil, err
	}
	response.Header = s.fill(response.Header)
	return response, nil
}

func (s *kvServer) txn(ctx context.Context, r *pb.TxnRequest) (response *pb.TxnResponse, err error) {
	if !kvcore.IsReadOnly(r) {
		return propose[*pb.TxnResponse](ctx, s.Server, r)
	}
	if err := s.prepareRead(ctx, r, isSerializable(r)); err != nil {
		return nil, err
	}
	err = s.read(ctx, r, func() (err error) {
		response, err = s.Store.Txn(ctx, r)
		return err
	})
	return response, err
}

// isSerializable tells transactions that consist of serializable ranges alone.
// In one that only compares nobody has asked for a stale answer.
func isSerializable(r *pb.TxnRequest) bool {
	for _, branch := range [][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if !op.GetRequestRange().GetSerializable() {
				return false
			}
		}
	}
	return len(r.GetSuccess())+len(r.GetFailure()) > 0
}

func (s *kvServer) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	response, err := propose[*pb.CompactionResponse](ctx, s.Server, r)
	if err != nil {
		return nil, err
	}
	if r.GetPhysical() {
		if err := s.awaitCompaction(ctx, r.GetRevision()); err != nil {
			return nil, err
		}
	}
	response.Header = s.fill(response.Header)
	return response, nil
}

// awaitCompaction returns once what was compacted has left this member's backend.
func (s *Server) awaitCompaction(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.stopping, func() { cancel(raftnode.ErrStopped) })()
	err := s.Store.AwaitCompaction(ctx, revision)
	if err == nil {
		err = s.Node.Checkpoint(ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// firstChunkKeys is how many keys the first message of a RangeStream holds at most.
const firstChunkKeys = 10

func (s *kvServer) RangeStream(r *pb.RangeRequest, stream pb.KV_RangeStreamServer) error {
	switch {
	case r.GetSortOrder() != pb.RangeRequest_NONE && (r.GetSortOrder() != pb.RangeRequest_ASCEND || r.GetSortTarget() != pb.RangeRequest_KEY):
		return status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	case r.GetMinModRevision() != 0, r.GetMaxModRevision() != 0, r.GetMinCreateRevision() != 0, r.GetMaxCreateRevision() != 0:
		return status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	if err := s.prepareRead(stream.Context(), r, r.GetSerializable()); err != nil {
		return err
	}
	table, err := s.permit(stream.Context(), r)
	if err != nil {
		return err
	}
	return s.sendChunks(r, table, stream)
}

// sendChunks answers with as many messages as it takes, all at the revision of
// the first, which must be one at which the users were still those of the table
// that permits it. Only the last has header, more and count.
func (s *kvServer) sendChunks(r *pb.RangeRequest, table *auth.Table, stream pb.KV_RangeStreamServer) error {
	left := r.GetLimit()
	if left <= 0 {
		left = math.MaxInt64
	}
	chunk := proto.CloneOf(r)
	chunk.SortTarget = pb.RangeRequest_KEY // the order is none: chunks follow each other by key
	keys := int64(firstChunkKeys)
	var header *pb.ResponseHeader
	var count int64
	for {
		chunk.Limit = min(keys, left)
		response, err := s.Store.Range(s.chunkContext(stream.Context(), keys), chunk)
		if errors.Is(err, errLarge) {
			keys = (keys + 3) / 4 // values have become larger
			continue
		}
		if err != nil {
			return err
		}
		if header == nil {
			if err := s.unchanged(table); err != nil {
				return err
			}
			header, count = s.fill(response.Header), response.Count
			if chunk.Revision <= 0 {
				chunk.Revision = header.Revision
			}
		}
		left -= int64(len(response.Kvs))
		last := !response.More || left == 0 || len(response.Kvs) == 0
		size := proto.Size(response)
		response.Header, response.Count = nil, 0
		if last {
			response.Header, response.Count = header, count
		} else {
			response.More = false
			chunk.Key = append(slices.Clone(response.Kvs[len(response.Kvs)-1].Key), 0)
		}
		if err := stream.Send(&pb.RangeStreamResponse{RangeResponse: response}); err != nil || last {
			return err
		}
		keys = nextChunkKeys(keys, size, s.MaxRequestBytes)
	}
}

// chunkContext bounds the memory of a chunk, unless that is of one key.
func (s *kvServer) chunkContext(ctx context.Context, keys int64) context.Context {
	if keys == 1 {
		return ctx
	}
	left := 8 * s.MaxRequestBytes
	return kvcore.WithBudget(ctx, func(bytes int) error {
		if left -= bytes; left < 0 {
			return errLarge
		}
		return nil
	})
}

// nextChunkKeys doubles or halves the chunk until its size is near the target.
func nextChunkKeys(keys int64, size, target int) int64 {
	switch {
	case size < target/2:
		return keys * 2
	case size > target*2:
		return max(keys/2, 1)
	default:
		return keys
	}
}
