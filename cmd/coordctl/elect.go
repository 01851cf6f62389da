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

// electOptions are the flags of elect.
type electOptions struct {
	listen     bool
	etcdLayout bool
	yield      bool
}

func newElectCommand(s *session) *cobra.Command {
	var o electOptions
	cmd := &cobra.Command{
		Use:   "elect <election-name> [proposal]",
		Short: "Stand for election and lead until interrupted, or watch who leads",
		Long: `Stand for election and lead until interrupted, or with --listen watch who leads. A leader prints its key and
proposal; a listener those of each leader. Elections are those of etcdctl and of etcd's client library.

With --etcd-layout=false it is the election of recipes.NewElection(NAME), and coordctl locks shows who stands. Such a
leader can be asked to resign, by coordctl locks ask NAME --kind election: it says so on standard error, and with
--yield it does.`,
		Example: `  coordctl elect scheduler 10.0.0.7:9000
  coordctl elect --listen scheduler
  coordctl elect --etcd-layout=false --yield scheduler 10.0.0.7:9000`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, rangeResult{})
			if err != nil {
				return err
			}
			switch {
			case len(args) != 1 && len(args) != 2:
				return badArguments("elect needs the name of an election and may have a proposal; it has %d arguments", len(args))
			case o.yield && o.etcdLayout:
				return errYieldLayout
			case len(args) == 1 && !o.listen:
				return badArguments("no proposal argument but -l not set")
			case len(args) == 2 && o.listen:
				return badArguments("proposal given but -l is set")
			case o.listen:
				return s.observe(cmd, p, o, args[0])
			}
			return s.campaign(cmd, p, o, args[0], args[1])
		},
	}
	cmd.Flags().BoolVarP(&o.listen, "listen", "l", false, "print each leader's key and proposal, until interrupted")
	cmd.Flags().BoolVar(&o.etcdLayout, "etcd-layout", true, etcdLayoutUsage)
	cmd.Flags().BoolVar(&o.yield, "yield", false, "resign when somebody asks for that, as coordctl locks ask does")
	cmd.ValidArgsFunction = s.completeHeld(func() string { return "election" })
	return cmd
}

func (s *session) campaign(cmd *cobra.Command, p *printer, o electOptions, name, proposal string) error {
	return s.holding(cmd, electTTL, func(c *clientv3.Client, held *recipes.Session) error {
		ctx, stop := untilInterrupted(cmd.Context())
		defer stop()
		leadership, err := o.election(held, name).Campaign(ctx, proposal)
		if err != nil {
			return interruptedOr(ctx, invalidName(err))
		}
		if err := showHeld(ctx, c, p, leadership.Key()); err != nil {
			return err
		}
		return awaitEnd(ctx, cmd.ErrOrStderr(), leadership, o.yield)
	})
}

func (o *electOptions) election(s *recipes.Session, name string) *recipes.Election {
	return recipes.NewElection(s, name, &recipes.ElectionOptions{EtcdLayout: o.etcdLayout})
}

// observe prints leaders, and nothing while nobody leads.
func (s *session) observe(cmd *cobra.Command, p *printer, o electOptions, name string) error {
	c, err := s.client(s.endpoints...)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := untilInterrupted(cmd.Context())
	defer stop()
	watching := recipes.AttachSession(ctx, c, clientv3.NoLease)
	defer watching.Close()
	for state, err := range o.election(watching, name).Observe(ctx) {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return invalidName(err)
		case state.KV == nil:
			continue
		}
		if err := p.print(rangeResult{&pb.RangeResponse{Header: state.Header, Kvs: []*mvccpb.KeyValue{state.KV}}, false}); err != nil {
			return err
		}
	}
	return nil
}
