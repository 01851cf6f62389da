package peer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/proto/coordpb"
)

// chunkBytes is the size of the pieces in which a store is sent.
const chunkBytes = 256 << 10

var errOlder = errors.New("the store is older than the snapshot raft asked for")

// sendSnapshots sends the stores that send asks for.
func (s *sender) sendSnapshots() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case m := <-s.snapshots:
			sent, err := s.sendSnapshot(m)
			if err != nil {
				s.log.Warn("sending the store to member failed", "bytes", sent, "error", err)
			} else {
				s.log.Info("sent the store to member", "bytes", sent)
			}
			s.sendingSnapshot.Store(false)
			s.config.ReportSnapshot(s.id, err == nil)
		}
	}
}

// sendSnapshot sends the newest store, which may be of a later index than m
// asks for. It returns nil once the member has the store, durably, and raft there has the message.
func (s *sender) sendSnapshot(m *raftpb.Message) (sent int64, err error) {
	snapshot, err := s.config.OpenSnapshot()
	if err != nil {
		return 0, fmt.Errorf("open: %w", err)
	}
	defer snapshot.Close()
	message, err := encodeSnapshotMessage(m, snapshot)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(s.withIdentity(s.ctx))
	defer cancel() // a store broken off here must end there too
	stream, err := s.client.InstallSnapshot(ctx)
	if err != nil {
		return 0, err
	}
	if err := stream.Send(&coordpb.SnapshotChunk{Message: message}); err != nil {
		return 0, endOf(stream, err)
	}
	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(sum, chunkWriter{stream}), chunkBytes)
	if sent, err = snapshot.WriteTo(w); err == nil {
		err = w.Flush()
	}
	if err != nil {
		return sent, endOf(stream, err)
	}
	if err := stream.Send(&coordpb.SnapshotChunk{Sha256: sum.Sum(nil)}); err != nil {
		return sent, endOf(stream, err)
	}
	_, err = stream.CloseAndRecv()
	return sent, err
}

// encodeSnapshotMessage makes m announce the state that is going to be sent.
func encodeSnapshotMessage(m *raftpb.Message, s Snapshot) ([]byte, error) {
	if asked := m.GetSnapshot().GetMetadata().GetIndex(); s.Index < asked {
		return nil, fmt.Errorf("%w: index %d, asked %d", errOlder, s.Index, asked)
	}
	m = proto.CloneOf(m)
	m.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index:     new(s.Index),
		Term:      new(s.Term),
		ConfState: s.ConfState,
	}}
	return proto.Marshal(m)
}

// chunkWriter sends what is written in chunks of at most chunkBytes.
type chunkWriter struct {
	stream grpc.ClientStreamingClient[coordpb.SnapshotChunk, coordpb.SnapshotInstalled]
}

func (w chunkWriter) Write(data []byte) (int, error) {
	sent := 0
	for chunk := range slices.Chunk(data, chunkBytes) {
		if err := w.stream.Send(&coordpb.SnapshotChunk{Data: chunk}); err != nil {
			return sent, err
		}
		sent += len(chunk)
	}
	return sent, nil
}

// endOf returns why the receiver ended a stream on which Send has failed with
// io.EOF, or err itself where it is something else.
func endOf(stream grpc.ClientStream, err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	if reason := stream.RecvMsg(new(coordpb.SnapshotInstalled)); reason != nil {
		return reason
	}
	return err
}
