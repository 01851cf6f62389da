package wal

import (
	"errors"
	"sync"

	"github.com/coordd/coordd/coordd/disk"
)

// preparer makes the next segment while the active one is still being filled, one at a time.
type preparer struct {
	fs      disk.FS
	dir     string
	options options

	requested uint64        // the last sequence asked for; owned by the Log, under its mu
	requests  chan uint64   // bound 1
	ready     chan prepared // bound 1: never more than one answer is open
	stopped   chan struct{}
	done      sync.WaitGroup
}

// startPreparer starts the one goroutine of a Log, unless the options say that segments are made on
// demand only.
func startPreparer(fs disk.FS, dir string, o options) *preparer {
	p := &preparer{
		fs: fs, dir: dir, options: o,
		requests: make(chan uint64, 1),
		ready:    make(chan prepared, 1),
		stopped:  make(chan struct{}),
	}
	if o.background {
		p.done.Go(p.run)
	}
	return p
}

func (p *preparer) run() {
	for {
		select {
		case sequence := <-p.requests:
			p.ready <- prepare(p.fs, p.dir, sequence, p.options.segmentSize, p.stopped)
		case <-p.stopped:
			return
		}
	}
}

// request asks for the segment to be made ahead, once.
func (p *preparer) request(sequence uint64) {
	if p.options.background && p.requested != sequence {
		p.requested = sequence
		p.requests <- sequence
	}
}

// take returns the segment, waiting for it if it is in the making, and making it now if it
// was not asked for or could not be made then: a full disk may have room again.
func (p *preparer) take(sequence uint64) prepared {
	if p.requested == sequence {
		if made := <-p.ready; made.err == nil {
			return made
		}
	}
	return prepare(p.fs, p.dir, sequence, p.options.segmentSize, nil)
}

// stop ends the goroutine and deletes what it made for nothing.
func (p *preparer) stop() error {
	close(p.stopped)
	p.done.Wait()
	select {
	case made := <-p.ready:
		if made.err == nil {
			return made.discard(p.fs)
		}
		if !errors.Is(made.err, errStopped) {
			return made.err
		}
	default:
	}
	return nil
}
