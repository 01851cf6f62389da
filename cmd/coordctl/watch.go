package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

func newWatchCommand(s *session) *cobra.Command {
	var f watchFlags
	var interactive bool
	cmd := &cobra.Command{
		Use:   "watch <key> [range_end] [-- exec-command arg1 arg2 ...]",
		Short: "Print changes to a key, or to the keys of a range, as they happen",
		Long: `Print changes to a key, or to the keys of a range, as they happen, until interrupted.

With --rev it first prints the changes since that revision, as far as they have not been compacted.

A command after -- runs for each change, one after the other. It finds what has happened in ETCD_WATCH_REVISION,
ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and ETCD_WATCH_VALUE; the last three are quoted as in Go. If it fails, so does watch.

The key can also come from COORDCTL_WATCH_KEY and COORDCTL_WATCH_RANGE_END or from their names with ETCDCTL_.`,
		Example: `  coordctl watch greeting
  coordctl watch --prefix /services/ --rev 1200 -w json
  coordctl watch --prefix /config/ -- systemctl reload web
  echo 'watch --prefix /services/' | coordctl watch -i`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, watchResult{})
			if err != nil {
				return err
			}
			if interactive {
				return s.watchInteractively(cmd, p)
			}
			w, err := f.parse(args, cmd.ArgsLenAtDash())
			if err != nil {
				return err
			}
			return s.watch(cmd, p, w)
		},
	}
	f.bind(cmd.Flags())
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "read from standard input what to watch: lines that are watch commands, or progress")
	return cmd
}

// Ends of the names of variables that say what to watch.
const (
	watchKeyVariable      = "WATCH_KEY"
	watchRangeEndVariable = "WATCH_RANGE_END"
)

// watchFlags are the flags of watch, on the command line and in its interactive mode.
type watchFlags struct {
	keys             keyRange
	rev              int64
	prevKV, progress bool
}

func (f *watchFlags) bind(fs *pflag.FlagSet) {
	f.keys.bindPrefix(fs)
	fs.Int64Var(&f.rev, "rev", 0, "first revision to print; 0 means what happens from now on")
	fs.BoolVar(&f.prevKV, "prev-kv", false, "also print what a key held before each change")
	fs.BoolVar(&f.progress, "progress-notify", false, "also print the revision reached, now and then, while nothing changes")
}

// watch is what to watch and what to do about it.
type watch struct {
	key     string
	opts    []clientv3.OpOption
	command []string // to run for each change; none if empty
}

// parse reads what to watch from the arguments, of which the first dash stood before a --, or all if dash is negative.
func (f *watchFlags) parse(args []string, dash int) (*watch, error) {
	w := new(watch)
	if dash >= 0 {
		args, w.command = args[:dash], args[dash:]
		if len(w.command) == 0 {
			return nil, badArguments("bad number of arguments (found separator --, but no commands)")
		}
	}
	keys, err := watchedByEnvironment(os.Getenv)
	if err != nil {
		return nil, err
	}
	if len(keys) > 0 && len(args) > 0 {
		return nil, badArguments("watch: the key %q of the environment and the arguments %q exclude each other", keys[0], args)
	}
	w.key, w.opts, err = f.keys.parse("watch", append(args, keys...))
	if err != nil {
		return nil, err
	}
	w.opts = append(w.opts, clientv3.WithRev(f.rev))
	if f.prevKV {
		w.opts = append(w.opts, clientv3.WithPrevKV())
	}
	if f.progress {
		w.opts = append(w.opts, clientv3.WithProgressNotify())
	}
	return w, nil
}

// watchedByEnvironment returns the key and the end of the range, if any, that variables name.
func watchedByEnvironment(getenv func(string) string) ([]string, error) {
	for _, prefix := range []string{"COORDCTL_", "ETCDCTL_"} {
		key, end := getenv(prefix+watchKeyVariable), getenv(prefix+watchRangeEndVariable)
		switch {
		case key == "" && end != "":
			return nil, badArguments("%s%s is empty but got %s%s=%q", prefix, watchKeyVariable, prefix, watchRangeEndVariable, end)
		case end != "":
			return []string{key, end}, nil
		case key != "":
			return []string{key}, nil
		}
	}
	return nil, nil
}

// watch prints events until the user interrupts it, which is its normal end, or the server cancels it.
func (s *session) watch(cmd *cobra.Command, p *printer, w *watch) error {
	c, err := s.client(s.endpoints...)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	err = w.follow(ctx, cmd, c, p)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// follow prints the events that come, and runs the command for each, until ctx ends or the server cancels the watch.
func (w *watch) follow(ctx context.Context, cmd *cobra.Command, c *clientv3.Client, p *printer) error {
	canceled := errors.New("no reason given")
	for resp := range c.Watch(clientv3.WithRequireLeader(ctx), w.key, w.opts...) {
		if ctx.Err() != nil {
			return nil
		}
		if resp.Canceled {
			canceled = resp.Err()
		}
		if err := p.print(watchResult{&resp}); err != nil {
			return err
		}
		for _, event := range resp.Events {
			if err := w.run(ctx, cmd, resp.Header.GetRevision(), event); err != nil {
				return err
			}
		}
	}
	return withCode(exitInterrupted, fmt.Errorf("watch is canceled by the server (%w)", canceled))
}

// run runs the command, if there is one, for an event.
func (w *watch) run(ctx context.Context, cmd *cobra.Command, rev int64, event *clientv3.Event) error {
	if len(w.command) == 0 {
		return nil
	}
	child := exec.CommandContext(ctx, w.command[0], w.command[1:]...)
	child.Stdout, child.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	child.Env = append(os.Environ(),
		fmt.Sprintf("ETCD_WATCH_REVISION=%d", rev),
		fmt.Sprintf("ETCD_WATCH_EVENT_TYPE=%q", event.GetType()),
		fmt.Sprintf("ETCD_WATCH_KEY=%q", event.GetKv().GetKey()),
		fmt.Sprintf("ETCD_WATCH_VALUE=%q", event.GetKv().GetValue()))
	if err := child.Run(); err != nil {
		return fmt.Errorf("command %q error (%w)", w.command, err)
	}
	return nil
}

type watchResult struct{ *clientv3.WatchResponse }

func (r watchResult) simple(t *text) {
	if r.IsProgressNotify() {
		t.linef("progress notify: %d", r.Header.GetRevision())
	}
	for _, event := range r.Events {
		t.line(event.GetType().String())
		if kv := event.GetPrevKv(); kv != nil {
			t.pair(kv)
		}
		t.pair(event.GetKv())
	}
}

func (r watchResult) fields(t *text) {
	t.header(r.Header)
	for _, event := range r.Events {
		t.field("Type", event.GetType())
		if kv := event.GetPrevKv(); kv != nil {
			t.keyValue("Prev", kv)
		}
		t.keyValue("", event.GetKv())
	}
}

func (r watchResult) value(bool) any { return r.WatchResponse }

func (r watchResult) message() proto.Message {
	return &pb.WatchResponse{
		Header: r.Header, Events: r.Events, CompactRevision: r.CompactRevision, Canceled: r.Canceled, Created: r.Created,
	}
}
