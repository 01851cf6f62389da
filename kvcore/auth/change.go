package auth

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
)

// Save is told of each record that a change writes; a nil value deletes it.
type Save func(bucket backend.Bucket, key, value []byte)

// Apply returns the table after one of the Auth service's requests that change
// it, and the response, which gets the header. A request that fails changes and
// saves nothing. It does not ask who makes the request. Apply panics on other
// requests.
func (t *Table) Apply(req proto.Message, header *pb.ResponseHeader, save Save) (*Table, proto.Message, error) {
	c := &change{Table: *t, save: save}
	var response proto.Message
	var err error
	switch r := req.(type) {
	case *pb.AuthEnableRequest:
		response, err = &pb.AuthEnableResponse{Header: header}, c.enable()
	case *pb.AuthDisableRequest:
		response, err = &pb.AuthDisableResponse{Header: header}, c.disable()
	case *pb.AuthUserAddRequest:
		response, err = &pb.AuthUserAddResponse{Header: header}, c.addUser(r)
	case *pb.AuthUserDeleteRequest:
		response, err = &pb.AuthUserDeleteResponse{Header: header}, c.deleteUser(r.Name)
	case *pb.AuthUserChangePasswordRequest:
		response, err = &pb.AuthUserChangePasswordResponse{Header: header}, c.changePassword(r)
	case *pb.AuthUserGrantRoleRequest:
		response, err = &pb.AuthUserGrantRoleResponse{Header: header}, c.grantRole(r.User, r.Role)
	case *pb.AuthUserRevokeRoleRequest:
		response, err = &pb.AuthUserRevokeRoleResponse{Header: header}, c.revokeRole(r.Name, r.Role)
	case *pb.AuthRoleAddRequest:
		response, err = &pb.AuthRoleAddResponse{Header: header}, c.addRole(r.Name)
	case *pb.AuthRoleDeleteRequest:
		response, err = &pb.AuthRoleDeleteResponse{Header: header}, c.deleteRole(r.Role)
	case *pb.AuthRoleGrantPermissionRequest:
		response, err = &pb.AuthRoleGrantPermissionResponse{Header: header}, c.grantPermission(r.Name, r.Perm)
	case *pb.AuthRoleRevokePermissionRequest:
		response, err = &pb.AuthRoleRevokePermissionResponse{Header: header}, c.revokePermission(r)
	default:
		panic(fmt.Sprintf("auth: a %T changes no users", req))
	}
	if err != nil {
		return nil, nil, err
	}
	return &c.Table, response, nil
}

// change is a table in the making. Until it owns them it shares the maps with
// the table before.
type change struct {
	Table
	save                 Save
	ownsUsers, ownsRoles bool
}

func (c *change) enable() error {
	u := c.users[root]
	switch {
	case c.enabled:
		return nil
	case u == nil:
		return ErrNoRootUser
	case !u.root:
		return ErrNoRootRole
	}
	c.enabled = true
	c.save(backend.Auth, enabledKey, []byte{1})
	return nil
}

func (c *change) disable() error {
	if !c.enabled {
		return nil
	}
	c.enabled = false
	c.save(backend.Auth, enabledKey, []byte{0})
	c.advance()
	return nil
}

func (c *change) advance() {
	c.revision++
	c.save(backend.Auth, revisionKey, encodeRevision(c.revision))
}

func (c *change) putUser(record *authpb.User) {
	if !c.ownsUsers {
		c.users, c.ownsUsers = maps.Clone(c.users), true
	}
	c.users[string(record.Name)] = c.compile(record)
	c.save(backend.AuthUsers, record.Name, encode(record))
}

func (c *change) putRole(record *authpb.Role) {
	c.ownRoles()
	c.roles[string(record.Name)] = record
	c.save(backend.AuthRoles, record.Name, encode(record))
}

func (c *change) ownRoles() {
	if !c.ownsRoles {
		c.roles, c.ownsRoles = maps.Clone(c.roles), true
	}
}

// recompile works out anew what the users of a role may do.
func (c *change) recompile(role string) {
	if !c.ownsUsers {
		c.users, c.ownsUsers = maps.Clone(c.users), true
	}
	for name, u := range c.users {
		if slices.Contains(u.Roles, role) {
			c.users[name] = c.compile(u.User)
		}
	}
}

func (c *change) addUser(r *pb.AuthUserAddRequest) error {
	switch {
	case r.Name == "":
		return ErrUserEmpty
	case len(r.Name) > backend.MaxKeyBytes:
		return ErrNameTooLong
	case c.users[r.Name] != nil:
		return ErrUserExists
	}
	record := &authpb.User{Name: []byte(r.Name), Options: r.Options}
	if record.Options == nil {
		record.Options = &authpb.UserAddOptions{}
	}
	if !record.Options.NoPassword {
		var err error
		if record.Password, err = decodePassword(r.HashedPassword); err != nil {
			return err
		}
	}
	c.putUser(record)
	c.advance()
	return nil
}

func (c *change) deleteUser(name string) error {
	switch {
	case c.enabled && name == root:
		return ErrInvalidManagement
	case c.users[name] == nil:
		return ErrUserNotFound
	}
	c.users, c.ownsUsers = maps.Clone(c.users), true
	delete(c.users, name)
	c.save(backend.AuthUsers, []byte(name), nil)
	c.advance()
	return nil
}

func (c *change) changePassword(r *pb.AuthUserChangePasswordRequest) error {
	u := c.users[r.Name]
	if u == nil {
		return ErrUserNotFound
	}
	record := proto.CloneOf(u.User)
	record.Password = nil
	if !record.Options.GetNoPassword() {
		var err error
		if record.Password, err = decodePassword(r.HashedPassword); err != nil {
			return err
		}
	}
	c.putUser(record)
	c.advance()
	return nil
}

// decodePassword returns the bcrypt hash that a request carries. No hash is the
// hash of no password.
func decodePassword(hashed string) ([]byte, error) {
	hash, err := base64.StdEncoding.DecodeString(hashed)
	if err != nil {
		return nil, ErrNoPasswordUser // etcd's answer
	}
	return hash, nil
}

func (c *change) grantRole(user, role string) error {
	u := c.users[user]
	switch {
	case u == nil:
		return ErrUserNotFound
	case role != root && c.roles[role] == nil:
		return ErrRoleNotFound
	}
	i, granted := slices.BinarySearch(u.Roles, role)
	if granted {
		return nil
	}
	record := proto.CloneOf(u.User)
	record.Roles = slices.Insert(record.Roles, i, role)
	c.putUser(record)
	c.advance()
	return nil
}

func (c *change) revokeRole(user, role string) error {
	u := c.users[user]
	switch {
	case c.enabled && user == root && role == root:
		return ErrInvalidManagement
	case u == nil:
		return ErrUserNotFound
	case !slices.Contains(u.Roles, role):
		return ErrRoleNotGranted
	}
	c.putUser(without(u.User, role))
	c.advance()
	return nil
}

func without(u *authpb.User, role string) *authpb.User {
	u = proto.CloneOf(u)
	u.Roles = slices.DeleteFunc(u.Roles, func(r string) bool { return r == role })
	return u
}

func (c *change) addRole(name string) error {
	switch {
	case name == "":
		return ErrRoleEmpty
	case len(name) > backend.MaxKeyBytes:
		return ErrNameTooLong
	case c.roles[name] != nil:
		return ErrRoleExists
	}
	c.putRole(&authpb.Role{Name: []byte(name)})
	c.advance()
	return nil
}

func (c *change) deleteRole(name string) error {
	switch {
	case c.enabled && name == root:
		return ErrInvalidManagement
	case c.roles[name] == nil:
		return ErrRoleNotFound
	}
	c.ownRoles()
	delete(c.roles, name)
	c.save(backend.AuthRoles, []byte(name), nil)
	for _, user := range c.Users() {
		if u := c.users[user]; slices.Contains(u.Roles, name) {
			c.putUser(without(u.User, name))
		}
	}
	c.advance()
	return nil
}

func (c *change) grantPermission(name string, p *authpb.Permission) error {
	role := c.roles[name]
	switch {
	case p == nil:
		return ErrPermissionNotGiven
	case !isRange(p.Key, p.RangeEnd):
		return ErrInvalidManagement
	case role == nil:
		return ErrRoleNotFound
	}
	role = proto.CloneOf(role)
	i := slices.IndexFunc(role.KeyPermission, func(o *authpb.Permission) bool { return sameKeys(o, p) })
	if i >= 0 {
		role.KeyPermission[i].PermType = p.PermType
	} else {
		i = slices.IndexFunc(role.KeyPermission, func(o *authpb.Permission) bool { return bytes.Compare(o.Key, p.Key) > 0 })
		if i < 0 {
			i = len(role.KeyPermission)
		}
		p = &authpb.Permission{PermType: p.PermType, Key: p.Key, RangeEnd: p.RangeEnd}
		role.KeyPermission = slices.Insert(role.KeyPermission, i, p)
	}
	c.putRole(role)
	c.recompile(name)
	c.advance()
	return nil
}

func (c *change) revokePermission(r *pb.AuthRoleRevokePermissionRequest) error {
	role := c.roles[r.Role]
	if role == nil {
		return ErrRoleNotFound
	}
	role = proto.CloneOf(role)
	before := len(role.KeyPermission)
	given := &authpb.Permission{Key: r.Key, RangeEnd: r.RangeEnd}
	role.KeyPermission = slices.DeleteFunc(role.KeyPermission, func(o *authpb.Permission) bool { return sameKeys(o, given) })
	if len(role.KeyPermission) == before {
		return ErrPermissionNotGranted
	}
	c.putRole(role)
	c.recompile(r.Role)
	c.advance()
	return nil
}

func sameKeys(a, b *authpb.Permission) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.RangeEnd, b.RangeEnd)
}

// isRange tells key and range end that some key can be in.
func isRange(key, rangeEnd []byte) bool {
	return len(key) > 0 && (len(rangeEnd) == 0 || isUnbounded(rangeEnd) || bytes.Compare(key, rangeEnd) < 0)
}
