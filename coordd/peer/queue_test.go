package peer

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

type nullStream struct{ messageStream }

func to(id uint64, kind raftpb.MessageType, index uint64, bytes int) *raftpb.Message {
	return &raftpb.Message{Type: new(kind), To: new(id), Index: new(index), Context: make([]byte, bytes)}
}

func TestQueueCoalescesWhatWaits(t *testing.T) {
	q, stream := newQueue(), &nullStream{}
	q.attach(stream, time.Now())
	for i := range uint64(100) {
		q.put([]*raftpb.Message{to(1, raftpb.MsgApp, i, 1<<10), to(2, raftpb.MsgApp, i, 1<<10)}, 1)
	}
	q.put([]*raftpb.Message{to(1, raftpb.MsgHeartbeat, 7, 0)}, 1)
	got, batch := q.next()
	if got != stream || len(batch) != 101 {
		t.Fatalf("%d messages at once, want all 101", len(batch))
	}
	if batch[0].GetType() != raftpb.MsgHeartbeat {
		t.Errorf("the heartbeat waits behind a %s", batch[0].GetType())
	}
}

func TestQueueBoundsABatch(t *testing.T) {
	q := newQueue()
	q.attach(&nullStream{}, time.Now())
	for i := range uint64(3) {
		q.put([]*raftpb.Message{to(1, raftpb.MsgApp, i, batchBytes)}, 1)
	}
	for i := range uint64(3) {
		if _, batch := q.next(); len(batch) != 1 || batch[0].GetIndex() != i {
			t.Fatalf("batch %d is %v", i, batch)
		}
	}
}

func TestQueueBounds(t *testing.T) {
	q := newQueue()
	q.attach(&nullStream{}, time.Now())
	for i := range uint64(2 * bulkMessages) {
		dropped := q.put([]*raftpb.Message{to(1, raftpb.MsgApp, i, 0)}, 1)
		if dropped != (i >= bulkMessages) {
			t.Fatalf("MsgApp %d dropped: %t", i, dropped)
		}
	}
	for i := range uint64(2 * controlMessages) {
		if q.put([]*raftpb.Message{to(1, raftpb.MsgHeartbeat, i, 0)}, 1) {
			t.Fatalf("heartbeat %d dropped", i)
		}
	}
	if _, batch := q.next(); batch[0].GetIndex() != controlMessages {
		t.Errorf("the oldest heartbeat left is %d, want %d", batch[0].GetIndex(), controlMessages)
	}
	if len(q.control.waiting) > 0 || len(q.bulk.waiting) > bulkMessages {
		t.Errorf("%d and %d messages wait", len(q.control.waiting), len(q.bulk.waiting))
	}
}

func TestQueueBoundsBytes(t *testing.T) {
	q := newQueue()
	q.attach(&nullStream{}, time.Now())
	if q.put([]*raftpb.Message{to(1, raftpb.MsgApp, 1, bulkBytes+1)}, 1) {
		t.Error("a message larger than the bound never gets through")
	}
	if !q.put([]*raftpb.Message{to(1, raftpb.MsgApp, 2, 1)}, 1) {
		t.Error("the queue takes more than its bytes")
	}
}

// A stale stream's end does not take away its successor.
func TestQueueDetachesOnlyItsStream(t *testing.T) {
	q, first, second := newQueue(), &nullStream{}, &nullStream{}
	q.attach(first, time.Now())
	q.put([]*raftpb.Message{to(1, raftpb.MsgApp, 1, 0), to(1, raftpb.MsgVote, 2, 0)}, 1)
	q.detach(first)
	if !q.activeSince().IsZero() || len(q.bulk.waiting) != 0 || len(q.control.waiting) != 1 {
		t.Errorf("after the break: since %v, %d entries, %d others", q.activeSince(), len(q.bulk.waiting), len(q.control.waiting))
	}
	q.attach(second, time.Now())
	q.detach(first)
	if stream, batch := q.next(); stream != second || batch[0].GetType() != raftpb.MsgVote {
		t.Errorf("got %v", batch)
	}
}
