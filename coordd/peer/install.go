package peer

import (
	"errors"
	"fmt"
	"io"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordd/coordd/coordd/snap"
	"github.com/coordd/coordd/proto/coordpb"
)

type snapshotStream = grpc.ClientStreamingServer[coordpb.SnapshotChunk, coordpb.SnapshotInstalled]

// InstallSnapshot takes one store, or what this member's store lacks.
func (s *Server) InstallSnapshot(stream snapshotStream) error {
	from, err := s.authenticate(stream.Context())
	if err != nil {
		return err
	}
	if !s.beginInstalling(from) {
		return status.Errorf(codes.ResourceExhausted, "peer: a store from member %x is being received already", from)
	}
	defer s.endInstalling(from)
	m, kind, err := s.receiveSnapshotMessage(stream, from)
	if err != nil {
		return err
	}
	receiver, err := s.config.Snapshots.Receive()
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	defer receiver.Abort() // without effect after Commit; a file that stays is cleaned at the next start
	size, sum, err := receiveData(stream, receiver)
	if err != nil {
		return err
	}
	position := snap.Position{
		Index: m.GetSnapshot().GetMetadata().GetIndex(),
		Term:  m.GetSnapshot().GetMetadata().GetTerm(),
	}
	s.deciding.Lock()
	defer s.deciding.Unlock()
	if err := receiver.Commit(position, kind, sum); err != nil {
		return commitStatus(err)
	}
	s.config.Logger.Info("received a store", "peer", hex(from), "index", position.Index, "term", position.Term, "bytes", size, "delta", kind == snap.Delta)
	wanted, err := s.config.StepSnapshot(stream.Context(), m)
	if !wanted {
		err = errors.Join(err, s.config.Snapshots.Discard(position))
	}
	if err != nil {
		return asStatus(err)
	}
	return stream.SendAndClose(&coordpb.SnapshotInstalled{})
}

func (s *Server) receiveSnapshotMessage(stream snapshotStream, from uint64) (*raftpb.Message, snap.Kind, error) {
	chunk, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, snap.None, status.Errorf(codes.InvalidArgument, "peer: store from member %x: empty stream", from)
	}
	if err != nil {
		return nil, snap.None, err
	}
	m, err := decodeMessage(chunk.GetMessage(), from, s.config.MemberID)
	if err == nil && m.GetType() != raftpb.MsgSnap {
		err = fmt.Errorf("the first chunk holds %s, not MsgSnap", m.GetType())
	}
	if err == nil && (len(chunk.GetData()) > 0 || len(chunk.GetSha256()) > 0) {
		err = errors.New("the first chunk holds more than the message")
	}
	if err != nil {
		return nil, snap.None, status.Errorf(codes.InvalidArgument, "peer: store from member %x: %v", from, err)
	}
	if chunk.GetDelta() {
		return m, snap.Delta, nil
	}
	return m, snap.Whole, nil
}

// receiveData writes the chunks up to the checksum, which it returns. Its errors are statuses.
func receiveData(stream snapshotStream, receiver *snap.Receiver) (size int64, sum []byte, err error) {
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return size, nil, status.Errorf(codes.InvalidArgument, "peer: the store ended after %d bytes without a checksum", size)
		}
		if err != nil {
			return size, nil, err
		}
		if len(chunk.GetMessage()) > 0 {
			return size, nil, status.Error(codes.InvalidArgument, "peer: a second raft message within a store")
		}
		n, err := receiver.Write(chunk.GetData())
		size += int64(n)
		if err != nil {
			return size, nil, status.Error(codes.Internal, err.Error())
		}
		if sum := chunk.GetSha256(); len(sum) > 0 {
			return size, sum, nil
		}
	}
}

// beginInstalling admits one store at a time from each member, which bounds the disk they take.
func (s *Server) beginInstalling(from uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.installing[from] {
		return false
	}
	s.installing[from] = true
	return true
}

func (s *Server) endInstalling(from uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.installing, from)
}

func commitStatus(err error) error {
	switch {
	case errors.Is(err, snap.ErrChecksum):
		return status.Error(codes.DataLoss, err.Error())
	case errors.Is(err, snap.ErrEmpty):
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}
