package main

import (
	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
)

// electTTL is for how many seconds a leader that has crashed stays the leader.
const electTTL = 60

// etcdElection is where etcdctl's elections stand.
var etcdElection = &recipes.ElectionOptions{EtcdLayout: true}

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

func (s *session) campaign(cmd *cobra.Command, p *printer, name, proposal string) error {
	return s.holding(cmd, electTTL, func(c *clientv3.Client, held *recipes.Session) error {
		ctx, stop := untilInterrupted(cmd.Context())
		defer stop()
		leadership, err := recipes.NewElection(held, name, etcdElection).Campaign(ctx, proposal)
		if err != nil {
			return interruptedOr(ctx, err)
		}
		return s.showHeld(ctx, c, p, leadership.Key(), leadership.Context())
	})
}

// observe prints leaders, and nothing while nobody leads.
func (s *session) observe(cmd *cobra.Command, p *printer, name string) error {
	c, err := s.client(s.endpoints...)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	watching := recipes.AttachSession(ctx, c, clientv3.NoLease)
	defer watching.Close()
	for state, err := range recipes.NewElection(watching, name, etcdElection).Observe(ctx) {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case state.KV == nil:
			continue
		}
		if err := p.print(rangeResult{&pb.RangeResponse{Header: state.Header, Kvs: []*mvccpb.KeyValue{state.KV}}, false}); err != nil {
			return err
		}
	}
	return nil
}
