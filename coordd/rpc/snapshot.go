package rpc

import (
	"context"
	"crypto/sha256"
	"hash"

	"github.com/coordd/coordd/kvcore"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// snapshotChunkBytes is the most that one message of a snapshot holds, as in etcd.
const snapshotChunkBytes = 32 << 10

// Snapshot sends the store as a file of bbolt in etcd's layout, then its SHA-256.
// All that was acknowledged before the call is in it; where the member does not
// reach a quorum, all that it knows: a snapshot may be the way out of that.
func (s *maintenanceServer) Snapshot(r *pb.SnapshotRequest, stream grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	ctx := stream.Context()
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	snapshot, err := s.Store.Snapshot()
	if err != nil {
		return err
	}
	defer snapshot.Close()
	if _, err := s.permit(ctx, r); err != nil { // by users no older than what is sent
		return err
	}
	w := &snapshotWriter{stream: stream, sum: sha256.New(), left: snapshot.Size()}
	s.Logger.Info("sending a snapshot", "index", snapshot.Index, "bytes", w.left)
	if _, err := snapshot.WriteTo(w); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	err = stream.Send(&pb.SnapshotResponse{Blob: w.sum.Sum(nil), Version: kvcore.StorageVersion})
	if err == nil {
		s.Logger.Info("sent a snapshot", "index", snapshot.Index)
	}
	return err
}

// catchUp brings this member's backend to what was acknowledged before the call.
func (s *maintenanceServer) catchUp(ctx context.Context) error {
	if s.Node.Status().Leader != 0 {
		bounded, cancel := context.WithTimeout(ctx, s.RequestTimeout)
		err := s.Node.ReadIndex(bounded)
		cancel()
		if err != nil && ctx.Err() == nil {
			s.Logger.Warn("a snapshot may lack what was acknowledged last: the cluster does not answer", "error", err)
		}
	}
	return s.Node.Checkpoint(ctx)
}

// snapshotWriter sends what is written to it in chunks. The client's pace is
// that of the writer.
type snapshotWriter struct {
	stream grpc.ServerStreamingServer[pb.SnapshotResponse]
	sum    hash.Hash
	left   int64 // bytes not sent yet
	chunk  []byte
}

func (w *snapshotWriter) Write(b []byte) (written int, err error) {
	for len(b) > 0 {
		if w.chunk == nil {
			w.chunk = make([]byte, 0, snapshotChunkBytes) // a new one each time: a message must not change once it is sent
		}
		n := min(len(b), cap(w.chunk)-len(w.chunk))
		w.chunk = append(w.chunk, b[:n]...)
		b, written = b[n:], written+n
		if len(w.chunk) == cap(w.chunk) {
			if err := w.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

func (w *snapshotWriter) flush() error {
	if err := w.stream.Context().Err(); err != nil {
		return err
	}
	if len(w.chunk) == 0 {
		return nil
	}
	w.sum.Write(w.chunk)
	w.left -= int64(len(w.chunk))
	response := &pb.SnapshotResponse{Blob: w.chunk, RemainingBytes: uint64(max(w.left, 0)), Version: kvcore.StorageVersion}
	w.chunk = nil
	return w.stream.Send(response)
}
