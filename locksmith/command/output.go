package command

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"github.com/coordd/coordd/locksmith/line"
)

// Bounds of what is kept and passed on of one run's output. The rest is read and thrown away, so that the program goes on.
const (
	MaxOutput = 64 << 10 // bytes kept of output, and of errors
	MaxLine   = 1 << 10  // bytes passed on of a line
	MaxLines  = 1000     // lines passed on
)

// maxWords bounds, in bytes, what a message quotes of a program.
const maxWords = 300

// FirstLine is the first line of output that is not blank, fit to be shown: on
// one line, without control characters, at most 300 bytes. It may be empty.
func (r Result) FirstLine() string { return firstLine(r.Stdout) }

// Complaint is the first line of errors, or, where there is none, of output; as FirstLine.
func (r Result) Complaint() string {
	if s := firstLine(r.Stderr); s != "" {
		return s
	}
	return firstLine(r.Stdout)
}

// ExitError tells an exit code that is not the one that was hoped for, with the complaint, if there is one.
func (r Result) ExitError() error {
	if s := r.Complaint(); s != "" {
		return fmt.Errorf("exit code %d: %s", r.ExitCode, s)
	}
	return fmt.Errorf("exit code %d", r.ExitCode)
}

func firstLine(s string) string {
	for text := range strings.Lines(s) {
		if text = strings.TrimSpace(line.Printable(text)); text != "" {
			return strings.ToValidUTF8(text[:min(len(text), maxWords)], "")
		}
	}
	return ""
}

// capture keeps the beginning of one stream and passes its lines on.
type capture struct {
	kept    bytes.Buffer
	partial []byte // of the line that has not ended; never longer than MaxLine
	lines   *lineWriter
}

func (c *capture) Write(p []byte) (int, error) {
	c.kept.Write(p[:min(len(p), MaxOutput-c.kept.Len())])
	c.lines.write(c, p)
	return len(p), nil
}

// lineWriter gives the lines of two streams to one function.
type lineWriter struct {
	line func(string)
	mu   sync.Mutex // guards what follows, and that line is called by one at a time
	told int
}

func (w *lineWriter) write(c *capture, p []byte) {
	if w.line == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.told < MaxLines && len(p) > 0 {
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		c.partial = append(c.partial, line[:min(len(line), MaxLine-len(c.partial))]...)
		if ended {
			w.tell(c)
		}
		p = rest
	}
}

// flush passes on a last line without an end. Nobody writes any more.
func (w *lineWriter) flush(c *capture) {
	if len(c.partial) > 0 && w.told < MaxLines {
		w.tell(c)
	}
}

func (w *lineWriter) tell(c *capture) {
	w.line(strings.TrimRight(line.Printable(string(c.partial)), " "))
	w.told++
	if w.told == MaxLines {
		w.line("(more is not shown)")
	}
	c.partial = c.partial[:0]
}
