package cluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// readyLine is in a server's log once it serves.
const readyLine = "ready to serve client requests"

// Member is one server process, which may be ended and started again.
type Member struct {
	Name, ClientURL, PeerURL string // PeerURL is the one that others dial
	DataDir, LogFile         string

	program    string
	peerListen string
	flags      []string

	mu      sync.Mutex
	process *process // the last one started; nil before
}

type process struct {
	cmd    *exec.Cmd
	ready  chan struct{} // closed when the ready line was seen
	exited chan struct{} // closed when the process has ended
}

// Start runs the member, with further flags for this once. Its log is appended to
// LogFile. It must not be running.
func (m *Member) Start(flags ...string) error {
	log, err := os.OpenFile(m.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("cluster: log of %s: %w", m.Name, err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cluster: log pipe of %s: %w", m.Name, err)
	}
	p := &process{
		cmd:    exec.Command(m.program, slices.Concat(m.flags, flags)...),
		ready:  make(chan struct{}),
		exited: make(chan struct{}),
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	// A member never outlives whoever runs it, and an interrupt at the keyboard
	// reaches that one alone, so that it decides in which order things end.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("cluster: start %s: %w", m.Name, err)
	}
	w.Close()
	m.mu.Lock()
	m.process = p
	m.mu.Unlock()
	go p.follow(r, log)
	return nil
}

// follow copies the log and watches for the ready line until the process ends.
func (p *process) follow(r io.ReadCloser, log io.WriteCloser) {
	defer close(p.exited)
	defer log.Close()
	defer r.Close()
	seen := false
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		io.WriteString(log, line)
		if !seen && strings.Contains(line, readyLine) {
			seen = true
			close(p.ready)
		}
		if err != nil {
			break
		}
	}
	p.cmd.Wait()
}

func (m *Member) current() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process
}

// AwaitReady waits until the running process serves clients.
func (m *Member) AwaitReady(ctx context.Context) error {
	p := m.current()
	select {
	case <-p.ready:
		return nil
	case <-p.exited:
		return fmt.Errorf("cluster: %s ended before it was ready; see %s", m.Name, m.LogFile)
	case <-ctx.Done():
		return fmt.Errorf("cluster: wait for %s: %w; see %s", m.Name, ctx.Err(), m.LogFile)
	}
}

// Exited is closed when the running process has ended.
func (m *Member) Exited() <-chan struct{} { return m.current().exited }

// Kill ends the process with SIGKILL, if one runs, and waits for its end.
func (m *Member) Kill() { m.end(syscall.SIGKILL) }

// Stop ends the process with SIGTERM, if one runs, and waits for its end.
func (m *Member) Stop() { m.end(syscall.SIGTERM) }

func (m *Member) end(sig syscall.Signal) {
	if p := m.current(); p != nil {
		p.cmd.Process.Signal(sig) // fails only where the process has ended
		<-p.exited
	}
}

// ExitCode returns the ended process's exit code; -1 where a signal ended it.
func (m *Member) ExitCode() int { return m.current().cmd.ProcessState.ExitCode() }

// PID returns the running process's id.
func (m *Member) PID() int { return m.current().cmd.Process.Pid }

// CPU returns the processor time that the running process has used.
func (m *Member) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.PID()))
	if err != nil {
		return 0, fmt.Errorf("cluster: processor time of %s: %w", m.Name, err)
	}
	// utime and stime are fields 14 and 15, in ticks of 10 ms; the name in
	// field 2 may hold blanks but ends with the last parenthesis.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("cluster: processor time of %s: %w", m.Name, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
