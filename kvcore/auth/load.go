package auth

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/etcd/api/v3/authpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
)

// Keys of bucket auth, as etcd has them. The revision is 8 bytes big-endian,
// enabled is one byte that is 1.
var (
	enabledKey  = []byte("authEnabled")
	revisionKey = []byte("authRevision")
)

// Load returns the table that a backend holds.
func Load(r backend.Reader) (*Table, error) {
	t := &Table{revision: 1, users: map[string]*user{}, roles: map[string]*authpb.Role{}}
	if v := r.Get(backend.Auth, enabledKey); len(v) == 1 && v[0] == 1 {
		t.enabled = true
	}
	if v := r.Get(backend.Auth, revisionKey); v != nil {
		if len(v) != 8 {
			return nil, fmt.Errorf("auth: load: revision %x is not 8 bytes", v)
		}
		t.revision = max(t.revision, binary.BigEndian.Uint64(v))
	}
	if err := t.loadRoles(r); err != nil {
		return nil, err
	}
	return t, t.loadUsers(r)
}

func (t *Table) loadRoles(r backend.Reader) (err error) {
	r.Ascend(backend.AuthRoles, nil, nil, func(k, v []byte) bool {
		role := new(authpb.Role)
		if err = proto.Unmarshal(v, role); err != nil {
			err = fmt.Errorf("auth: load: role %q: %w", k, err)
			return false
		}
		t.roles[string(k)] = role
		return true
	})
	return err
}

// loadUsers needs the roles.
func (t *Table) loadUsers(r backend.Reader) (err error) {
	r.Ascend(backend.AuthUsers, nil, nil, func(k, v []byte) bool {
		record := new(authpb.User)
		if err = proto.Unmarshal(v, record); err != nil {
			err = fmt.Errorf("auth: load: user %q: %w", k, err)
			return false
		}
		t.users[string(k)] = t.compile(record)
		return true
	})
	return err
}

func encodeRevision(revision uint64) []byte { return binary.BigEndian.AppendUint64(nil, revision) }

// encode is as etcd encodes the record, the same on every member.
func encode(record proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(record)
	if err != nil {
		panic(fmt.Sprintf("auth: encode %v: %v", record, err))
	}
	return b
}
