package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newWatchCommand(s *session) *cobra.Command {
	var keys keyRange
	var rev int64
	var prevKV, progress bool
	cmd := &cobra.Command{
		Use:   "watch <key> [range_end]",
		Short: "Print changes to a key, or to the keys of a range, as they happen",
		Long: `Print changes to a key, or to the keys of a range, as they happen, until interrupted.

With --rev it first prints the changes since that revision, as far as they have not been compacted.`,
		Example: `  coordctl watch greeting
  coordctl watch --prefix /services/ --rev 1200 -w json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() > 0 {
				return badArguments("watch runs no command for its events; read them from a pipe: coordctl watch KEY -w json | …")
			}
			key, opts, err := keys.parse("watch", args)
			if err != nil {
				return err
			}
			opts = append(opts, clientv3.WithRev(rev))
			if prevKV {
				opts = append(opts, clientv3.WithPrevKV())
			}
			if progress {
				opts = append(opts, clientv3.WithProgressNotify())
			}
			return s.watch(cmd, key, opts)
		},
	}
	fs := cmd.Flags()
	keys.bindPrefix(fs)
	fs.Int64Var(&rev, "rev", 0, "first revision to print; 0 means what happens from now on")
	fs.BoolVar(&prevKV, "prev-kv", false, "also print what a key held before each change")
	fs.BoolVar(&progress, "progress-notify", false, "also print the revision reached, now and then, while nothing changes")
	return cmd
}

// watch prints events until the user interrupts it, which is its normal end, or the server cancels it.
func (s *session) watch(cmd *cobra.Command, key string, opts []clientv3.OpOption) error {
	p, err := s.printer(cmd, false)
	if err != nil {
		return err
	}
	c, err := s.client(s.endpoints...)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	var canceled error
	for resp := range c.Watch(clientv3.WithRequireLeader(ctx), key, opts...) {
		if ctx.Err() != nil {
			return nil
		}
		if resp.Canceled {
			canceled = resp.Err()
		}
		if err := p.print(watchResult{&resp}); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if canceled == nil {
		canceled = errors.New("no reason given")
	}
	return withCode(exitInterrupted, fmt.Errorf("watch is canceled by the server (%w)", canceled))
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
