package wal

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/coordd/coordd/coordd/disk"
)

const (
	segmentExt    = ".wal"
	unfinishedExt = ".tmp"
	zeroChunk     = 1 << 20 // bytes
)

func segmentName(sequence, first uint64) string {
	return fmt.Sprintf("%016x-%016x%s", sequence, first, segmentExt)
}

func parseSegmentName(name string) (sequence, first uint64, ok bool) {
	a, b, ok := strings.Cut(strings.TrimSuffix(name, segmentExt), "-")
	if !ok {
		return 0, 0, false
	}
	sequence, errA := strconv.ParseUint(a, 16, 64)
	first, errB := strconv.ParseUint(b, 16, 64)
	return sequence, first, errA == nil && errB == nil && segmentName(sequence, first) == name
}

var errStopped = errors.New("wal: stopped")

// prepared is a segment in the making: zeros, durable, under a temporary name.
type prepared struct {
	file disk.File
	name string // path
	size int64  // bytes
	err  error
}

// prepare makes a segment of zeros. It gives up with errStopped once stop is closed.
func prepare(fs disk.FS, dir string, sequence uint64, size int64, stop <-chan struct{}) prepared {
	name := path.Join(dir, fmt.Sprintf("%016x%s", sequence, unfinishedExt))
	file, err := fs.Create(name)
	if err != nil {
		return prepared{err: fmt.Errorf("wal: prepare segment: %w", err)}
	}
	p := prepared{file: file, name: name}
	if err := p.extend(size, stop); err != nil {
		return prepared{err: errors.Join(err, p.discard(fs))}
	}
	return p
}

// extend fills p with zeros up to size and makes them durable.
func (p *prepared) extend(size int64, stop <-chan struct{}) error {
	zeros := make([]byte, min(zeroChunk, size-p.size))
	for off := p.size; off < size; off += zeroChunk {
		select {
		case <-stop:
			return errStopped
		default:
		}
		if _, err := p.file.WriteAt(zeros[:min(zeroChunk, size-off)], off); err != nil {
			return fmt.Errorf("wal: prepare segment %s: %w", p.name, err)
		}
	}
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("wal: prepare segment %s: %w", p.name, err)
	}
	p.size = size
	return nil
}

func (p *prepared) discard(fs disk.FS) error {
	return errors.Join(p.file.Close(), fs.Remove(p.name))
}

// roll begins a new segment with room for a frame of frameSize bytes.
func (l *Log) roll(frameSize int64) error {
	sequence := l.header.sequence + 1
	made := l.spare.take(sequence)
	if made.err != nil {
		return made.err
	}
	if need := headerSize + frameSize; need > made.size {
		if err := made.extend(need, nil); err != nil {
			return errors.Join(err, made.file.Close())
		}
	}
	h := &header{
		salt:        l.header.salt,
		sequence:    sequence,
		size:        made.size,
		previousEnd: l.end,
		number:      l.number,
		before:      l.written.last,
		state:       l.written.hard,
		chain:       l.chain,
		metadata:    l.header.metadata,
	}
	old := l.file
	if err := l.activate(made, h); err != nil {
		return errors.Join(err, made.file.Close())
	}
	if err := old.Close(); err != nil {
		return fmt.Errorf("wal: close segment: %w", err)
	}
	return nil
}

// activate gives a prepared segment its header and then its name, both durable, and appends to it from now on.
func (l *Log) activate(p prepared, h *header) error {
	name := path.Join(l.dir, segmentName(h.sequence, h.before.Index+1))
	if _, err := p.file.WriteAt(h.encode(), 0); err != nil {
		return fmt.Errorf("wal: begin segment %s: %w", name, err)
	}
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("wal: begin segment %s: %w", name, err)
	}
	if err := l.fs.Rename(p.name, name); err != nil {
		return fmt.Errorf("wal: begin segment: %w", err)
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return fmt.Errorf("wal: begin segment %s: %w", name, err)
	}
	l.use(p.file, name, h)
	l.segments = append(l.segments, segmentInfo{name: name, last: h.before.Index})
	return nil
}

// use makes an empty segment the active one.
func (l *Log) use(file disk.File, name string, h *header) {
	l.file, l.name, l.header = file, name, h
	l.framing = newFraming(h.salt, h.sequence)
	l.end = headerSize
}

// removeUnfinished deletes segments that were in the making when the process ended.
func removeUnfinished(fs disk.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("wal: list segments: %w", err)
	}
	for _, name := range names {
		if path.Ext(name) != unfinishedExt {
			continue
		}
		if err := fs.Remove(path.Join(dir, name)); err != nil {
			return fmt.Errorf("wal: remove unfinished segment: %w", err)
		}
	}
	return nil
}
