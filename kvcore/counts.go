package kvcore

import "sync/atomic"

// Counts are what a store has done since it was opened. They begin anew with
// every start, as counters of a process do.
type Counts struct {
	Puts, Deletes, Ranges, Txns uint64 // operations, those within transactions too
	PutBytes                    uint64 // of keys and values
	LeasesGranted, LeasesEnded  uint64
}

// counts are the Counts while they grow.
type counts struct {
	puts, deletes, ranges, txns atomic.Uint64
	putBytes                    atomic.Uint64
	leasesGranted, leasesEnded  atomic.Uint64
}

// Counts returns what the store has done so far.
func (s *Store) Counts() Counts {
	c := &s.counts
	return Counts{
		Puts: c.puts.Load(), Deletes: c.deletes.Load(), Ranges: c.ranges.Load(), Txns: c.txns.Load(),
		PutBytes:      c.putBytes.Load(),
		LeasesGranted: c.leasesGranted.Load(), LeasesEnded: c.leasesEnded.Load(),
	}
}

// Keys returns how many keys there are now.
func (s *Store) Keys() int64 {
	v := s.view.Load()
	return v.index.Count([]byte{0}, []byte{0}, v.revision)
}

// Watchers returns how many cursors are open.
func (s *Store) Watchers() int64 { return s.watchers.count.Load() }
