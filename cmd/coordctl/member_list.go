package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newMemberListCommand(s *session) *cobra.Command {
	var consistency string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the cluster's members",
		Long: `List the cluster's members. Simple output has a line for each: ID, status, name, peer addresses, client
addresses and whether it is a learner.`,
		Example: `  coordctl member list -w table`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := s.printer(cmd, membersResult{})
			if err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			serializable, err := parseConsistency(consistency)
			if err != nil {
				return err
			}
			var opts []clientv3.OpOption
			if serializable {
				opts = append(opts, clientv3.WithSerializable())
			}
			return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
				resp, err := c.MemberList(ctx, opts...)
				if err != nil {
					return clientv3.ContextError(ctx, err)
				}
				return p.print(membersResult{(*pb.MemberListResponse)(resp)})
			})
		},
	}
	cmd.Flags().StringVar(&consistency, "consistency", "l", "l asks the cluster (linearizable); s asks one member, perhaps stale (serializable)")
	return cmd
}

type membersResult struct{ *pb.MemberListResponse }

func (r membersResult) simple(t *text) {
	_, rows := r.table(t)
	for _, row := range rows {
		t.line(strings.Join(row, ", "))
	}
}

func (r membersResult) fields(t *text) {
	t.header(r.GetHeader())
	for _, m := range r.GetMembers() {
		t.member(m)
	}
}

func (r membersResult) table(*text) (header []string, rows [][]string) {
	for _, m := range r.GetMembers() {
		status := "started"
		if m.GetName() == "" {
			status = "unstarted"
		}
		rows = append(rows, []string{
			strconv.FormatUint(m.GetID(), 16), status, m.GetName(),
			strings.Join(m.GetPeerURLs(), ","), strings.Join(m.GetClientURLs(), ","),
			strconv.FormatBool(m.GetIsLearner()),
		})
	}
	return []string{"ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"}, rows
}

func (r membersResult) value(hexIDs bool) any {
	if !hexIDs {
		return r.MemberListResponse
	}
	return membersJSON(r.GetHeader(), nil, r.GetMembers())
}

// member writes a member in the fields format.
func (t *text) member(m *pb.Member) {
	t.field("ID", t.memberID(m.GetID()))
	t.quoted("Name", m.GetName())
	for _, u := range m.GetPeerURLs() {
		t.quoted("PeerURL", u)
	}
	for _, u := range m.GetClientURLs() {
		t.quoted("ClientURL", u)
	}
	t.field("IsLearner", m.GetIsLearner())
	t.line("")
}
