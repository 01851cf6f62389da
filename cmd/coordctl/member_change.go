package main

import (
	"context"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

func newMemberRemoveCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "remove <memberID>",
		Short:   "Remove a member for good",
		Long:    "Remove a member for good. Its server stops, and its data cannot join again: a member to come back is added as a new one.",
		Example: `  coordctl member remove 8e9e05c52164694d`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.changeMember(cmd, args, "removed from", func(ctx context.Context, c *clientv3.Client, id uint64) (membership, error) {
				resp, err := c.MemberRemove(ctx, id)
				return (*pb.MemberRemoveResponse)(resp), err
			})
		},
	}
}

func newMemberPromoteCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "promote <memberID>",
		Short:   "Give a learner a vote",
		Long:    "Give a learner a vote. It must have caught up with the leader, or the cluster refuses.",
		Example: `  coordctl member promote 8e9e05c52164694d`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.changeMember(cmd, args, "promoted in", func(ctx context.Context, c *clientv3.Client, id uint64) (membership, error) {
				resp, err := c.MemberPromote(ctx, id)
				return (*pb.MemberPromoteResponse)(resp), err
			})
		},
	}
}

func newMemberUpdateCommand(s *session) *cobra.Command {
	var urls string
	cmd := &cobra.Command{
		Use:     "update <memberID>",
		Short:   "Change the addresses at which the other members reach one",
		Example: `  coordctl member update 8e9e05c52164694d --peer-urls=http://10.0.0.5:2380`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := memberArgument(cmd, args); err != nil {
				return err
			}
			peers, err := peerURLs(urls)
			if err != nil {
				return err
			}
			return s.changeMember(cmd, args, "updated in", func(ctx context.Context, c *clientv3.Client, id uint64) (membership, error) {
				resp, err := c.MemberUpdate(ctx, id, peers)
				return (*pb.MemberUpdateResponse)(resp), err
			})
		},
	}
	cmd.Flags().StringVar(&urls, "peer-urls", "", "comma-separated addresses, all of them")
	return cmd
}

// membership is the answer to a change of one member.
type membership interface {
	proto.Message
	GetHeader() *pb.ResponseHeader
	GetMembers() []*pb.Member
}

// changeMember runs a command for the member in args. done tells what has become of it, before the name of the cluster.
func (s *session) changeMember(cmd *cobra.Command, args []string, done string, change func(context.Context, *clientv3.Client, uint64) (membership, error)) error {
	p, err := s.printer(cmd, memberChangedResult{})
	if err != nil {
		return err
	}
	id, err := memberArgument(cmd, args)
	if err != nil {
		return err
	}
	return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
		resp, err := change(ctx, c, id)
		if err != nil {
			return err
		}
		return p.print(memberChangedResult{resp, id, done})
	})
}

type memberChangedResult struct {
	membership
	id   uint64
	done string
}

func (r memberChangedResult) simple(t *text) {
	t.linef("Member %16x %s cluster %16x", r.id, r.done, r.GetHeader().GetClusterId())
}

func (r memberChangedResult) fields(t *text) {
	t.header(r.GetHeader())
	for _, m := range r.GetMembers() {
		t.member(m)
	}
}

func (r memberChangedResult) value(hexIDs bool) any {
	if !hexIDs {
		return r.membership
	}
	return membersJSON(r.GetHeader(), nil, r.GetMembers())
}

func (r memberChangedResult) message() proto.Message { return r.membership }
