package peer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
)

// chunkBytes is the size of the pieces in which a store is sent.
const chunkBytes = 256 << 10

var (
	errOlder = errors.New("the store is older than the snapshot raft asked for")
	errStuck = errors.New("the member makes no progress in taking the store")
)

// sendSnapshots sends the stores that send asks for.
func (s *sender) sendSnapshots() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case m := <-s.snapshots:
			err := s.sendSnapshot(m)
			if err != nil {
				s.log.Warn("sending the store to member failed", "error", err)
			}
			s.sendingSnapshot.Store(false)
			s.config.ReportSnapshot(s.id, err == nil)
		}
	}
}

// sendSnapshot sends the newest store, which may be of a later index than m
// asks for, or what the member lacks of it. It returns nil once the member has that, durably,
// and raft there has the message.
func (s *sender) sendSnapshot(m *raftpb.Message) error {
	snapshot, err := s.config.OpenSnapshot()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer snapshot.Close()
	message, err := encodeSnapshotMessage(m, snapshot)
	if err != nil {
		return err
	}
	delta := s.lacks(snapshot)
	if delta == nil {
		sent, err := s.transfer(&coordpb.SnapshotChunk{Message: message}, snapshot.WriteTo)
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", sent, err)
		}
		s.log.Info("sent the whole store to member", "bytes", sent)
		return nil
	}
	sent, err := s.transfer(&coordpb.SnapshotChunk{Message: message, Delta: true}, delta.WriteTo)
	if err != nil {
		return fmt.Errorf("after %d bytes of %d revisions: %w", sent, delta.Revisions, err)
	}
	s.log.Info("sent what its store lacks to member", "revisions", delta.Revisions, "bytes", sent, "instead_of_bytes", snapshot.Bytes)
	return nil
}

// lacks asks the member what it holds and returns what it lacks of a snapshot,
// nil if it needs the whole or does not answer.
func (s *sender) lacks(snapshot Snapshot) *Delta {
	ctx, cancel := context.WithTimeout(s.withIdentity(s.ctx), s.config.SnapshotTimeout)
	defer cancel()
	r, err := s.client.StorePosition(ctx, &coordpb.StorePositionRequest{})
	if err != nil {
		s.log.Warn("member does not say what it holds; it gets the whole store", "error", err)
		return nil
	}
	return snapshot.Delta(kvcore.Held{Revision: r.GetRevision(), Digest: r.GetDigest()})
}

// transfer sends the first chunk, what writeTo writes, and its checksum, and waits
// until the member has dealt with it.
func (s *sender) transfer(first *coordpb.SnapshotChunk, writeTo func(io.Writer) (int64, error)) (sent int64, err error) {
	ctx, cancel := context.WithCancelCause(s.withIdentity(s.ctx))
	defer cancel(nil) // a store broken off here must end there too
	stuck := time.AfterFunc(s.config.SnapshotTimeout, func() { cancel(errStuck) })
	defer stuck.Stop()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	stream, err := s.client.InstallSnapshot(ctx)
	if err != nil {
		return 0, err
	}
	progress := func() { stuck.Reset(s.config.SnapshotTimeout) }
	if err := stream.Send(first); err != nil {
		return 0, endOf(stream, err)
	}
	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(sum, chunkWriter{stream, progress}), chunkBytes)
	if sent, err = writeTo(w); err == nil {
		err = w.Flush()
	}
	if err != nil {
		return sent, endOf(stream, err)
	}
	if err := stream.Send(&coordpb.SnapshotChunk{Sha256: sum.Sum(nil)}); err != nil {
		return sent, endOf(stream, err)
	}
	progress()
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

// chunkWriter sends what is written in chunks of at most chunkBytes, and tells
// of each that has gone.
type chunkWriter struct {
	stream   grpc.ClientStreamingClient[coordpb.SnapshotChunk, coordpb.SnapshotInstalled]
	progress func()
}

func (w chunkWriter) Write(data []byte) (int, error) {
	sent := 0
	for chunk := range slices.Chunk(data, chunkBytes) {
		if err := w.stream.Send(&coordpb.SnapshotChunk{Data: chunk}); err != nil {
			return sent, err
		}
		sent += len(chunk)
		w.progress()
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
