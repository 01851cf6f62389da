package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// electTTL is for how many seconds a leader that has crashed stays the leader.
const electTTL = 60

func newElectCommand(s *session) *cobra.Command {
	var listen bool
	cmd := &cobra.Command{
		Use:   "elect <election-name> [proposal]",
		Short: "Stand for election and lead until interrupted, or watch who leads",
		Long: `Stand for election and lead until interrupted, or with --listen watch who leads. A leader prints its key and
proposal; a listener those of each leader. Elections are those of etcdctl and of etcd's client library.`,
		Example: `  coordctl elect scheduler 10.0.0.7:9000
  coordctl elect --listen scheduler`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, rangeResult{})
			if err != nil {
				return err
			}
			switch {
			case len(args) != 1 && len(args) != 2:
				return badArguments("elect needs the name of an election and may have a proposal; it has %d arguments", len(args))
			case len(args) == 1 && !listen:
				return badArguments("no proposal argument but -l not set")
			case len(args) == 2 && listen:
				return badArguments("proposal given but -l is set")
			case listen:
				return s.observe(cmd, p, args[0])
			}
			return s.campaign(cmd, p, args[0], args[1])
		},
	}
	cmd.Flags().BoolVarP(&listen, "listen", "l", false, "print each leader's key and proposal, until interrupted")
	return cmd
}

func (s *session) campaign(cmd *cobra.Command, p *printer, name, proposal string) (err error) {
	h, err := s.holder(cmd, electTTL)
	if err != nil {
		return err
	}
	defer func() { err = h.release(err) }()
	e := concurrency.NewElection(h.keys, name)
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	if err := h.acquire(ctx, func(ctx context.Context) error { return e.Campaign(ctx, proposal) }); err != nil {
		return err
	}
	if err := h.show(ctx, p, e.Key()); err != nil {
		return err
	}
	return lost(h.await(ctx, e.Key(), e.Header().GetRevision()))
}

func (s *session) observe(cmd *cobra.Command, p *printer, name string) (err error) {
	h, err := s.holder(cmd, electTTL) // the library observes with a session only
	if err != nil {
		return err
	}
	defer func() { err = h.release(err) }()
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	for resp := range concurrency.NewElection(h.keys, name).Observe(ctx) {
		if err := p.print(rangeResult{(*pb.RangeResponse)(resp), false}); err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		return errors.New("elect: observer lost")
	}
	return nil
}
