package kvcore

import (
	"bytes"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
)

// Restore wakes cursors that wait for a future revision. One that falls asleep
// again beside the writer still shows nothing before its start.
func TestFutureCursorAfterRestore(t *testing.T) {
	put := []proto.Message{&pb.PutRequest{Key: []byte("a")}}
	other, err := Open(backend.NewMemory(), Defaults())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.Apply(1, 1, put)
	flush(t, other)
	snap, err := other.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	var file bytes.Buffer
	if _, err := snap.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	b, err := backend.RestoreMemory(&file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(backend.NewMemory(), Defaults())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := s.Watch(WatchOptions{Key: []byte("a"), StartRevision: 10}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(b); err != nil {
		t.Fatal(err)
	}
	before := s.view.Load()
	sc := scan{Cursor: c, from: 10, budget: 1, reading: reading{view: before, store: s}}
	if err := sc.run(); err != nil {
		t.Fatal(err)
	}
	c.next = sc.from
	s.Apply(2, 1, put)
	if c.settle(before) {
		t.Fatal("the cursor sleeps")
	}
	if events, _, err := c.Next(1); len(events) > 0 || err != nil {
		t.Errorf("got %v, %v before revision 10", events, err)
	}
	if got := c.Revision(); got != s.Revision() {
		t.Errorf("progress %d, want %d", got, s.Revision())
	}
}

// A cursor that falls asleep while a view is published must see the new one:
// the writer may have looked at it before.
func TestCursorLooksAgainBeforeSleep(t *testing.T) {
	s, err := Open(backend.NewMemory(), Defaults())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put := []proto.Message{&pb.PutRequest{Key: []byte("a")}}
	c, err := s.Watch(WatchOptions{Key: []byte("a")}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(1, 1, put)
	before := s.view.Load() // what the cursor has read when the writer goes on
	s.Apply(2, 1, put)      // does not mark the cursor: it is awake
	c.next = before.revision + 1
	if c.settle(before) {
		t.Fatal("the cursor sleeps")
	}
	if events, _, err := c.Next(1 << 20); len(events) != 1 || err != nil {
		t.Errorf("got %v, %v, want the second put", events, err)
	}
}
