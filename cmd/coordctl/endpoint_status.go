package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (e *endpointCommand) newStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show each member's version, size, role and progress",
		Long: `Show each member's version, size, role and progress. Simple output has a line for each: endpoint, ID,
version, storage version, size of the store, size in use, percentage not in use, quota, whether it leads, whether it is
a learner, Raft term, index and applied index, errors, target of a downgrade and whether one is under way.`,
		Example: `  coordctl endpoint status --cluster -w table`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := e.printer(cmd, statusResult{})
			if err != nil {
				return err
			}
			if err := noArguments(cmd, args); err != nil {
				return err
			}
			var statuses statusResult
			failed, err := e.askEach(cmd, "status", func(ctx context.Context, c *clientv3.Client, endpoint string) error {
				resp, err := c.Status(ctx, endpoint)
				if err == nil {
					statuses = append(statuses, endpointStatus{endpoint, (*pb.StatusResponse)(resp)})
				}
				return err
			})
			if err != nil {
				return err
			}
			if err := p.print(statuses); err != nil {
				return err
			}
			if failed {
				return errReported
			}
			return nil
		},
	}
}

type endpointStatus struct {
	Endpoint string
	Status   *pb.StatusResponse
}

type statusResult []endpointStatus

func (r statusResult) simple(t *text) {
	_, rows := r.table(t)
	for _, row := range rows {
		t.line(strings.Join(row, ", "))
	}
}

func (r statusResult) fields(t *text) {
	for _, e := range r {
		s := e.Status
		t.header(s.GetHeader())
		t.quoted("Version", s.GetVersion())
		t.quoted("StorageVersion", s.GetStorageVersion())
		t.field("DBSize", s.GetDbSize())
		t.field("DBSizeInUse", s.GetDbSizeInUse())
		t.field("DBSizeQuota", s.GetDbSizeQuota())
		t.field("Leader", s.GetLeader())
		t.field("IsLearner", s.GetIsLearner())
		t.field("RaftIndex", s.GetRaftIndex())
		t.field("RaftAppliedIndex", s.GetRaftAppliedIndex())
		t.field("Errors", s.GetErrors())
		t.quoted("Endpoint", e.Endpoint)
		t.quoted("DowngradeTargetVersion", s.GetDowngradeInfo().GetTargetVersion())
		t.field("DowngradeEnabled", s.GetDowngradeInfo().GetEnabled())
		t.line("")
	}
}

func (r statusResult) value(bool) any { return []endpointStatus(r) }

func (r statusResult) table(*text) (header []string, rows [][]string) {
	header = []string{
		"endpoint", "ID", "version", "storage version", "db size", "in use", "percentage not in use", "quota",
		"is leader", "is learner", "raft term", "raft index", "raft applied index", "errors",
		"downgrade target version", "downgrade enabled",
	}
	for _, e := range r {
		s := e.Status
		id := s.GetHeader().GetMemberId()
		rows = append(rows, []string{
			e.Endpoint,
			strconv.FormatUint(id, 16),
			s.GetVersion(),
			s.GetStorageVersion(),
			humanBytes(s.GetDbSize()),
			humanBytes(s.GetDbSizeInUse()),
			percentFree(s.GetDbSize(), s.GetDbSizeInUse()),
			humanBytes(s.GetDbSizeQuota()),
			strconv.FormatBool(s.GetLeader() == id),
			strconv.FormatBool(s.GetIsLearner()),
			strconv.FormatUint(s.GetRaftTerm(), 10),
			strconv.FormatUint(s.GetRaftIndex(), 10),
			strconv.FormatUint(s.GetRaftAppliedIndex(), 10),
			strings.Join(s.GetErrors(), ", "),
			s.GetDowngradeInfo().GetTargetVersion(),
			strconv.FormatBool(s.GetDowngradeInfo().GetEnabled()),
		})
	}
	return header, rows
}

func humanBytes(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

// percentFree rounds what is in use down, as etcdctl does. A store without a size has nothing free.
func percentFree(size, inUse int64) string {
	if size <= 0 {
		return "0%"
	}
	return fmt.Sprintf("%d%%", 100-inUse*100/size)
}
