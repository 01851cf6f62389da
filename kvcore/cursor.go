package kvcore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/index"
)

// WatchOptions say what a cursor shows.
type WatchOptions struct {
	// Key and RangeEnd are those of a range request.
	Key, RangeEnd []byte
	// StartRevision is the first revision to show, maybe a past or a future one.
	// Up to 0 is the one after the current.
	StartRevision int64
	// PrevKV adds to each event the key as it was the revision before, unless
	// that is compacted.
	PrevKV bool
	// NoPut and NoDelete leave events out.
	NoPut, NoDelete bool
}

// Cursor is a place in the history of some keys. It holds no events: Next pulls
// them out of recent memory or the backend. One goroutine at a time may use it.
type Cursor struct {
	store   *Store
	id      uint64
	key     string
	end     string // an empty end is no bound
	single  bool
	options WatchOptions
	start   int64 // options.StartRevision, 0 for the one after the current
	ready   func()

	// wake is 0 while the cursor is caught up, and else a revision from which on
	// there may be something: all before it has been returned or does not match.
	// The writer sets it after publishing a view, and only if it is 0. Next sets
	// it to 0, and then looks again for a newer view: if there is one, it takes
	// back what it did, whatever the writer has set meanwhile.
	wake atomic.Int64

	mu        sync.Mutex
	next      int64 // all before it has been returned
	compacted int64 // not 0 once the cursor has lost its place
	closed    bool
}

// Watch returns a cursor. ready is called when the cursor, having been caught
// up, has something again, from the goroutine that applies: it must not block.
// A cursor with a past StartRevision has something from the beginning, so call
// Next first. ready may be called once more while Close runs.
func (s *Store) Watch(o WatchOptions, ready func()) (*Cursor, error) {
	c := &Cursor{store: s, options: o, single: len(o.RangeEnd) == 0, start: max(o.StartRevision, 0), ready: ready}
	c.key, c.end, _ = rangeOf(o.Key, o.RangeEnd)
	// The order matters: what is published after the view below was loaded finds
	// the cursor registered.
	s.watchers.add(c)
	v := s.view.Load()
	switch {
	case c.start == 0:
		c.next = v.revision + 1
	case c.start <= v.revision:
		if c.start < v.compact {
			c.compacted = v.compact
		}
		c.wake.Store(c.start) // the writer may have marked it with a later revision
	}
	return c, nil
}

// wants reports whether the cursor shows events of this kind.
func (c *Cursor) wants(tombstone bool) bool {
	return tombstone && !c.options.NoDelete || !tombstone && !c.options.NoPut
}

func (c *Cursor) matches(key []byte) bool {
	if c.single {
		return string(key) == c.key
	}
	return string(key) >= c.key && (c.end == "" || string(key) < c.end)
}

// mark notes an event at rev, and reports whether the cursor was caught up.
func (c *Cursor) mark(rev int64) bool {
	return rev >= c.start && c.wake.Load() == 0 && c.wake.CompareAndSwap(0, rev)
}

// Close ends the cursor. Next returns nothing any more.
func (c *Cursor) Close() {
	c.store.watchers.remove(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

// Revision returns the cursor's progress: all matching events at or below it
// have been returned by Next.
func (c *Cursor) Revision() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	notified := c.store.notified.Load() // before wake
	wake := c.wake.Load()
	if wake == 0 {
		return max(notified, c.next-1)
	}
	// A cursor that waits for a future revision may have been woken by Restore.
	return min(max(wake, c.next)-1, c.store.view.Load().revision)
}

// CompactRevision returns where the store was compacted when the cursor lost its
// place, 0 if it has not.
func (c *Cursor) CompactRevision() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.compacted
}

// Next returns the events at the cursor and moves it behind them: whole
// revisions, oldest first, at least one and about maxBytes at most. more reports
// whether Next should be called again; it may be true with no events, since a
// call does a bounded amount of work. No events and more false means that the
// cursor is caught up, and ready will be called.
//
// A cursor opened below the compact revision gets ErrCompacted, and so does one
// that a compaction has overtaken when what it has yet to read has left recent
// memory. The events are shared with other cursors and must not be changed.
func (c *Cursor) Next(maxBytes int) (events []*mvccpb.Event, more bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		wake := c.wake.Load()
		if c.closed || wake == 0 {
			return nil, false, nil
		}
		if c.compacted != 0 {
			return nil, false, ErrCompacted
		}
		v := c.store.view.Load()
		sc := scan{
			Cursor:  c,
			from:    max(c.next, wake),
			budget:  maxBytes,
			reading: reading{view: v, store: c.store},
		}
		err := sc.run()
		sc.close()
		switch {
		case errors.Is(err, errStale):
			if c.store.view.Load() == v {
				return nil, false, ErrClosed
			}
			continue
		case errors.Is(err, ErrCompacted):
			c.compacted = v.compact
			return nil, false, err
		case err != nil:
			return nil, false, err
		}
		c.next = sc.from
		return sc.events, c.next <= v.revision || !c.settle(v), nil
	}
}

// settle makes the cursor one that is caught up with the view. It returns false
// if there is a newer one.
func (c *Cursor) settle(v *view) bool {
	c.wake.Store(0)
	if c.store.view.Load().revision == v.revision {
		return true
	}
	// The writer may have come to the middle of its new entries just when the
	// cursor fell asleep, and have marked it with a later one than the first. A
	// cursor that Restore woke may be before its start.
	c.wake.Store(max(c.next, c.start))
	return false
}

// How many records one call of Next looks at, at most, beside those of the
// revision it is in. Those in the backend must be decoded.
const (
	scanRecent  = 16384
	scanBackend = 2048
)

// scan is one walk of a cursor through the log.
type scan struct {
	*Cursor
	reading
	from   int64 // first revision not yet walked
	budget int   // bytes left
	looked int
	events []*mvccpb.Event
}

func (sc *scan) run() error {
	sc.lowest = max(sc.from-1, sc.compact) // one below for previous values
	if sc.single && sc.from > sc.compact {
		return sc.history()
	}
	if sc.from >= sc.tail.floor {
		return sc.recent()
	}
	if sc.from < sc.compact {
		return ErrCompacted
	}
	return sc.stored()
}

// full reports whether to stop before revision rev, and notes the place if not.
func (sc *scan) full(rev int64, limit int) bool {
	if rev > sc.from {
		if sc.budget <= 0 && len(sc.events) > 0 || sc.looked >= limit {
			sc.from = rev
			return true
		}
		sc.from = rev
	}
	sc.looked++
	return false
}

// history takes the changes of the cursor's one key from the index, which knows all
// that no compaction has touched. So such a cursor catches up without a look at
// what happened to other keys meanwhile.
func (sc *scan) history() (err error) {
	stopped := false
	sc.index.History([]byte(sc.key), sc.from, func(rev index.Revision, tombstone bool) bool {
		if stopped = sc.full(rev.Main, scanBackend); stopped {
			return false
		}
		if sc.wants(tombstone) {
			err = sc.change(rev, tombstone)
		}
		return err == nil
	})
	if err == nil && !stopped {
		sc.from = sc.revision + 1
	}
	return err
}

// change adds the event of one change, which the index knows.
func (sc *scan) change(rev index.Revision, tombstone bool) error {
	if e := sc.tail.find(rev); e != nil {
		event, err := e.asEvent()
		if err != nil {
			return err
		}
		return sc.add(event, rev, len(e.data))
	}
	if err := sc.open(); err != nil {
		return err
	}
	var key [tombstoneBytes]byte
	data := sc.reader.Get(backend.Key, appendRevision(key[:0], rev, tombstone))
	if data == nil {
		return fmt.Errorf("kvcore: no record at revision %d.%d", rev.Main, rev.Sub)
	}
	event, err := newEvent(rev, tombstone, bytes.Clone(data))
	if err != nil {
		return err
	}
	return sc.add(event, rev, len(data))
}

// recent walks the tail.
func (sc *scan) recent() error {
	for i := sc.tail.search(index.Revision{Main: sc.from}); i < sc.tail.next; i++ {
		e := sc.tail.at(i)
		if sc.full(e.rev.Main, scanRecent) {
			return nil
		}
		if !sc.wants(e.tombstone) || !sc.matches(e.key) {
			continue
		}
		event, err := e.asEvent()
		if err != nil {
			return err
		}
		if err := sc.add(event, e.rev, len(e.data)); err != nil {
			return err
		}
	}
	sc.from = sc.revision + 1
	return nil
}

// asEvent returns the entry as all cursors share it.
func (e *entry) asEvent() (*mvccpb.Event, error) {
	if event := e.event.Load(); event != nil {
		return event, nil
	}
	event, err := newEvent(e.rev, e.tombstone, e.data)
	if err == nil {
		e.event.Store(event)
	}
	return event, err
}

// eventParts is an event in one piece.
type eventParts struct {
	event mvccpb.Event
	kv    mvccpb.KeyValue
}

func newEvent(rev index.Revision, tombstone bool, data []byte) (*mvccpb.Event, error) {
	p := &eventParts{}
	if err := decodeKeyValue(&p.kv, data); err != nil {
		return nil, fmt.Errorf("revision %d.%d: %w", rev.Main, rev.Sub, err)
	}
	p.event.Kv = &p.kv
	if tombstone {
		p.event.Type = mvccpb.Event_DELETE
		p.kv.ModRevision = rev.Main
	}
	return &p.event, nil
}

// stored walks the backend up to where the tail begins.
func (sc *scan) stored() error {
	if err := sc.open(); err != nil {
		return err
	}
	var err error
	stopped := false
	var bounds [2 * 8]byte
	from := binary.BigEndian.AppendUint64(bounds[:0], uint64(sc.from))
	to := binary.BigEndian.AppendUint64(from, uint64(sc.tail.floor))[8:]
	sc.reader.Ascend(backend.Key, from, to, func(k, v []byte) bool {
		stopped, err = sc.record(k, v)
		return err == nil && !stopped
	})
	if err == nil && !stopped {
		sc.from = sc.tail.floor
	}
	return err
}

// record looks at one record of the backend.
func (sc *scan) record(k, v []byte) (stopped bool, err error) {
	rev, tombstone, err := parseRevision(k)
	if err != nil {
		return false, err
	}
	if sc.full(rev.Main, scanBackend) {
		return true, nil
	}
	var kv mvccpb.KeyValue
	if err := decodeKeyValue(&kv, v); err != nil {
		return false, fmt.Errorf("revision %d.%d: %w", rev.Main, rev.Sub, err)
	}
	if !sc.wants(tombstone) || !sc.matches(kv.Key) {
		return false, nil
	}
	event, err := newEvent(rev, tombstone, bytes.Clone(v))
	if err != nil {
		return false, err
	}
	return false, sc.add(event, rev, len(v))
}

func (sc *scan) add(event *mvccpb.Event, rev index.Revision, size int) error {
	if sc.options.PrevKV {
		prev, err := sc.before(event.Kv.Key, rev.Main-1)
		if err != nil {
			return err
		}
		if prev != nil {
			event = &mvccpb.Event{Type: event.Type, Kv: event.Kv, PrevKv: prev}
			size += len(prev.Key) + len(prev.Value)
		}
	}
	sc.events = append(sc.events, event)
	sc.budget -= size
	return nil
}

// before returns the key at revision at, nil if it was not there or that is
// compacted.
func (sc *scan) before(key []byte, at int64) (*mvccpb.KeyValue, error) {
	if at < sc.compact {
		return nil, nil
	}
	k, ok := sc.index.Get(key, at)
	if !ok {
		return nil, nil
	}
	kv := new(mvccpb.KeyValue)
	if err := sc.load(kv, k.Modified, false); err != nil {
		return nil, err
	}
	return kv, nil
}
