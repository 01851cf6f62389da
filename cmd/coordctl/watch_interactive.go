package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// watchInteractively does what the lines of standard input say, until interrupted. Input that ends is an error, as it is
// to etcdctl: the watches end with it.
func (s *session) watchInteractively(cmd *cobra.Command, p *printer) error {
	c, err := s.client(s.endpoints...)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	lines := &lineReader{in: cmd.InOrStdin(), lines: make(chan string)}
	go lines.run(ctx)
	failed := make(chan error)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case line, ok := <-lines.lines:
			if !ok {
				return withCode(exitInvalidInput, fmt.Errorf("error reading watch request line: %w", lines.err))
			}
			if err := interpret(ctx, cmd, c, p, line, failed); err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "Invalid command %s (%v)\n", line, err)
			}
		}
	}
}

// interpret does what a line says. A watch goes on after it, and tells failed should a command that it runs fail.
func interpret(ctx context.Context, cmd *cobra.Command, c *clientv3.Client, p *printer, line string, failed chan<- error) error {
	words, err := splitWords(line)
	if err != nil {
		return err
	}
	switch {
	case len(words) == 0:
		return errors.New("watch and progress supported")
	case words[0] == "progress":
		return c.RequestProgress(clientv3.WithRequireLeader(ctx))
	case words[0] != "watch":
		return errors.New("only support watch")
	}
	w, err := parseWatch(words[1:])
	if err != nil {
		return err
	}
	go func() {
		err := w.follow(ctx, cmd, c, p)
		if coded, ok := errors.AsType[*exitCodeError](err); ok && coded.code == exitInterrupted {
			fmt.Fprintln(cmd.ErrOrStderr(), err) // the other watches go on
		} else if err != nil {
			select {
			case failed <- err:
			case <-ctx.Done():
			}
		}
	}()
	return nil
}

// parseWatch reads the words after watch.
func parseWatch(words []string) (*watch, error) {
	var f watchFlags
	fs := pflag.NewFlagSet("watch", pflag.ContinueOnError)
	fs.Usage = func() {} // the error says enough
	f.bind(fs)
	if err := fs.Parse(words); err != nil {
		return nil, err
	}
	return f.parse(fs.Args(), fs.ArgsLenAtDash())
}

// lineReader hands over the lines of an input.
type lineReader struct {
	in    io.Reader
	lines chan string // closed at the end of the input
	err   error       // what the input ended with, once lines is closed
}

func (r *lineReader) run(ctx context.Context) {
	defer close(r.lines)
	for in := bufio.NewReader(r.in); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			r.err = err
			return
		}
		select {
		case r.lines <- line[:len(line)-1]:
		case <-ctx.Done():
			return
		}
	}
}
