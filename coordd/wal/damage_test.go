package wal

import (
	"bytes"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/coordd/coordd/coordd/disk"
)

// sample is a closed log of several segments, with several frames in the last one.
type sample struct {
	disk              *disk.Memory
	names             []string // paths
	whole, lastGone   *Recovered
	lastFrame, endsAt int64 // of the last segment
}

func newSample(t testing.TB) *sample {
	m := disk.NewMemory()
	l := newLog(t, m, small)
	s := &sample{disk: m}
	var i uint64
	for len(l.segments) < 3 || l.end-headerSize < 300 {
		i++
		s.lastFrame = l.end
		must(t, l.Save(hardOf(1, 1, i-1), entries(i, i, 1), true))
	}
	s.endsAt = l.end
	for _, info := range l.segments {
		s.names = append(s.names, info.name)
	}
	must(t, l.Close())
	s.whole = recovered(hardOf(1, 1, i-1), Position{}, entries(1, i, 1))
	s.lastGone = recovered(hardOf(1, 1, i-2), Position{}, entries(1, i-1, 1))
	return s
}

func readFile(t testing.TB, m *disk.Memory, name string) []byte {
	t.Helper()
	f, err := m.Open(name)
	must(t, err)
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	must(t, f.Close())
	return b
}

func writeFile(t testing.TB, m *disk.Memory, name string, b []byte) {
	t.Helper()
	f, err := m.Open(name)
	must(t, err)
	must(t, f.Truncate(int64(len(b))))
	_, err = f.WriteAt(b, 0)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

// TestEveryByteDamaged flips a bit of each byte of every segment.
func TestEveryByteDamaged(t *testing.T) {
	s := newSample(t)
	active := s.names[len(s.names)-1]
	var repaired, refused int
	for _, name := range s.names {
		good := readFile(t, s.disk, name)
		for off := range int64(len(good)) {
			bad := bytes.Clone(good)
			bad[off] ^= 1 << (off % 8)
			writeFile(t, s.disk, name, bad)
			l, got, err := open(s.disk, dir, small)
			inLastFrame := name == active && off >= s.lastFrame && off < s.endsAt
			switch {
			case errors.Is(err, ErrCorrupt):
				refused++
				if inLastFrame {
					t.Errorf("%s, offset %d: the tail was not repaired: %v", name, off, err)
				}
			case err != nil:
				t.Fatalf("%s, offset %d: %v", name, off, err)
			case inLastFrame:
				repaired++
				if got.TornBytes == 0 {
					t.Errorf("%s, offset %d: the repair is not reported", name, off)
				}
				got.TornBytes = 0
				wantRecovered(t, got, s.lastGone)
			default:
				if tail := name == active && off >= s.endsAt; tail != (got.TornBytes > 0) {
					t.Errorf("%s, offset %d: %d torn bytes", name, off, got.TornBytes)
				}
				got.TornBytes = 0
				wantRecovered(t, got, s.whole)
			}
			if l != nil {
				must(t, l.Close())
			}
			writeFile(t, s.disk, name, good)
		}
	}
	if int64(repaired) != s.endsAt-s.lastFrame || refused < 3*headerSize {
		t.Errorf("%d repaired, %d refused", repaired, refused)
	}
}

// TestDamageIsRefused does worse than a crash can to a log, which must then name the file and the place.
func TestDamageIsRefused(t *testing.T) {
	for _, c := range []struct {
		what   string
		damage func(t *testing.T, s *sample)
		want   string
	}{
		{"frame zeroed in the last segment", func(t *testing.T, s *sample) {
			edit(t, s, 2, func(b []byte) []byte { clear(b[headerSize : headerSize+frameHeader]); return b })
		}, "offset 4096: frame"},
		{"all but the last frame's header zeroed", func(t *testing.T, s *sample) {
			edit(t, s, 2, func(b []byte) []byte {
				clear(b[headerSize:s.lastFrame])
				clear(b[s.lastFrame+frameHeader:])
				return b
			})
		}, "was written after it"},
		{"frames zeroed in a sealed segment", func(t *testing.T, s *sample) {
			edit(t, s, 0, func(b []byte) []byte { clear(b[headerSize:]); return b })
		}, "offset 4096: frame 1"},
		{"segment truncated", func(t *testing.T, s *sample) {
			edit(t, s, 2, func(b []byte) []byte { return b[:headerSize+100] })
		}, "bytes long"},
		{"segment empty", func(t *testing.T, s *sample) {
			edit(t, s, 2, func([]byte) []byte { return nil })
		}, "segment header"},
		{"segment missing", func(t *testing.T, s *sample) { must(t, s.disk.Remove(s.names[1])) }, "sequence 3 follows 1"},
		{"segment twice", func(t *testing.T, s *sample) {
			f, err := s.disk.Create(path.Join(dir, segmentName(2, 999)))
			must(t, err)
			must(t, f.Close())
		}, "sequence 2 follows 2"},
		{"segment under another name", func(t *testing.T, s *sample) {
			must(t, s.disk.Rename(s.names[2], path.Join(dir, segmentName(3, 999))))
		}, "the header is of"},
		{"name not a segment's", func(t *testing.T, s *sample) {
			must(t, s.disk.Rename(s.names[2], path.Join(dir, "3-1.wal")))
		}, "not a segment's name"},
		{"segment of another log", func(t *testing.T, s *sample) {
			writeFile(t, s.disk, s.names[2], readFile(t, newSample(t).disk, s.names[2]))
		}, "of another log"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := newSample(t)
			c.damage(t, s)
			_, _, err := open(s.disk, dir, small)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("open: %v, want ErrCorrupt with %q", err, c.want)
			}
		})
	}
}

func edit(t *testing.T, s *sample, segment int, change func([]byte) []byte) {
	t.Helper()
	writeFile(t, s.disk, s.names[segment], change(readFile(t, s.disk, s.names[segment])))
}

// TestStaleFramesAreNotTaken copies frames of the log, and of another one at the same place, behind the end.
func TestStaleFramesAreNotTaken(t *testing.T) {
	s, other := newSample(t), newSample(t)
	name := s.names[len(s.names)-1]
	good := readFile(t, s.disk, name)
	foreign := readFile(t, other.disk, name)
	longer := slices.Clone(good)
	copy(longer[s.endsAt:], good[headerSize:s.lastFrame])
	fromOther := slices.Clone(good)
	copy(fromOther[s.lastFrame:], foreign[s.lastFrame:s.endsAt])
	for what, c := range map[string]struct {
		content []byte
		want    *Recovered
	}{
		"own":     {longer, s.whole},
		"another": {fromOther, s.lastGone},
	} {
		t.Run(what, func(t *testing.T) {
			writeFile(t, s.disk, name, c.content)
			l, got, err := open(s.disk, dir, small)
			must(t, err)
			if got.TornBytes == 0 {
				t.Error("nothing was repaired")
			}
			got.TornBytes = 0
			wantRecovered(t, got, c.want)
			_, got = reopen(t, l)
			wantRecovered(t, got, c.want)
		})
	}
}

// fuzzSegment is a first segment whose one frame carries payload.
func fuzzSegment(payload []byte) []byte {
	size := int64(headerSize + frameHeader + pad(len(payload)))
	h := &header{salt: 1, sequence: 1, size: size, number: 1}
	frame := make([]byte, size-headerSize)
	copy(frame[frameHeader:], payload)
	newFraming(1, 1).seal(frame, headerSize, 1, len(payload), 0)
	return append(h.encode(), frame...)
}

// FuzzOpen opens arbitrary bytes as a segment, or as the payload of a frame with good checksums.
func FuzzOpen(f *testing.F) {
	s := newSample(f)
	f.Add(readFile(f, s.disk, s.names[0]), false)
	payload := appendEntry(nil, entry(1, 1))
	payload = appendState(payload, hardState{1, 2, 3})
	payload = appendSnapshot(payload, Position{Index: 9, Term: 1})
	f.Add(appendEntry(payload, entry(10, 1)), true)
	f.Fuzz(func(t *testing.T, data []byte, framed bool) {
		if framed {
			data = fuzzSegment(data)
		}
		m := disk.NewMemory()
		must(t, m.MkdirAll(dir))
		name := path.Join(dir, segmentName(1, 1))
		file, err := m.Create(name)
		must(t, err)
		must(t, file.Close())
		writeFile(t, m, name, data)
		l, r, err := open(m, dir, small)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("open: %v", err)
			}
			return
		}
		next := r.Snapshot.Index
		for _, e := range r.Entries {
			if next++; e.GetIndex() != next {
				t.Fatalf("entry %d in place of %d", e.GetIndex(), next)
			}
		}
		if next++; next != 0 {
			must(t, l.Save(nil, entries(next, next, 1), true))
			r.Entries = append(r.Entries, entry(next, 1))
		}
		r.TornBytes = 0
		_, again := reopen(t, l)
		wantRecovered(t, again, r)
	})
}
