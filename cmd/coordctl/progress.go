package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/cheggaaa/pb/v3"
)

// showElapsed shows on a terminal for how long something has been under way, until stop. Elsewhere it shows nothing.
func showElapsed(w io.Writer, what string) (stop func()) {
	terminal, ok := w.(*os.File)
	if !ok || !isTerminal(terminal) {
		return func() {}
	}
	done := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for start := time.Now(); ; {
			select {
			case now := <-ticker.C:
				fmt.Fprintf(terminal, "\r%s … %.0f s", what, now.Sub(start).Seconds())
			case <-done:
				fmt.Fprint(terminal, "\r\x1b[K") // clear the line
				return
			}
		}
	})
	return func() {
		close(done)
		shown.Wait()
	}
}

// progress shows how much of a known amount of work is done: a bar on a terminal, a line for every tenth elsewhere. Its
// methods are safe for concurrent use.
type progress struct {
	bar *pb.ProgressBar // nil where there is no terminal

	mu          sync.Mutex // guards what follows
	w           io.Writer
	unit        string
	done, total int
}

func newProgress(w io.Writer, total int, unit string) *progress {
	if terminal, ok := w.(*os.File); ok && isTerminal(terminal) {
		return &progress{bar: pb.New(total).SetWriter(w).Start()}
	}
	return &progress{w: w, unit: unit, total: total}
}

func (p *progress) add(n int) {
	if p.bar != nil {
		p.bar.Add(n)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.done * 10 / p.total
	p.done += n
	if p.done*10/p.total > before {
		fmt.Fprintf(p.w, "%d of %d %s\n", p.done, p.total, p.unit)
	}
}

func (p *progress) finish() {
	if p.bar != nil {
		p.bar.Finish()
	}
}
