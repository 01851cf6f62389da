package disk

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// inode is a file's content, or a directory. Guarded by Memory.mu.
type inode struct {
	dir     bool
	data    []byte // what readers see
	durable []byte // what a crash is sure to leave
	// dirty holds the sectors that differ, by number.
	dirty map[int64]*sector
	// sizes are the lengths since the last Sync.
	sizes []int64
}

// sector is the history of a sector since it was last durable.
type sector struct {
	versions [][]byte // full content after each write, oldest first
	dropped  bool     // a failed Sync gave up on it: no Sync writes it until it is written to again
}

func newFile() *inode { return &inode{dirty: make(map[int64]*sector)} }

func (n *inode) resize(size int64) {
	old := int64(len(n.data))
	if size == old {
		return
	}
	if size < old {
		clear(n.data[size:])
		n.data = n.data[:size]
		n.touch(size, old)
	} else {
		n.data = append(n.data, make([]byte, size-old)...)
	}
	n.sizes = append(n.sizes, size)
}

func (n *inode) write(p []byte, off int64) {
	if end := off + int64(len(p)); end > int64(len(n.data)) {
		n.resize(end)
	}
	copy(n.data[off:], p)
	n.touch(off, off+int64(len(p)))
}

// touch records the present content of the sectors of [from, to).
func (n *inode) touch(from, to int64) {
	if from == to {
		return
	}
	for i := from / SectorSize; i <= (to-1)/SectorSize; i++ {
		s := n.dirty[i]
		if s == nil {
			s = new(sector)
			n.dirty[i] = s
		}
		s.versions = append(s.versions, sectorOf(n.data, i))
		s.dropped = false
	}
}

// sectorOf copies the i-th sector of data, with zeros past its end.
func sectorOf(data []byte, i int64) []byte {
	s := make([]byte, SectorSize)
	if off := i * SectorSize; off < int64(len(data)) {
		copy(s, data[off:])
	}
	return s
}

func (n *inode) sync() {
	n.durable = resized(n.durable, int64(len(n.data)))
	for i, s := range n.dirty {
		if s.dropped {
			continue
		}
		if off := i * SectorSize; off < int64(len(n.data)) {
			copy(n.durable[off:], n.data[off:min(off+SectorSize, int64(len(n.data)))])
		}
		delete(n.dirty, i)
	}
	n.sizes = nil
}

func (n *inode) syncFailed() {
	for _, s := range n.dirty {
		s.dropped = true
	}
}

func resized(b []byte, size int64) []byte {
	if old := int64(len(b)); size > old {
		return append(b, make([]byte, size-old)...)
	}
	clear(b[size:])
	return b[:size]
}

// crash makes one of the contents the power cut may leave both the durable and the visible one.
func (n *inode) crash(rng *rand.Rand) {
	mode := rng.IntN(4) // 0 keeps everything, 1 nothing, else each sector by itself
	sizes := append([]int64{int64(len(n.durable))}, n.sizes...)
	size := sizes[0]
	switch mode {
	case 0:
		size = sizes[len(sizes)-1]
	case 1:
	default:
		size = sizes[rng.IntN(len(sizes))]
	}
	left := resized(n.durable, size)
	for _, i := range slices.Sorted(maps.Keys(n.dirty)) {
		states := append([][]byte{sectorOf(left, i)}, n.dirty[i].versions...)
		content := states[0]
		switch {
		case mode == 0:
			content = states[len(states)-1]
		case mode == 1:
		default:
			content = states[rng.IntN(len(states))]
			if rng.IntN(4) == 0 {
				content = tear(rng, content, states[rng.IntN(len(states))])
			}
		}
		if off := i * SectorSize; off < size {
			copy(left[off:], content)
		}
	}
	n.durable, n.data = left, slices.Clone(left)
	n.dirty, n.sizes = make(map[int64]*sector), nil
}

func tear(rng *rand.Rand, first, second []byte) []byte {
	cut := rng.IntN(SectorSize)
	return slices.Concat(first[:cut], second[cut:])
}
