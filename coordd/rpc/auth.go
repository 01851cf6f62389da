package rpc

import (
	"context"
	"encoding/base64"
	"errors"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/coordd/token"
	"github.com/coordd/coordd/kvcore/auth"
	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// authServer is etcdserverpb.Auth.
type authServer struct {
	pb.UnimplementedAuthServer
	*Server
}

// Authenticate checks a password and returns a token that every member knows.
func (s *authServer) Authenticate(ctx context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	if err := s.Node.ReadIndex(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.RequestTimeout, raftnode.ErrTimeout)
	defer cancel()
	for {
		text, err := s.authenticate(ctx, r)
		switch {
		case errors.Is(err, auth.ErrOldRevision):
			// The users changed after the check, perhaps this password too.
		case err != nil && ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			return nil, err
		default:
			return &pb.AuthenticateResponse{Header: s.header(s.Store.Revision()), Token: text}, nil
		}
	}
}

func (s *authServer) authenticate(ctx context.Context, r *pb.AuthenticateRequest) (string, error) {
	table := s.Store.Auth()
	if err := s.bcrypt.check(ctx, table, r.GetName(), r.GetPassword()); err != nil {
		return "", err
	}
	text, err := s.Tokens.Issue(auth.Identity{User: r.GetName(), Revision: table.Revision()})
	if err != nil || !s.Tokens.Replicated() {
		return text, err
	}
	hash := token.Hash(text)
	_, err = s.Node.Propose(ctx, &coordpb.TokenAssignRequest{
		User: r.GetName(), TokenSha256: hash[:], AuthRevision: table.Revision(),
	})
	return text, err
}

// headed is a response that has a header.
type headed interface {
	proto.Message
	GetHeader() *pb.ResponseHeader
}

// changeUsers replicates a change and completes the header of its response.
func changeUsers[R headed](ctx context.Context, s *authServer, r proto.Message) (R, error) {
	response, err := propose[R](ctx, s.Server, r)
	if err != nil {
		return response, err
	}
	s.fill(response.GetHeader())
	return response, nil
}

func (s *authServer) AuthEnable(ctx context.Context, r *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	return changeUsers[*pb.AuthEnableResponse](ctx, s, r)
}

func (s *authServer) AuthDisable(ctx context.Context, r *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	return changeUsers[*pb.AuthDisableResponse](ctx, s, r)
}

func (s *authServer) UserAdd(ctx context.Context, r *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	r = proto.CloneOf(r)
	if !r.GetOptions().GetNoPassword() {
		hash, err := s.hashPassword(ctx, r.Password)
		if err != nil {
			return nil, err
		}
		r.HashedPassword = hash
	}
	r.Password = ""
	return changeUsers[*pb.AuthUserAddResponse](ctx, s, r)
}

func (s *authServer) UserChangePassword(ctx context.Context, r *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	r = proto.CloneOf(r)
	if r.Password != "" {
		hash, err := s.hashPassword(ctx, r.Password)
		if err != nil {
			return nil, err
		}
		r.HashedPassword, r.Password = hash, ""
	}
	return changeUsers[*pb.AuthUserChangePasswordResponse](ctx, s, r)
}

// hashPassword hashes before the log sees a password: the salt is random, and
// no password shall be in it. A hash is dear, so nobody gets one unnamed.
func (s *authServer) hashPassword(ctx context.Context, password string) (string, error) {
	if _, err := s.identifyCaller(ctx); err != nil {
		return "", err
	}
	hash, err := s.bcrypt.hash(ctx, password)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(hash), nil
}

func (s *authServer) UserDelete(ctx context.Context, r *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	return changeUsers[*pb.AuthUserDeleteResponse](ctx, s, r)
}

func (s *authServer) UserGrantRole(ctx context.Context, r *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	return changeUsers[*pb.AuthUserGrantRoleResponse](ctx, s, r)
}

func (s *authServer) UserRevokeRole(ctx context.Context, r *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	return changeUsers[*pb.AuthUserRevokeRoleResponse](ctx, s, r)
}

func (s *authServer) RoleAdd(ctx context.Context, r *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	return changeUsers[*pb.AuthRoleAddResponse](ctx, s, r)
}

func (s *authServer) RoleDelete(ctx context.Context, r *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	return changeUsers[*pb.AuthRoleDeleteResponse](ctx, s, r)
}

func (s *authServer) RoleGrantPermission(ctx context.Context, r *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	return changeUsers[*pb.AuthRoleGrantPermissionResponse](ctx, s, r)
}

func (s *authServer) RoleRevokePermission(ctx context.Context, r *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	return changeUsers[*pb.AuthRoleRevokePermissionResponse](ctx, s, r)
}

// users returns the present users and roles, if the caller may ask r of them.
func (s *authServer) users(ctx context.Context, r proto.Message) (*auth.Table, error) {
	if err := s.Node.ReadIndex(ctx); err != nil {
		return nil, err
	}
	return s.permit(ctx, r)
}

// AuthStatus answers everyone, but who shows a token must show a good one.
func (s *authServer) AuthStatus(ctx context.Context, r *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	table, err := s.users(ctx, r)
	if err != nil {
		return nil, err
	}
	return &pb.AuthStatusResponse{
		Header:       s.header(s.Store.Revision()),
		Enabled:      table.Enabled(),
		AuthRevision: table.Revision(),
	}, nil
}

func (s *authServer) UserGet(ctx context.Context, r *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	table, err := s.users(ctx, r)
	if err != nil {
		return nil, err
	}
	roles, err := table.RolesOf(r.GetName())
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserGetResponse{Header: s.header(s.Store.Revision()), Roles: roles}, nil
}

func (s *authServer) UserList(ctx context.Context, r *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	table, err := s.users(ctx, r)
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserListResponse{Header: s.header(s.Store.Revision()), Users: table.Users()}, nil
}

func (s *authServer) RoleGet(ctx context.Context, r *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	table, err := s.users(ctx, r)
	if err != nil {
		return nil, err
	}
	permissions, err := table.Permissions(r.GetRole())
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleGetResponse{Header: s.header(s.Store.Revision()), Perm: permissions}, nil
}

func (s *authServer) RoleList(ctx context.Context, r *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	table, err := s.users(ctx, r)
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleListResponse{Header: s.header(s.Store.Revision()), Roles: table.Roles()}, nil
}
