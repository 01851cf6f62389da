package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newMemberAddCommand(s *session) *cobra.Command {
	var urls string
	var learner bool
	cmd := &cobra.Command{
		Use:   "add <memberName>",
		Short: "Add a member, before its server is started",
		Long: `Add a member, before its server is started. Simple output ends in the settings to start the server with: coordd
takes them as flags or as COORDD_NAME and so on, etcd as ETCD_NAME and so on.

A learner gets all data but has no vote until it is promoted: a member that never starts, or starts slowly, then does
not cost the cluster its majority.`,
		Example: `  coordctl member add n4 --peer-urls=http://10.0.0.4:2380 --learner
  coordctl member add n4 --peer-urls=http://10.0.0.4:2380`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, memberAddedResult{})
			if err != nil {
				return err
			}
			if err := checkMemberName(args); err != nil {
				return err
			}
			peers, err := peerURLs(urls)
			if err != nil {
				return err
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				add := c.MemberAdd
				if learner {
					add = c.MemberAddAsLearner
				}
				resp, err := add(ctx, peers)
				if err != nil {
					return err
				}
				return p.print(memberAddedResult{(*pb.MemberAddResponse)(resp), args[0], urls})
			})
		},
	}
	cmd.Flags().StringVar(&urls, "peer-urls", "", "comma-separated addresses at which the other members reach it")
	cmd.Flags().BoolVar(&learner, "learner", false, "add it as a learner")
	return cmd
}

func checkMemberName(args []string) error {
	switch {
	case len(args) == 0:
		return badArguments("member name not provided")
	case len(args) > 1:
		for _, arg := range args {
			if strings.HasPrefix(strings.ToLower(arg), "http") {
				return badArguments("too many arguments, did you mean --peer-urls=%s", arg)
			}
		}
		return badArguments("too many arguments: a member has one name, not %q", args)
	}
	return nil
}

type memberAddedResult struct {
	*pb.MemberAddResponse
	name string
	urls string // as given
}

func (r memberAddedResult) simple(t *text) {
	as := ""
	if r.GetMember().GetIsLearner() {
		as = "as learner "
	}
	t.linef("Member %16x added %sto cluster %16x", r.GetMember().GetID(), as, r.GetHeader().GetClusterId())
	var cluster []string
	for _, m := range r.GetMembers() {
		name := m.GetName()
		if m.GetID() == r.GetMember().GetID() {
			name = r.name
		}
		for _, u := range m.GetPeerURLs() {
			cluster = append(cluster, fmt.Sprintf("%s=%s", name, u))
		}
	}
	t.line("")
	t.linef("ETCD_NAME=%q", r.name)
	t.linef("ETCD_INITIAL_CLUSTER=%q", strings.Join(cluster, ","))
	t.linef("ETCD_INITIAL_ADVERTISE_PEER_URLS=%q", r.urls)
	t.linef("ETCD_INITIAL_CLUSTER_STATE=%q", "existing")
}

func (r memberAddedResult) fields(t *text) {
	t.header(r.GetHeader())
	t.member(r.GetMember())
}

func (r memberAddedResult) value(hexIDs bool) any {
	if !hexIDs {
		return r.MemberAddResponse
	}
	return membersJSON(r.GetHeader(), r.GetMember(), r.GetMembers())
}
