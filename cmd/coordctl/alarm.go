package main

import (
	"context"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func newAlarmCommand(s *session) *cobra.Command {
	return parent(&cobra.Command{
		Use:   "alarm",
		Short: "Alarms: a member without space, or with data that differ from the others'",
		Long: `Alarms that members have raised. NOSPACE: the store is at its quota, and writes are refused. CORRUPT: a member's
data differ from those of the others. An alarm stays until it is disarmed.`,
		Example: `  coordctl alarm list
  coordctl alarm disarm                     # after making room with del, compaction and defrag`,
	}, newAlarmListCommand(s), newAlarmDisarmCommand(s))
}

func newAlarmListCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the alarms that are raised",
		Example: `  coordctl alarm list`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.alarms(cmd, args, func(ctx context.Context, c *clientv3.Client) (*clientv3.AlarmResponse, error) {
				return c.AlarmList(ctx)
			})
		},
	}
}

func newAlarmDisarmCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "disarm",
		Short:   "Disarm all alarms",
		Long:    `Disarm all alarms, and print them. One whose cause is still there is raised again.`,
		Example: `  coordctl alarm disarm`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.alarms(cmd, args, func(ctx context.Context, c *clientv3.Client) (*clientv3.AlarmResponse, error) {
				return c.AlarmDisarm(ctx, &clientv3.AlarmMember{})
			})
		},
	}
}

func (s *session) alarms(cmd *cobra.Command, args []string, ask func(context.Context, *clientv3.Client) (*clientv3.AlarmResponse, error)) error {
	p, err := s.printer(cmd, alarmResult{})
	if err != nil {
		return err
	}
	if err := noArguments(cmd, args); err != nil {
		return err
	}
	return s.call(cmd, func(ctx context.Context, c *clientv3.Client) error {
		resp, err := ask(ctx, c)
		if err != nil {
			return err
		}
		return p.print(alarmResult{(*pb.AlarmResponse)(resp)})
	})
}

type alarmResult struct{ *pb.AlarmResponse }

func (r alarmResult) simple(t *text) {
	for _, a := range r.GetAlarms() {
		t.linef("memberID:%d alarm:%s", a.GetMemberID(), a.GetAlarm())
	}
}

func (r alarmResult) fields(t *text) {
	t.header(r.GetHeader())
	for _, a := range r.GetAlarms() {
		t.field("MemberID", t.memberID(a.GetMemberID()))
		t.field("AlarmType", a.GetAlarm())
		t.line("")
	}
}

func (r alarmResult) value(bool) any { return r.AlarmResponse }
