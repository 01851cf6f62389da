package rpc

import (
	"context"
	"regexp"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// clusterMinor and downgradeMinor are of the etcd releases 3.x that a cluster
	// serves the API of, and that one of etcd could go back to.
	clusterMinor   = 7
	downgradeMinor = clusterMinor - 1
)

// errNoDowngrade is the answer where etcd would begin to go back a release.
var errNoDowngrade = status.Error(codes.FailedPrecondition,
	"coordd: there is no earlier release of it to go back to; to move to etcd, restore a snapshot there with etcdutl")

// releases matches X.Y and X.Y.Z, perhaps with a suffix.
var releases = regexp.MustCompile(`^(\d{1,9})\.(\d{1,9})(\.\d{1,9}([-+].*)?)?$`)

// Downgrade answers as etcd does, up to the point where that would begin.
func (s *maintenanceServer) Downgrade(ctx context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	switch r.GetAction() {
	case pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE:
		return nil, checkDowngrade(r.GetVersion())
	case pb.DowngradeRequest_CANCEL: // etcd too says yes where there is nothing to cancel
		return &pb.DowngradeResponse{Header: s.header(s.Store.Revision()), Version: "3." + strconv.Itoa(clusterMinor)}, nil
	default:
		return nil, status.Error(codes.Unknown, "etcdserver: unknown method")
	}
}

func checkDowngrade(version string) error {
	m := releases.FindStringSubmatch(version)
	switch {
	case m == nil:
		return rpctypes.ErrGRPCWrongDowngradeVersionFormat
	case m[1] != "3" || m[2] != strconv.Itoa(downgradeMinor):
		return rpctypes.ErrGRPCInvalidDowngradeTargetVersion
	default:
		return errNoDowngrade
	}
}
