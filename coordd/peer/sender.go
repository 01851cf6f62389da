package peer

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/proto/coordpb"
)

// reopenDelay is the pause before a stream is opened again after it broke or was refused.
const reopenDelay = 50 * time.Millisecond

// sender is everything that runs for one other member.
type sender struct {
	id       uint64
	urls     []string
	config   *Config
	log      *slog.Logger
	reports  *reports
	identity metadata.MD
	conn     *grpc.ClientConn
	client   coordpb.PeerClient
	queue    *queue

	addresses addresses // what urls was made of; guarded by Transport.mu

	snapshots       chan *raftpb.Message // at most one waits
	sendingSnapshot atomic.Bool          // one waits or is being sent

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// newSender starts three goroutines: connect keeps a stream open, write feeds
// it, sendSnapshots sends one store at a time beside it.
func newSender(ctx context.Context, c *Config, r *reports, id uint64, urls []string) (*sender, error) {
	conn, err := dial(c.TLS, id, urls)
	if err != nil {
		return nil, err
	}
	s := &sender{
		id:        id,
		urls:      urls,
		config:    c,
		log:       c.Logger.With("peer", hex(id)),
		reports:   r,
		identity:  identity{cluster: c.ClusterID, from: c.MemberID, to: id}.metadata(),
		conn:      conn,
		client:    coordpb.NewPeerClient(conn),
		queue:     newQueue(),
		snapshots: make(chan *raftpb.Message, 1),
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.running.Go(s.connect)
	s.running.Go(s.write)
	s.running.Go(s.sendSnapshots)
	return s, nil
}

func (s *sender) stop() {
	s.cancel()
	s.queue.close()
	s.running.Wait()
	s.conn.Close()
}

func (s *sender) withIdentity(ctx context.Context) context.Context {
	return metadata.NewOutgoingContext(ctx, s.identity)
}

// send takes those of msgs that are for this member. It does not wait.
func (s *sender) send(msgs []*raftpb.Message) {
	for _, m := range msgs {
		if m.GetTo() != s.id || m.GetType() != raftpb.MsgSnap {
			continue
		}
		if !s.sendingSnapshot.CompareAndSwap(false, true) {
			s.reports.snapshotFailed(s.id)
			continue
		}
		s.snapshots <- m
	}
	if s.queue.put(msgs, s.id) {
		s.reports.peerUnreachable(s.id)
	}
}

// connect opens a stream whenever there is none.
func (s *sender) connect() {
	logged := codes.OK // what the log last said about failing to open a stream
	for {
		opened, err := s.stream()
		if s.ctx.Err() != nil {
			return
		}
		s.reports.peerUnreachable(s.id)
		if isRemoved(err) {
			s.config.Removed()
		}
		switch code := status.Code(err); {
		case opened:
			logged = codes.OK
			s.log.Warn("lost connection to member", "error", err)
		case code != logged:
			logged = code
			s.log.Warn("cannot reach member, trying on", "urls", s.urls, "error", err)
		}
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(reopenDelay):
		}
	}
}

// stream opens one stream and attends it until it ends. The member answers
// with its header once it has accepted who calls, and with nothing else before the end.
func (s *sender) stream() (opened bool, err error) {
	ctx, cancel := context.WithCancel(withURLs(s.withIdentity(s.ctx), s.config.URLs()))
	defer cancel()
	stream, err := s.client.Messages(ctx)
	if err != nil {
		return false, err
	}
	header, err := stream.Header()
	if err != nil {
		return false, err
	}
	if header == nil { // the stream has ended without one; the reason comes with RecvMsg
		return false, stream.RecvMsg(new(coordpb.MessagesEnd))
	}
	s.log.Info("connected to member")
	s.queue.attach(stream, time.Now())
	defer s.queue.detach(stream)
	err = stream.RecvMsg(new(coordpb.MessagesEnd))
	if err == nil {
		err = io.EOF
	}
	return true, err
}

// write sends what waits, many messages at a time.
func (s *sender) write() {
	for {
		stream, msgs := s.queue.next()
		if stream == nil {
			return
		}
		if err := stream.Send(encode(msgs)); err != nil {
			s.queue.detach(stream) // connect learns the reason and reports it
		}
	}
}

func encode(msgs []*raftpb.Message) *coordpb.MessageBatch {
	batch := &coordpb.MessageBatch{Messages: make([][]byte, len(msgs))}
	for i, m := range msgs {
		data, err := proto.Marshal(m)
		if err != nil {
			panic("peer: raft message cannot be encoded: " + err.Error())
		}
		batch.Messages[i] = data
	}
	return batch
}
