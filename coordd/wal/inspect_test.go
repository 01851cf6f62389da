package wal

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
)

// files copies the sample's segments to what Inspect reads.
func (s *sample) files(t testing.TB) fstest.MapFS {
	dir := fstest.MapFS{"0000000000000009" + unfinishedExt: {}}
	for _, name := range s.names {
		dir[path.Base(name)] = &fstest.MapFile{Data: readFile(t, s.disk, name)}
	}
	return dir
}

// What Inspect reports is what Open recovers.
func TestInspectSeesWhatOpenRecovers(t *testing.T) {
	s := newSample(t)
	var got Recovered
	report, err := Inspect(s.files(t), func(r Record) {
		switch {
		case r.Entry != nil:
			got.Entries = append(got.Entries, r.Entry)
		case r.HardState != nil:
			got.HardState = r.HardState
		}
	})
	must(t, err)
	got.Metadata, got.Snapshot, got.TornBytes = report.Metadata, report.Snapshot, report.TornBytes
	if diff := cmp.Diff(s.whole, &got, protocmp.Transform()); diff != "" {
		t.Errorf("(-opened +inspected):\n%s", diff)
	}
	if diff := cmp.Diff(s.whole.HardState, report.HardState, protocmp.Transform()); diff != "" {
		t.Errorf("hard state (-opened +inspected):\n%s", diff)
	}
	last := s.whole.Entries[len(s.whole.Entries)-1]
	if report.Last != (Position{Index: last.GetIndex(), Term: last.GetTerm()}) {
		t.Errorf("last entry %v", report.Last)
	}
	if n := len(report.Segments); n != len(s.names) || report.Segments[n-1].End != s.endsAt {
		t.Errorf("segments %+v", report.Segments)
	}
}

// A torn write is reported and stays; damage elsewhere is found at its place,
// and what was before it is seen.
func TestInspectFindsDamage(t *testing.T) {
	s := newSample(t)
	last := path.Base(s.names[len(s.names)-1])
	for _, tc := range []struct {
		name    string
		segment int
		offset  int64
		says    string // "" where it looks torn
	}{
		{"last frame", len(s.names) - 1, s.lastFrame + frameHeader, ""},
		{"first frame of the last segment", len(s.names) - 1, headerSize, fmt.Sprintf("%s: offset %d", last, headerSize)},
		{"sealed segment", 0, headerSize + frameHeader, fmt.Sprintf("%s: offset %d", path.Base(s.names[0]), headerSize)},
		{"segment header", 1, 20, path.Base(s.names[1]) + ": offset 0: segment header"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := s.files(t)
			dir[path.Base(s.names[tc.segment])].Data[tc.offset] ^= 1
			seen := uint64(0)
			report, err := Inspect(dir, func(r Record) {
				if r.Entry != nil {
					seen = r.Entry.GetIndex()
				}
			})
			if seen != report.Last.Index {
				t.Errorf("visited up to %d, reported %d", seen, report.Last.Index)
			}
			if tc.says == "" {
				if err != nil || report.TornBytes == 0 {
					t.Errorf("torn bytes %d, %v", report.TornBytes, err)
				}
				return
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want one that says %q", err, tc.says)
			}
		})
	}
}

func TestInspectWithoutLog(t *testing.T) {
	report, err := Inspect(fstest.MapFS{}, func(Record) {})
	if err == nil || report == nil {
		t.Errorf("report %v, %v", report, err)
	}
}
