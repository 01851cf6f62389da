package kvtest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/auth"
	"github.com/coordd/coordd/proto/coordpb"
)

// Users are the users and roles of a Model. What the maps hold is replaced, not
// changed.
type Users struct {
	Enabled  bool
	Revision uint64
	Users    map[string]*authpb.User
	Roles    map[string][]*authpb.Permission
}

func (u *Users) clone() Users {
	return Users{u.Enabled, u.Revision, maps.Clone(u.Users), maps.Clone(u.Roles)}
}

// admit returns the request within another and whether its user may make it.
func (m *Model) admit(req proto.Message) (proto.Message, error) {
	wrapped, ok := req.(*coordpb.UserRequest)
	id := auth.Identity{User: wrapped.GetUser(), Revision: wrapped.GetAuthRevision()}
	if ok {
		inner, err := coordpb.DecodeCommand(wrapped.Command)
		if err != nil {
			return nil, kvcore.ErrMalformed
		}
		req = inner
	}
	if !m.Users.Enabled {
		return req, nil
	}
	switch r := req.(type) {
	case *pb.PutRequest:
		return req, m.mayPut(id, r)
	case *pb.DeleteRangeRequest:
		return req, m.mayDelete(id, r)
	case *pb.TxnRequest:
		return req, m.mayTxn(id, r)
	case *pb.LeaseGrantRequest:
		return req, known(id)
	case *pb.LeaseRevokeRequest:
		if err := known(id); err != nil {
			return req, err
		}
		return req, m.mayLease(id, r.ID)
	case *pb.CompactionRequest, *coordpb.LeaseExpireRequest, *coordpb.LeaseCheckpointRequest, *coordpb.MemberPublishRequest, *coordpb.MemberAddRequest,
		*pb.MemberRemoveRequest, *pb.MemberUpdateRequest, *pb.MemberPromoteRequest:
		if !ok {
			return req, nil
		}
	}
	return req, m.mayAll(id)
}

func known(id auth.Identity) error {
	if id == (auth.Identity{}) {
		return auth.ErrUserEmpty
	}
	return nil
}

func (m *Model) mayAll(id auth.Identity) error {
	u := m.Users.Users[id.User]
	switch {
	case id.User == "":
		return auth.ErrUserEmpty
	case u == nil:
		return auth.ErrUserNotFound
	case !slices.Contains(u.Roles, "root"):
		return auth.ErrDenied
	}
	return nil
}

// may looks whether permissions join to a chain that begins at or before the
// key and ends at or behind the end.
func (m *Model) may(id auth.Identity, write bool, key, end []byte) error {
	switch {
	case id.Revision == 0:
		return auth.ErrUserEmpty
	case id.Revision < m.Users.Revision:
		return auth.ErrOldRevision
	case m.mayAll(id) == nil:
		return nil
	}
	at := string(key)
	for extended := true; extended; {
		extended = false
		for _, role := range m.Users.Users[id.User].GetRoles() {
			for _, p := range m.Users.Roles[role] {
				permitted := p.PermType == authpb.Permission_READWRITE || write == (p.PermType == authpb.Permission_WRITE)
				if !permitted || !Within(at, p.Key, p.RangeEnd) {
					continue
				}
				switch {
				case len(p.RangeEnd) == 0:
					at = string(p.Key) + "\x00"
				case string(p.RangeEnd) == "\x00":
					return nil
				default:
					at = string(p.RangeEnd)
				}
				extended = true
				if string(end) != "\x00" && at >= string(end) {
					return nil
				}
			}
		}
	}
	return auth.ErrDenied
}

func (m *Model) mayPut(id auth.Identity, r *pb.PutRequest) error {
	err := m.may(id, true, r.Key, nil)
	if err == nil && r.Lease != 0 {
		err = m.mayLease(id, r.Lease)
	}
	if err == nil && r.PrevKv {
		err = m.may(id, false, r.Key, nil)
	}
	return err
}

func (m *Model) mayLease(id auth.Identity, lease int64) error {
	if m.mayAll(id) == nil {
		return nil
	}
	for _, key := range m.LeaseKeys(lease) {
		if err := m.may(id, true, []byte(key), nil); err != nil {
			return err
		}
	}
	return nil
}

func (m *Model) mayDelete(id auth.Identity, r *pb.DeleteRangeRequest) error {
	err := m.may(id, true, r.Key, r.RangeEnd)
	if err == nil && r.PrevKv {
		err = m.may(id, false, r.Key, r.RangeEnd)
	}
	return err
}

func (m *Model) mayTxn(id auth.Identity, r *pb.TxnRequest) error {
	for _, c := range r.Compare {
		if err := m.may(id, false, c.Key, c.RangeEnd); err != nil {
			return err
		}
	}
	for _, op := range slices.Concat(r.Success, r.Failure) {
		var err error
		switch op := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			err = m.may(id, false, op.RequestRange.Key, op.RequestRange.RangeEnd)
		case *pb.RequestOp_RequestPut:
			err = m.mayPut(id, op.RequestPut)
		case *pb.RequestOp_RequestDeleteRange:
			err = m.mayDelete(id, op.RequestDeleteRange)
		case *pb.RequestOp_RequestTxn:
			err = m.mayTxn(id, op.RequestTxn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changeUsers applies a command of the Auth service.
func (m *Model) changeUsers(req proto.Message) (response proto.Message, err error) {
	before := m.Users.Revision
	m.Users.Revision++
	switch r := req.(type) {
	case *pb.AuthEnableRequest:
		m.Users.Revision = before
		response, err = &pb.AuthEnableResponse{Header: m.header()}, m.enable()
	case *pb.AuthDisableRequest:
		if !m.Users.Enabled {
			m.Users.Revision = before
		}
		m.Users.Enabled = false
		response = &pb.AuthDisableResponse{Header: m.header()}
	case *pb.AuthUserAddRequest:
		response, err = &pb.AuthUserAddResponse{Header: m.header()}, m.addUser(r)
	case *pb.AuthUserDeleteRequest:
		response, err = &pb.AuthUserDeleteResponse{Header: m.header()}, m.deleteUser(r.Name)
	case *pb.AuthUserChangePasswordRequest:
		response, err = &pb.AuthUserChangePasswordResponse{Header: m.header()}, m.changePassword(r)
	case *pb.AuthUserGrantRoleRequest:
		if slices.Contains(m.Users.Users[r.User].GetRoles(), r.Role) {
			m.Users.Revision = before
		}
		response, err = &pb.AuthUserGrantRoleResponse{Header: m.header()}, m.grantRole(r.User, r.Role)
	case *pb.AuthUserRevokeRoleRequest:
		response, err = &pb.AuthUserRevokeRoleResponse{Header: m.header()}, m.revokeRole(r.Name, r.Role)
	case *pb.AuthRoleAddRequest:
		response, err = &pb.AuthRoleAddResponse{Header: m.header()}, m.addRole(r.Name)
	case *pb.AuthRoleDeleteRequest:
		response, err = &pb.AuthRoleDeleteResponse{Header: m.header()}, m.deleteRole(r.Role)
	case *pb.AuthRoleGrantPermissionRequest:
		response, err = &pb.AuthRoleGrantPermissionResponse{Header: m.header()}, m.grantPermission(r.Name, r.Perm)
	case *pb.AuthRoleRevokePermissionRequest:
		response, err = &pb.AuthRoleRevokePermissionResponse{Header: m.header()}, m.revokePermission(r)
	default:
		return nil, kvcore.ErrMalformed
	}
	return response, err
}

func (m *Model) enable() error {
	u := m.Users.Users["root"]
	switch {
	case m.Users.Enabled:
		return nil
	case u == nil:
		return auth.ErrNoRootUser
	case !slices.Contains(u.Roles, "root"):
		return auth.ErrNoRootRole
	}
	m.Users.Enabled = true
	return nil
}

func (m *Model) addUser(r *pb.AuthUserAddRequest) error {
	password, err := base64.StdEncoding.DecodeString(r.HashedPassword)
	switch {
	case r.Name == "":
		return auth.ErrUserEmpty
	case m.Users.Users[r.Name] != nil:
		return auth.ErrUserExists
	case r.Options.GetNoPassword():
		password = nil
	case err != nil:
		return auth.ErrNoPasswordUser
	}
	m.Users.Users[r.Name] = &authpb.User{Name: []byte(r.Name), Password: password, Options: r.Options}
	return nil
}

func (m *Model) deleteUser(name string) error {
	if m.Users.Enabled && name == "root" {
		return auth.ErrInvalidManagement
	}
	if m.Users.Users[name] == nil {
		return auth.ErrUserNotFound
	}
	delete(m.Users.Users, name)
	return nil
}

func (m *Model) changePassword(r *pb.AuthUserChangePasswordRequest) error {
	old := m.Users.Users[r.Name]
	if old == nil {
		return auth.ErrUserNotFound
	}
	u := proto.CloneOf(old)
	if !old.Options.GetNoPassword() {
		var err error
		if u.Password, err = base64.StdEncoding.DecodeString(r.HashedPassword); err != nil {
			return auth.ErrNoPasswordUser
		}
	}
	m.Users.Users[r.Name] = u
	return nil
}

func (m *Model) grantRole(user, role string) error {
	old := m.Users.Users[user]
	_, exists := m.Users.Roles[role]
	switch {
	case old == nil:
		return auth.ErrUserNotFound
	case !exists && role != "root":
		return auth.ErrRoleNotFound
	case slices.Contains(old.Roles, role):
		return nil
	}
	u := proto.CloneOf(old)
	u.Roles = append(u.Roles, role)
	slices.Sort(u.Roles)
	m.Users.Users[user] = u
	return nil
}

func (m *Model) revokeRole(user, role string) error {
	old := m.Users.Users[user]
	switch {
	case m.Users.Enabled && user == "root" && role == "root":
		return auth.ErrInvalidManagement
	case old == nil:
		return auth.ErrUserNotFound
	case !slices.Contains(old.Roles, role):
		return auth.ErrRoleNotGranted
	}
	u := proto.CloneOf(old)
	u.Roles = slices.DeleteFunc(u.Roles, func(r string) bool { return r == role })
	m.Users.Users[user] = u
	return nil
}

func (m *Model) addRole(name string) error {
	if name == "" {
		return auth.ErrRoleEmpty
	}
	if _, exists := m.Users.Roles[name]; exists {
		return auth.ErrRoleExists
	}
	m.Users.Roles[name] = nil
	return nil
}

func (m *Model) deleteRole(name string) error {
	if m.Users.Enabled && name == "root" {
		return auth.ErrInvalidManagement
	}
	if _, exists := m.Users.Roles[name]; !exists {
		return auth.ErrRoleNotFound
	}
	delete(m.Users.Roles, name)
	for user, u := range m.Users.Users {
		if slices.Contains(u.Roles, name) {
			u = proto.CloneOf(u)
			u.Roles = slices.DeleteFunc(u.Roles, func(r string) bool { return r == name })
			m.Users.Users[user] = u
		}
	}
	return nil
}

func (m *Model) grantPermission(name string, p *authpb.Permission) error {
	old, exists := m.Users.Roles[name]
	switch {
	case p == nil:
		return auth.ErrPermissionNotGiven
	case len(p.Key) == 0 || len(p.RangeEnd) > 0 && string(p.RangeEnd) != "\x00" && bytes.Compare(p.Key, p.RangeEnd) >= 0:
		return auth.ErrInvalidManagement
	case !exists:
		return auth.ErrRoleNotFound
	}
	all := slices.Clone(old)
	for i, o := range all {
		if bytes.Equal(o.Key, p.Key) && bytes.Equal(o.RangeEnd, p.RangeEnd) {
			all[i] = p
			m.Users.Roles[name] = all
			return nil
		}
	}
	all = append(all, p)
	slices.SortStableFunc(all, func(a, b *authpb.Permission) int { return bytes.Compare(a.Key, b.Key) })
	m.Users.Roles[name] = all
	return nil
}

func (m *Model) revokePermission(r *pb.AuthRoleRevokePermissionRequest) error {
	old, exists := m.Users.Roles[r.Role]
	if !exists {
		return auth.ErrRoleNotFound
	}
	left := slices.DeleteFunc(slices.Clone(old), func(o *authpb.Permission) bool {
		return bytes.Equal(o.Key, r.Key) && bytes.Equal(o.RangeEnd, r.RangeEnd)
	})
	if len(left) == len(old) {
		return auth.ErrPermissionNotGranted
	}
	m.Users.Roles[r.Role] = left
	return nil
}

// onBehalf makes most commands those of some user while that matters.
func (g *Generator) onBehalf(req proto.Message) proto.Message {
	switch req.(type) {
	case *coordpb.LeaseExpireRequest, *coordpb.MemberPublishRequest:
		return req
	}
	if g.IntN(20) < 18 != g.Model.Users.Enabled {
		return req
	}
	user, revision := "root", g.Model.Users.Revision
	if g.IntN(3) == 0 {
		user = g.userName()
	}
	if g.IntN(20) == 0 {
		revision--
	}
	wrapped, err := coordpb.OnBehalf(user, revision, req)
	if err != nil {
		panic(fmt.Sprintf("kvtest: %v", err))
	}
	return wrapped
}

func (g *Generator) userName() string { return []string{"root", "root", "u", "v", ""}[g.IntN(5)] }
func (g *Generator) roleName() string { return []string{"root", "root", "r", "s", ""}[g.IntN(5)] }

func (g *Generator) hashedPassword() string {
	if g.IntN(10) == 0 {
		return "no base64"
	}
	return base64.StdEncoding.EncodeToString(g.value())
}

// userCommand draws a change of users.
func (g *Generator) userCommand() proto.Message {
	switch n := g.IntN(22); {
	case n < 2:
		return &pb.AuthEnableRequest{}
	case n < 3:
		return &pb.AuthDisableRequest{}
	case n < 6:
		return &pb.AuthUserAddRequest{
			Name: g.userName(), HashedPassword: g.hashedPassword(), Options: &authpb.UserAddOptions{NoPassword: g.IntN(4) == 0},
		}
	case n < 7:
		return &pb.AuthUserDeleteRequest{Name: g.userName()}
	case n < 8:
		return &pb.AuthUserChangePasswordRequest{Name: g.userName(), HashedPassword: g.hashedPassword()}
	case n < 12:
		return &pb.AuthUserGrantRoleRequest{User: g.userName(), Role: g.roleName()}
	case n < 13:
		return &pb.AuthUserRevokeRoleRequest{Name: g.userName(), Role: g.roleName()}
	case n < 15:
		return &pb.AuthRoleAddRequest{Name: g.roleName()}
	case n < 16:
		return &pb.AuthRoleDeleteRequest{Role: g.roleName()}
	}
	key := g.key()
	end := g.end(key)
	if g.IntN(5) == 0 {
		return &pb.AuthRoleRevokePermissionRequest{Role: g.roleName(), Key: key, RangeEnd: end}
	}
	return &pb.AuthRoleGrantPermissionRequest{Name: g.roleName(), Perm: &authpb.Permission{
		PermType: authpb.Permission_Type(g.IntN(3)), Key: key, RangeEnd: end,
	}}
}

// compareUsers returns an error if the store's users and roles are not the
// model's.
func (r *Run) compareUsers() error {
	got, want := r.Store.Auth(), &r.Model.Users
	if got.Enabled() != want.Enabled || got.Revision() != want.Revision {
		return fmt.Errorf("authentication on %t, revision %d; want %t, %d", got.Enabled(), got.Revision(), want.Enabled, want.Revision)
	}
	if users := slices.Sorted(maps.Keys(want.Users)); !slices.Equal(got.Users(), users) {
		return fmt.Errorf("users %q, want %q", got.Users(), users)
	}
	for name, u := range want.Users {
		if roles, err := got.RolesOf(name); err != nil || !slices.Equal(roles, u.Roles) {
			return fmt.Errorf("user %q has roles %q, %v; want %q", name, roles, err, u.Roles)
		}
		if hash, err := got.PasswordHash(name); err == nil && !bytes.Equal(hash, u.Password) {
			return fmt.Errorf("user %q has password %x, want %x", name, hash, u.Password)
		}
	}
	if roles := slices.Sorted(maps.Keys(want.Roles)); !slices.Equal(got.Roles(), roles) {
		return fmt.Errorf("roles %q, want %q", got.Roles(), roles)
	}
	for name, permissions := range want.Roles {
		same := func(a, b *authpb.Permission) bool { return proto.Equal(a, b) }
		if p, err := got.Permissions(name); name != "root" && (err != nil || !slices.EqualFunc(p, permissions, same)) {
			return fmt.Errorf("role %q has permissions %v, %v; want %v", name, p, err, permissions)
		}
	}
	return nil
}
