package rpc

import (
	"context"
	"errors"
	"strings"

	"github.com/coordd/coordd/kvcore/auth"
	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
)

// gatewayHeader is in calls that an HTTP gateway makes: the certificate of its
// connection is its own, not its client's.
const gatewayHeader = "grpcgateway-accept"

// permittedFirst are the calls that are refused before their service sees them.
// All others ask for themselves: writes when they are applied, reads once they
// know the present state.
var permittedFirst = map[string]bool{
	pb.KV_Compact_FullMethodName:             true,
	pb.Cluster_MemberAdd_FullMethodName:      true,
	pb.Cluster_MemberRemove_FullMethodName:   true,
	pb.Cluster_MemberUpdate_FullMethodName:   true,
	pb.Cluster_MemberPromote_FullMethodName:  true,
	pb.Cluster_MemberList_FullMethodName:     true,
	pb.Maintenance_Alarm_FullMethodName:      true,
	pb.Maintenance_Status_FullMethodName:     true,
	pb.Maintenance_Defragment_FullMethodName: true,
	pb.Maintenance_Hash_FullMethodName:       true,
	pb.Maintenance_HashKV_FullMethodName:     true,
	pb.Maintenance_Snapshot_FullMethodName:   true,
	pb.Maintenance_MoveLeader_FullMethodName: true,
	pb.Maintenance_Downgrade_FullMethodName:  true,
}

// permittedForGood are those of permittedFirst of which nobody asks again who
// called when they are applied. This member may lag, or have nothing yet: it must
// not let pass what it has merely not heard to be forbidden. To add and to remove
// members is too, but they look first whether the cluster could bear it, and then
// ask by themselves: see permitSurely.
var permittedForGood = map[string]bool{
	pb.KV_Compact_FullMethodName:            true,
	pb.Cluster_MemberUpdate_FullMethodName:  true,
	pb.Cluster_MemberPromote_FullMethodName: true,
}

// changesAlarms tells what else nobody asks about again: that alarms stand anyone
// may hear.
func changesAlarms(req any) bool {
	r, ok := req.(*pb.AlarmRequest)
	return ok && r.GetAction() != pb.AlarmRequest_GET
}

// permitCall refuses a call of permittedFirst that its user may not make. The
// request of a stream is not known yet.
func (s *Server) permitCall(ctx context.Context, method string, req any) error {
	m, _ := req.(proto.Message)
	if permittedForGood[method] || changesAlarms(req) {
		return s.permitSurely(ctx, m)
	}
	if !permittedFirst[method] {
		return nil
	}
	return s.permitHere(ctx, m)
}

// permitSurely refuses what the caller may not do by the users and roles that the
// cluster has, not merely by those that this member knows of.
func (s *Server) permitSurely(ctx context.Context, r proto.Message) error {
	if err := s.Node.ReadIndex(ctx); err != nil {
		return err
	}
	return s.permitHere(ctx, r)
}

func (s *Server) permitHere(ctx context.Context, r proto.Message) error {
	if !s.Store.Auth().Enabled() {
		return nil
	}
	_, err := s.permit(ctx, r)
	return err
}

// permit says whether the caller may make a request, by the users and roles as
// they are now, and returns those.
func (s *Server) permit(ctx context.Context, r proto.Message) (*auth.Table, error) {
	id, err := s.identify(ctx)
	if err != nil {
		return nil, err
	}
	table := s.Store.Auth()
	if !table.Enabled() {
		return table, nil
	}
	return table, s.Store.Permit(table, id, r)
}

// read reads what the caller may read. Where the users change meanwhile it
// fails: what was read may be younger than what was permitted.
func (s *Server) read(ctx context.Context, r proto.Message, read func() error) error {
	table, err := s.permit(ctx, r)
	if err != nil {
		return err
	}
	if err := read(); err != nil {
		return err
	}
	return s.unchanged(table)
}

// unchanged fails where the users are others than those of the table.
func (s *Server) unchanged(table *auth.Table) error {
	if now := s.Store.Auth(); now.Enabled() && (!table.Enabled() || now.Revision() != table.Revision()) {
		return auth.ErrOldRevision
	}
	return nil
}

// onBehalf returns the command for a write that the caller asks for: without
// authentication the request itself, unless members make such requests too. A
// caller's must not pass for one of those where authentication is on already
// and this member has yet to learn of it.
func (s *Server) onBehalf(ctx context.Context, r proto.Message) (proto.Message, error) {
	if !s.Store.Auth().Enabled() && !madeByMembers(r) {
		return r, nil
	}
	id, err := s.identifyCaller(ctx)
	if err != nil {
		return nil, err
	}
	return coordpb.OnBehalf(id.User, id.Revision, r)
}

func madeByMembers(r proto.Message) bool {
	switch r.(type) {
	case *pb.CompactionRequest, *pb.AlarmRequest:
		return true
	}
	return false
}

// identifyCaller is identify of calls that need somebody where authentication
// is on.
func (s *Server) identifyCaller(ctx context.Context) (auth.Identity, error) {
	id, err := s.identify(ctx)
	if err != nil {
		return id, err
	}
	return id, s.Store.Auth().PermitKnown(id)
}

// identify returns who makes a call: by the token in its metadata, or else by
// the certificate of its connection; or for whom this member itself makes it.
// Without authentication it is nobody.
func (s *Server) identify(ctx context.Context) (auth.Identity, error) {
	table := s.Store.Auth() // before the token is looked at: a change may end it
	if !table.Enabled() {
		return auth.Identity{}, nil
	}
	if user, ok := ctx.Value(actingFor{}).(string); ok {
		return auth.Identity{User: user, Revision: table.Revision()}, nil
	}
	if text, ok := tokenOf(ctx); ok {
		return s.identifyToken(ctx, text, table)
	}
	if name, ok := commonName(ctx); ok && s.ClientCertAuth {
		return auth.Identity{User: name, Revision: table.Revision()}, nil
	}
	return auth.Identity{}, nil
}

// identifyToken returns whom a token stands for, or ErrInvalidToken. One that
// another member has assigned may not have arrived here yet.
func (s *Server) identifyToken(ctx context.Context, text string, table *auth.Table) (auth.Identity, error) {
	id, ok := s.Tokens.Identify(text, table.Revision())
	if !ok && s.Tokens.Replicated() {
		if err := s.Node.ReadIndex(ctx); err != nil {
			return auth.Identity{}, err
		}
		id, ok = s.Tokens.Identify(text, s.Store.Auth().Revision())
	}
	if !ok {
		return auth.Identity{}, auth.ErrInvalidToken
	}
	return id, nil
}

// tokenOf returns the token in a call's metadata, as gRPC clients and HTTP
// gateways put it there.
func tokenOf(ctx context.Context) (string, bool) {
	for _, field := range [...]string{rpctypes.TokenFieldNameGRPC, rpctypes.TokenFieldNameSwagger} {
		if values := metadata.ValueFromIncomingContext(ctx, field); len(values) > 0 {
			return strings.TrimPrefix(values[0], "Bearer "), true
		}
	}
	return "", false
}

// commonName returns that of the verified certificate that the caller has
// shown, unless the caller is a gateway.
func commonName(ctx context.Context) (string, bool) {
	if len(metadata.ValueFromIncomingContext(ctx, gatewayHeader)) > 0 {
		return "", false
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return "", false
	}
	for _, chain := range info.State.VerifiedChains {
		if len(chain) > 0 {
			return chain[0].Subject.CommonName, true
		}
	}
	return "", false
}

// isRefusal tells errors that say who may do what from those of finding out.
func isRefusal(err error) bool {
	for _, refusal := range [...]error{auth.ErrDenied, auth.ErrInvalidToken, auth.ErrOldRevision, auth.ErrUserEmpty} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}
