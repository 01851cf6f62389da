package peer

import (
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/proto/coordpb"
)

// The bounds of one member's queue. Each lane takes one message whatever its
// size when it is empty. The entries of a queued MsgApp are shared with raft's
// log, so that a full queue costs little memory of its own.
const (
	// bulkMessages and bulkBytes bound MsgApp and MsgProp; what does not fit is dropped.
	bulkMessages = 4096
	bulkBytes    = 64 << 20
	// controlMessages and controlBytes bound all other messages; the oldest give way to newer ones.
	controlMessages = 4096
	controlBytes    = 4 << 20
	// offlineMessages of the control lane wait for the member while it is not
	// connected, so that the first votes after a start are not lost.
	offlineMessages = 16
	// batchBytes is about the most that goes out as one MessageBatch; it is what a
	// heartbeat may have to wait for.
	batchBytes = 256 << 10
)

type messageStream = grpc.ClientStreamingClient[coordpb.MessageBatch, coordpb.MessagesEnd]

// queue holds the messages waiting for one member, and the stream they go to.
type queue struct {
	mu      sync.Mutex
	changed sync.Cond
	control lane
	bulk    lane
	stream  messageStream // nil while not connected
	since   time.Time     // when stream came
	closed  bool
}

func newQueue() *queue {
	q := &queue{}
	q.changed.L = &q.mu
	return q
}

// put queues those of msgs that are for the member id, other than MsgSnap, and
// reports whether it had to drop a message that raft ought to know of.
func (q *queue) put(msgs []*raftpb.Message, id uint64) (dropped bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	queued := false
	for _, m := range msgs {
		if m.GetTo() != id || m.GetType() == raftpb.MsgSnap {
			continue
		}
		if q.putOne(withSize(m)) {
			queued = true
		} else {
			dropped = true
		}
	}
	if queued {
		q.changed.Signal()
	}
	return dropped
}

func (q *queue) putOne(e queued) bool {
	if isBulk(e.message) {
		if q.stream == nil || !q.bulk.fits(e, bulkMessages, bulkBytes) {
			return false
		}
		q.bulk.push(e)
		return true
	}
	limit := controlMessages
	if q.stream == nil {
		limit = offlineMessages
	}
	for !q.control.fits(e, limit, controlBytes) {
		q.control.pop()
	}
	q.control.push(e)
	return true
}

// next waits for messages and a stream to send them on, and takes about
// batchBytes of them; nil once the queue is closed.
func (q *queue) next() (messageStream, []*raftpb.Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && (q.stream == nil || len(q.control.waiting)+len(q.bulk.waiting) == 0) {
		q.changed.Wait()
	}
	if q.closed {
		return nil, nil
	}
	var batch []*raftpb.Message
	bytes := 0
	for _, l := range []*lane{&q.control, &q.bulk} {
		for len(l.waiting) > 0 && (bytes == 0 || bytes+l.waiting[0].size <= batchBytes) {
			e := l.pop()
			batch = append(batch, e.message)
			bytes += e.size
		}
	}
	return q.stream, batch
}

// attach sends what comes to stream from now on.
func (q *queue) attach(stream messageStream, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stream, q.since = stream, now
	q.changed.Signal()
}

// detach stops sending if stream is the one in use. Entries waiting for it go
// too: those before them are lost, so the member would refuse them.
func (q *queue) detach(stream messageStream) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stream != stream {
		return
	}
	q.stream, q.since = nil, time.Time{}
	q.bulk = lane{}
	for len(q.control.waiting) > offlineMessages {
		q.control.pop()
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}

func (q *queue) activeSince() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.since
}

// isBulk says which messages can be large: those with log entries. All MsgApp
// share a lane, empty ones too, because a later one builds on an earlier one.
func isBulk(m *raftpb.Message) bool {
	t := m.GetType()
	return t == raftpb.MsgApp || t == raftpb.MsgProp
}

// queued is a message with its encoded size in bytes.
type queued struct {
	message *raftpb.Message
	size    int
}

func withSize(m *raftpb.Message) queued { return queued{message: m, size: proto.Size(m)} }

// lane is a first-in, first-out list that knows its bytes.
type lane struct {
	waiting []queued
	bytes   int
}

func (l *lane) fits(e queued, messages, bytes int) bool {
	return len(l.waiting) == 0 || len(l.waiting) < messages && l.bytes+e.size <= bytes
}

func (l *lane) push(e queued) {
	l.waiting = append(l.waiting, e)
	l.bytes += e.size
}

func (l *lane) pop() queued {
	e := l.waiting[0]
	l.waiting[0] = queued{} // let the entries go
	l.waiting = l.waiting[1:]
	l.bytes -= e.size
	return e
}
