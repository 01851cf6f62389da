package peer

import (
	"context"
	"fmt"
	"strconv"

	"go.etcd.io/raft/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// The metadata keys of every call, hexadecimal.
const (
	clusterKey = "coordd-cluster-id"
	fromKey    = "coordd-from"
	toKey      = "coordd-to"
)

// urlsKey is metadata of Messages alone: where the caller is to be reached.
const urlsKey = "coordd-from-urls-bin"

// identity says who calls whom in which cluster.
type identity struct{ cluster, from, to uint64 }

func hex(id uint64) string { return strconv.FormatUint(id, 16) }

func (i identity) metadata() metadata.MD {
	return metadata.Pairs(clusterKey, hex(i.cluster), fromKey, hex(i.from), toKey, hex(i.to))
}

// withURLs adds to an outgoing call where this member is to be reached.
func withURLs(ctx context.Context, urls []string) context.Context {
	for _, u := range urls {
		ctx = metadata.AppendToOutgoingContext(ctx, urlsKey, u)
	}
	return ctx
}

// incomingIdentity reads the identity of a call that came in.
func incomingIdentity(ctx context.Context) (i identity, err error) {
	md, _ := metadata.FromIncomingContext(ctx)
	for key, id := range map[string]*uint64{clusterKey: &i.cluster, fromKey: &i.from, toKey: &i.to} {
		values := md.Get(key)
		if len(values) != 1 {
			return identity{}, fmt.Errorf("metadata %s: %d values, want one", key, len(values))
		}
		if *id, err = strconv.ParseUint(values[0], 16, 64); err != nil {
			return identity{}, fmt.Errorf("metadata %s: %q is not a hexadecimal id", key, values[0])
		}
	}
	return i, nil
}

// check refuses a call that is not for the member self of the cluster.
func (i identity) check(cluster, self uint64) error {
	switch {
	case i.cluster != cluster:
		return fmt.Errorf("this member is of cluster %x, the caller %x of cluster %x: "+
			"check that both were started with the same --initial-cluster and --initial-cluster-token", cluster, i.from, i.cluster)
	case i.to != self:
		return fmt.Errorf("this is member %x, the caller %x meant %x: check the peer URLs", self, i.from, i.to)
	case i.from == self || i.from == raft.None || raft.IsLocalMsgTarget(i.from):
		return fmt.Errorf("the caller says it is %x, which no other member can be", i.from)
	}
	return nil
}

var errCallerRemoved = status.Error(codes.PermissionDenied, removedText)

// authenticate returns the member that calls. Its errors are statuses.
func (s *Server) authenticate(ctx context.Context) (from uint64, err error) {
	i, err := incomingIdentity(ctx)
	if err == nil {
		err = i.check(s.config.ClusterID, s.config.MemberID)
	}
	if err != nil {
		return 0, status.Error(codes.FailedPrecondition, "peer: "+err.Error())
	}
	if s.config.Removed(i.from) {
		return 0, errCallerRemoved
	}
	return i.from, nil
}
