package backend

import (
	"fmt"
	"sync/atomic"
)

// refs counts the holders of a reader: the backend itself, as long as the
// reader is the newest, and everyone it was handed to. Once it is zero it
// stays so.
type refs struct{ n atomic.Int64 }

// acquire adds a holder, unless the last one has gone.
func (r *refs) acquire() bool {
	for {
		n := r.n.Load()
		if n == 0 {
			return false
		}
		if r.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release removes a holder and reports whether it was the last.
func (r *refs) release() bool {
	n := r.n.Add(-1)
	if n < 0 {
		panic(fmt.Sprintf("backend: reader released too often: %d holders", n))
	}
	return n == 0
}
