package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is one run of an executable, with a log file.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   *readyLog
	ended chan struct{} // closed when the process has ended
	err   error         // how it ended; read it after ended
}

// startProcess runs an executable until it ends or ctx does; then it is asked to
// stop, and killed when it does not. An interrupt at the keyboard reaches the
// demo alone, so that it decides in which order things end.
func startProcess(ctx context.Context, dir, name, path string, args ...string) (*process, error) {
	file, err := os.OpenFile(filepath.Join(dir, "logs", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, log: &readyLog{file: file, ready: make(chan struct{})}, ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, path, args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		file.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		file.Close()
		close(p.ended)
	}()
	return p, nil
}

// awaitReady returns when the process has said that it serves clients.
func (p *process) awaitReady(ctx context.Context) error {
	select {
	case <-p.log.ready:
		return nil
	case <-p.ended:
		return fmt.Errorf("%s ended before it was ready: %v", p.name, p.cmd.ProcessState)
	case <-ctx.Done():
		return fmt.Errorf("%s: no sign of being ready: %w", p.name, context.Cause(ctx))
	}
}

// kill ends the process as a power cut would.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.ended
	return nil
}

const readyLine = "ready to serve client requests"

// readyLog writes to a file and notices the line that says ready.
type readyLog struct {
	file *os.File

	mu    sync.Mutex
	line  []byte // since the last end of line, as long as not ready
	found bool
	ready chan struct{}
}

func (l *readyLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.found {
		l.line = append(l.line, b...)
		if bytes.Contains(l.line, []byte(readyLine)) {
			l.found, l.line = true, nil
			close(l.ready)
		} else {
			l.line = l.line[bytes.LastIndexByte(l.line, '\n')+1:]
		}
	}
	return l.file.Write(b)
}
