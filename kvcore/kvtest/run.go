package kvtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/lease"
)

// Crasher opens a store's backend again as a crash leaves it: as of the last
// flush. It closes the store.
type Crasher func(s *kvcore.Store) (backend.Backend, error)

// Run is a random life of a store, beside a model and a twin that never flushes,
// compacts physically or crashes.
type Run struct {
	Store *kvcore.Store
	Twin  *kvcore.Store
	Model *Model
	Crash Crasher
	// Tamper, if set, may change what the store answers before it is compared:
	// for tests of the comparison.
	Tamper func(response proto.Message)

	random  *rand.Rand
	options kvcore.Options
	term    uint64
	log     []logged
	cursors []*watch
}

// logged is an entry of the log with what came of it.
type logged struct {
	index, term uint64
	reqs        []proto.Message
	results     []kvcore.Result
	confState   *raftpb.ConfState // of the members after a change of the configuration; nil for ordinary entries
}

// watch is a cursor and what it has shown.
type watch struct {
	*kvcore.Cursor
	options kvcore.WatchOptions
	next    int64 // first revision not yet shown
	early   bool  // opened below the compact revision
	ready   bool
}

// NewRun begins with a store over the backend.
func NewRun(seed uint64, b backend.Backend, crash Crasher) (*Run, error) {
	r := &Run{Model: NewModel(), Crash: crash, term: 1, random: rand.New(rand.NewPCG(seed, 0))}
	// Some runs keep almost nothing in memory, so that most is read back.
	r.options = kvcore.Options{RecentEvents: r.random.IntN(2) * 1000, RecentBytes: 1 << 20}
	var err error
	if r.Store, err = kvcore.Open(b, r.options); err != nil {
		return nil, err
	}
	r.Twin, err = kvcore.Open(backend.NewMemory(), kvcore.Defaults())
	return r, err
}

// Close closes both stores.
func (r *Run) Close() error { return errors.Join(r.Store.Close(), r.Twin.Close()) }

// Commands applies n random commands, with everything else that happens to a
// store in between. It returns the first difference between store and model.
func (r *Run) Commands(n int) error {
	g := &Generator{Rand: r.random, Model: r.Model, Term: r.term}
	for done := 0; done < n; {
		g.Term += uint64(r.random.IntN(40) / 39)
		r.term = g.Term
		size, err := r.entry(g)
		if err != nil {
			return fmt.Errorf("after %d commands: %w", done, err)
		}
		done += size
		if err := r.disturb(g); err != nil {
			return fmt.Errorf("after %d commands: %w", done, err)
		}
	}
	return r.compareAll()
}

// expected is an entry with what the model answers.
type expected struct {
	logged
	want []kvcore.Result
}

// generate draws the next entry and applies it to the model.
func (r *Run) generate(g *Generator) expected {
	if r.random.IntN(50) == 0 {
		return r.generateChange(g)
	}
	e := expected{logged: logged{index: uint64(len(r.log) + 1), term: g.Term}}
	for range r.random.IntN(6) {
		req := g.Command()
		e.reqs = append(e.reqs, req)
		e.want = append(e.want, r.Model.Apply(g.Term, req))
	}
	return e
}

func (r *Run) entry(g *Generator) (size int, err error) {
	revision, compact := r.Model.Revision, r.Model.Compact
	e := r.generate(g)
	e.results = e.apply(r.Store)
	for i, got := range e.results {
		if r.Tamper != nil && got.Err == nil {
			r.Tamper(got.Response)
		}
		if err := Compare(got, e.want[i]); err != nil {
			return 0, fmt.Errorf("command %d of entry %d (revision %d before, compacted %d): %T %v: %w",
				i, e.index, revision, compact, e.reqs[i], e.reqs[i], err)
		}
	}
	e.apply(r.Twin)
	r.log = append(r.log, e.logged)
	return len(e.reqs), nil
}

// Compare returns an error if two results differ.
func Compare(got, want kvcore.Result) error {
	switch {
	case got.Err != nil || want.Err != nil:
		if !errors.Is(got.Err, want.Err) || want.Err == nil {
			return fmt.Errorf("got error %v, want %v", got.Err, want.Err)
		}
	case !proto.Equal(got.Response, want.Response):
		return fmt.Errorf("got %v\nwant %v", got.Response, want.Response)
	}
	return nil
}

// disturb does what goes on beside commands.
func (r *Run) disturb(g *Generator) error {
	switch n := r.random.IntN(200); {
	case n < 20:
		_, err := r.Store.Flush()
		return err
	case n < 60:
		r.Store.CompactStep(1 + r.random.IntN(8))
		return nil
	case n < 90:
		return r.openCursor(g)
	case n < 150:
		return r.pull(r.random.IntN(1 + len(r.cursors)))
	case n < 180:
		return r.compareRange(g.Range())
	case n < 182:
		return r.restart()
	case n < 184:
		return r.install(g)
	case n < 188:
		return r.compareHash(g.revision())
	case n < 190:
		return r.compareState()
	}
	return nil
}

func (r *Run) compareRange(req *pb.RangeRequest) error {
	var got, want kvcore.Result
	got.Response, got.Err = r.Store.Range(context.Background(), req)
	want.Response, want.Err = r.Model.Range(req)
	if r.Tamper != nil && got.Err == nil {
		r.Tamper(got.Response)
	}
	if err := Compare(got, want); err != nil {
		return fmt.Errorf("range %v: %w", req, err)
	}
	return nil
}

// compareAll reads every revision that can be read, and pulls all cursors.
func (r *Run) compareAll() error {
	for rev := max(1, r.Model.Compact); rev <= r.Model.Revision; rev++ {
		if err := r.compareRange(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev}); err != nil {
			return err
		}
	}
	for i := len(r.cursors); i > 0; i-- {
		if err := r.pull(i - 1); err != nil {
			return err
		}
	}
	return errors.Join(r.compareState(), r.compareHash(0))
}

func (r *Run) compareState() error {
	if got, want := r.Store.Revision(), r.Model.Revision; got != want {
		return fmt.Errorf("revision %d, want %d", got, want)
	}
	if got, want := r.Store.CompactRevision(), r.Model.Compact; got != want {
		return fmt.Errorf("compact revision %d, want %d", got, want)
	}
	var ids []lease.ID
	for _, id := range slices.Sorted(maps.Keys(r.Model.Leases)) {
		ids = append(ids, lease.ID(id))
		l, _ := r.Store.Leases().Lookup(lease.ID(id))
		if got, want := l.TTLSeconds, r.Model.Leases[id]; got != want {
			return fmt.Errorf("lease %d has TTL %d, want %d", id, got, want)
		}
		if got, want := l.RemainingSeconds, r.Model.Left[id]; got != want {
			return fmt.Errorf("lease %d has %d s left, want %d", id, got, want)
		}
		if got, want := r.Store.Leases().Keys(lease.ID(id)), r.Model.LeaseKeys(id); !slices.Equal(got, want) {
			return fmt.Errorf("lease %d has keys %q, want %q", id, got, want)
		}
	}
	if got := r.Store.Leases().List(); !slices.Equal(got, ids) {
		return fmt.Errorf("leases %v, want %v", got, ids)
	}
	if err := r.compareMembers(); err != nil {
		return err
	}
	return r.compareUsers()
}

func (r *Run) compareHash(rev int64) error {
	got, err := r.Store.HashKV(rev)
	want, wantErr := r.Twin.HashKV(rev)
	if got != want || !errors.Is(err, wantErr) {
		return fmt.Errorf("hash at %d: %+v, %v, and of the twin %+v, %v", rev, got, err, want, wantErr)
	}
	return nil
}

func (r *Run) openCursor(g *Generator) error {
	w := &watch{options: g.Watch()}
	w.next = w.options.StartRevision
	if w.next == 0 {
		w.next = r.Model.Revision + 1
	}
	w.early = w.options.StartRevision > 0 && w.next < r.Model.Compact
	r.cursors = append(r.cursors, w)
	return r.watch(w)
}

func (r *Run) watch(w *watch) (err error) {
	w.ready = true
	w.Cursor, err = r.Store.Watch(w.options, func() { w.ready = true })
	return err
}

// pull reads a cursor up to the present and compares what it showed.
func (r *Run) pull(i int) error {
	if i >= len(r.cursors) {
		return nil
	}
	w := r.cursors[i]
	first := w.next
	for more := true; more; {
		var events []*mvccpb.Event
		var err error
		events, more, err = w.Next(r.random.IntN(200))
		if err != nil {
			if !errors.Is(err, kvcore.ErrCompacted) || w.next >= r.Model.Compact {
				return fmt.Errorf("watch %+v at %d, compacted %d: %w", w.options, w.next, r.Model.Compact, err)
			}
			w.Close()
			r.cursors = slices.Delete(r.cursors, i, i+1)
			return nil
		}
		if w.early {
			return fmt.Errorf("watch %+v from below the compact revision is not refused", w.options)
		}
		if len(events) > 0 && !w.ready {
			return fmt.Errorf("watch %+v was not told of %v", w.options, events[0])
		}
		last := w.Revision()
		want := r.Model.Events(w.options, w.next, last)
		if err := compareEvents(events, want); err != nil {
			return fmt.Errorf("watch %+v from %d to %d, compacted %d: %w", w.options, w.next, last, r.Model.Compact, err)
		}
		w.next = max(w.next, last+1)
	}
	w.ready = false
	if got := w.Revision(); got != r.Model.Revision {
		return fmt.Errorf("watch %+v from %d is caught up at %d, want %d", w.options, first, got, r.Model.Revision)
	}
	return nil
}

func compareEvents(got, want []*mvccpb.Event) error {
	if slices.EqualFunc(got, want, func(a, b *mvccpb.Event) bool { return proto.Equal(a, b) }) {
		return nil
	}
	return fmt.Errorf("got %v\nwant %v", got, want)
}

// restart crashes the store, opens it again and applies the rest of the log once
// more, which must give the same answers. Watchers come back where they were.
func (r *Run) restart() error {
	b, err := r.Crash(r.Store)
	if err != nil {
		return err
	}
	if r.Store, err = kvcore.Open(b, r.options); err != nil {
		return err
	}
	if err := r.replay(); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	for _, w := range r.cursors {
		w.options.StartRevision = w.next
		w.early = w.early || w.next < r.Model.Compact
		if err := r.watch(w); err != nil {
			return err
		}
	}
	return r.compareState()
}

func (r *Run) replay() error {
	applied, _ := r.Store.Applied()
	for _, e := range r.log[applied:] {
		for i, got := range e.apply(r.Store) {
			if err := Compare(got, e.results[i]); err != nil {
				return fmt.Errorf("entry %d again, command %d: %w", e.index, i, err)
			}
		}
	}
	return nil
}

// install lets the store miss an entry and be given a snapshot of its twin
// instead, while cursors are open.
func (r *Run) install(g *Generator) error {
	missed := r.generate(g)
	missed.results = missed.apply(r.Twin)
	r.log = append(r.log, missed.logged)
	if _, err := r.Twin.Flush(); err != nil {
		return err
	}
	b, err := copyMemory(r.Twin)
	if err != nil {
		return err
	}
	if err := r.Store.Restore(b); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	// The backend is in memory from here on.
	r.Crash = CrashMemory
	return r.compareState()
}
