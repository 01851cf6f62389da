package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// process is this program once more, in another role. It reads commands as JSON from
// its standard input and answers each on its standard output.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{} // closed when the process has ended

	mu      sync.Mutex // one command at a time
	encoder *json.Encoder
	decoder *json.Decoder
}

// startProcess runs this program in a role. What it says on its standard error is
// appended to <dir>/<name>.log.
func startProcess(dir, name, role string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{name: name, cmd: exec.Command(self, append([]string{role}, args...)...), ended: make(chan struct{})}
	p.cmd.Stderr = log
	// It never outlives the one who runs it, which alone decides when things end.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	stdin, errIn := p.cmd.StdinPipe()
	stdout, errOut := p.cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut, p.cmd.Start()); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.stdin, p.encoder, p.decoder = stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)
	go func() {
		p.cmd.Process.Wait()
		close(p.ended)
	}()
	return p, nil
}

// order sends a command at once, also to a process that is stopped, and returns what
// waits for the answer. There is one order at a time.
func order[C, R any](ctx context.Context, p *process, c C) (await func() (R, error)) {
	p.mu.Lock()
	type outcome struct {
		reply R
		err   error
	}
	done := make(chan outcome, 1)
	sent := p.encoder.Encode(c)
	go func() {
		defer p.mu.Unlock()
		var o outcome
		if o.err = sent; o.err == nil {
			o.err = p.decoder.Decode(&o.reply)
		}
		done <- o
	}()
	return func() (R, error) {
		select {
		case o := <-done:
			if o.err != nil {
				o.err = fmt.Errorf("%s: %w", p.name, o.err)
			}
			return o.reply, o.err
		case <-ctx.Done():
			var none R
			return none, fmt.Errorf("%s does not answer: %w", p.name, context.Cause(ctx))
		}
	}
}

// stop stops the process as SIGSTOP does: it returns when every thread stands still.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	return awaitStopped(p.cmd.Process.Pid)
}

func (p *process) resume() error {
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("resume %s: %w", p.name, err)
	}
	return nil
}

// kill ends the process at once, also one that is stopped.
func (p *process) kill() {
	p.cmd.Process.Kill() // fails only where it has ended
	<-p.ended
}

// awaitStopped waits until a process that was sent SIGSTOP has stopped.
func awaitStopped(pid int) error {
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return fmt.Errorf("wait for process %d to stop: %w", pid, err)
		}
		// The state is the letter after the name in parentheses; see proc(5).
		for i := len(stat) - 1; i >= 0; i-- {
			if stat[i] == ')' && i+2 < len(stat) {
				switch stat[i+2] {
				case 'T':
					return nil
				case 'Z':
					return fmt.Errorf("wait for process %d to stop: it has ended", pid)
				}
				break
			}
		}
	}
}

// serve answers commands until the input ends.
func serve[C, R any](handle func(C) R) int {
	decoder, encoder := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var c C
		if err := decoder.Decode(&c); errors.Is(err, io.EOF) {
			return 0
		} else if err != nil {
			fmt.Fprintln(os.Stderr, "read a command:", err)
			return 1
		}
		if err := encoder.Encode(handle(c)); err != nil {
			fmt.Fprintln(os.Stderr, "answer a command:", err)
			return 1
		}
	}
}
