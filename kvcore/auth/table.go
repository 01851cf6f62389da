// Package auth keeps the users and roles of the store and knows what each user
// may do. A Table is one state of them, which replicated commands lead from one
// to the next; Tokens stand for users whose password was checked.
package auth

import (
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
)

// root is the user, and the role, that may do everything.
const root = "root"

// Identity is who makes a request, and the revision of the table that this was
// true at. The zero Identity is nobody.
type Identity struct {
	User     string
	Revision uint64
}

// Table is the users and roles at one moment. It never changes and may be read
// concurrently.
type Table struct {
	enabled  bool
	revision uint64 // at least 1
	users    map[string]*user
	roles    map[string]*authpb.Role
}

// user is a user's record with what follows from his roles.
type user struct {
	*authpb.User
	root        bool
	read, write ranges
}

// Enabled tells whether requests need a user.
func (t *Table) Enabled() bool { return t.enabled }

// Revision rises with each change of users, roles and permissions, and when
// authentication is disabled. That of a new store is 1.
func (t *Table) Revision() uint64 { return t.revision }

// Users returns the names of all users, sorted.
func (t *Table) Users() []string { return slices.Sorted(maps.Keys(t.users)) }

// Roles returns the names of all roles, sorted.
func (t *Table) Roles() []string { return slices.Sorted(maps.Keys(t.roles)) }

// RolesOf returns the roles of a user, sorted, or ErrUserNotFound.
func (t *Table) RolesOf(name string) ([]string, error) {
	u := t.users[name]
	if u == nil {
		return nil, ErrUserNotFound
	}
	return slices.Clone(u.Roles), nil
}

// Permissions returns what a role permits, by key, or ErrRoleNotFound. They must
// not be changed.
func (t *Table) Permissions(name string) ([]*authpb.Permission, error) {
	role := t.roles[name]
	switch {
	case role == nil:
		return nil, ErrRoleNotFound
	case name == root:
		return []*authpb.Permission{{PermType: authpb.Permission_READWRITE, Key: []byte{}, RangeEnd: []byte{0}}}, nil
	}
	return slices.Clone(role.KeyPermission), nil
}

// PasswordHash returns the bcrypt hash of a user's password. It fails with
// ErrNotEnabled, with ErrWrongPassword where there is no such user, and with
// ErrNoPasswordUser where he has none.
func (t *Table) PasswordHash(name string) ([]byte, error) {
	u := t.users[name]
	switch {
	case !t.enabled:
		return nil, ErrNotEnabled
	case u == nil:
		return nil, ErrWrongPassword
	case u.Options.GetNoPassword():
		return nil, ErrNoPasswordUser
	}
	return u.Password, nil
}

// Permit says whether a user may read or write all keys that key and range end
// name, as in a range request. It fails with ErrUserEmpty, ErrOldRevision or
// ErrDenied.
func (t *Table) Permit(id Identity, kind authpb.Permission_Type, key, rangeEnd []byte) error {
	switch {
	case !t.enabled:
		return nil
	case id.Revision == 0:
		return ErrUserEmpty
	case id.Revision < t.revision:
		return ErrOldRevision
	}
	u := t.users[id.User]
	switch {
	case u == nil:
		return ErrDenied
	case u.root:
		return nil
	}
	permitted := u.read
	if kind == authpb.Permission_WRITE {
		permitted = u.write
	}
	if !permitted.covers(rangeOf(key, rangeEnd)) {
		return ErrDenied
	}
	return nil
}

// PermitAdmin says whether a user may do what only those with role root may. It
// fails with ErrUserEmpty, ErrUserNotFound or ErrDenied.
func (t *Table) PermitAdmin(id Identity) error {
	switch {
	case !t.enabled:
		return nil
	case id.User == "":
		return ErrUserEmpty
	}
	u := t.users[id.User]
	switch {
	case u == nil:
		return ErrUserNotFound
	case !u.root:
		return ErrDenied
	}
	return nil
}

// PermitKnown says whether a user may do what everyone may who shows who he is.
// It fails with ErrUserEmpty.
func (t *Table) PermitKnown(id Identity) error {
	if t.enabled && id == (Identity{}) {
		return ErrUserEmpty
	}
	return nil
}

// PermitSelf is PermitAdmin, but each user may look at himself.
func (t *Table) PermitSelf(id Identity, name string) error {
	if err := t.PermitAdmin(id); err != nil && id.User != name {
		return err
	}
	return nil
}

// PermitRole is PermitAdmin, but each user may look at the roles he has.
func (t *Table) PermitRole(id Identity, role string) error {
	err := t.PermitAdmin(id)
	if u := t.users[id.User]; err != nil && u != nil && slices.Contains(u.Roles, role) {
		return nil
	}
	return err
}

// compile works out what a user may do.
func (t *Table) compile(record *authpb.User) *user {
	u := &user{User: record}
	var read, write []keyRange
	for _, name := range record.Roles {
		u.root = u.root || name == root
		for _, p := range t.roles[name].GetKeyPermission() {
			r := rangeOf(p.Key, p.RangeEnd)
			if p.PermType == authpb.Permission_READ || p.PermType == authpb.Permission_READWRITE {
				read = append(read, r)
			}
			if p.PermType == authpb.Permission_WRITE || p.PermType == authpb.Permission_READWRITE {
				write = append(write, r)
			}
		}
	}
	u.read, u.write = merge(read), merge(write)
	return u
}
