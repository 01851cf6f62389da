package auth

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
)

func TestRangesCover(t *testing.T) {
	set := merge([]keyRange{{"m", "p"}, {"c", "e"}, {"a", "c"}, {"b", "d"}, {"x", "x"}, {"y", "w"}, {"one", "one\x00"}, {"t", "v"}, {"u", ""}})
	for _, c := range []struct {
		key, end string
		want     bool
	}{
		{"a", "", true}, {"d", "", true}, {"e", "", false}, {"A", "", false},
		{"a", "e", true}, {"a", "e\x00", false}, {"b", "d", true}, {"A", "b", false},
		{"d", "n", false}, {"m", "p", true}, {"o", "\x00", false},
		{"one", "", true}, {"one\x00", "", true}, {"one", "p", true},
		{"t", "\x00", true}, {"zz", "\x00", true}, {"s", "\x00", false}, {"u", "z", true},
		{"b", "a", true}, {"b", "b", true}, {"f", "b", false}, // no keys: where they begin counts
	} {
		if got := set.covers(rangeOf([]byte(c.key), []byte(c.end))); got != c.want {
			t.Errorf("%v cover [%q, %q): %t, want %t", set, c.key, c.end, got, c.want)
		}
	}
	if (ranges)(nil).covers(keyRange{"a", "b"}) {
		t.Error("nothing covers something")
	}
}

// apply applies a change and commits what it saves.
func apply(t *testing.T, b backend.Backend, table *Table, req proto.Message) *Table {
	t.Helper()
	batch := b.Begin(0, 0)
	next, _, err := table.Apply(req, nil, func(bucket backend.Bucket, key, value []byte) {
		if value == nil {
			batch.Delete(bucket, key)
		} else {
			batch.Put(bucket, key, value)
		}
	})
	if err != nil {
		t.Fatalf("%T %v: %v", req, req, err)
	}
	if err := b.Commit(batch); err != nil {
		t.Fatal(err)
	}
	return next
}

func open(t *testing.T) (backend.Backend, *Table) {
	t.Helper()
	b := backend.NewMemory()
	t.Cleanup(func() { b.Close() })
	return b, loadTable(t, b)
}

func loadTable(t *testing.T, b backend.Backend) *Table {
	t.Helper()
	r := b.Reader()
	defer r.Release()
	table, err := Load(r)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// What is stored must be what etcd stores, byte for byte where it compares.
func TestRecordsAreEtcds(t *testing.T) {
	b, table := open(t)
	for _, req := range []proto.Message{
		&pb.AuthUserAddRequest{Name: "root", HashedPassword: "aGFzaA=="},
		&pb.AuthRoleAddRequest{Name: "app"},
		&pb.AuthRoleGrantPermissionRequest{Name: "app", Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte("a"), RangeEnd: []byte("b")}},
		&pb.AuthUserGrantRoleRequest{User: "root", Role: "root"},
		&pb.AuthUserGrantRoleRequest{User: "root", Role: "app"},
		&pb.AuthEnableRequest{},
	} {
		table = apply(t, b, table, req)
	}
	r := b.Reader()
	defer r.Release()
	for _, c := range []struct {
		bucket    backend.Bucket
		key, want string
	}{
		{backend.Auth, "authEnabled", "\x01"},
		{backend.Auth, "authRevision", "\x00\x00\x00\x00\x00\x00\x00\x06"},
		{backend.AuthUsers, "root", "\x0a\x04root\x12\x04hash\x1a\x03app\x1a\x04root\x22\x00"},
		{backend.AuthRoles, "app", "\x0a\x03app\x12\x08\x08\x02\x12\x01a\x1a\x01b"},
	} {
		if got := r.Get(c.bucket, []byte(c.key)); string(got) != c.want {
			t.Errorf("%s %s is %q, want %q", c.bucket, c.key, got, c.want)
		}
	}
	again := loadTable(t, b)
	if !again.Enabled() || again.Revision() != table.Revision() || !slices.Equal(again.Users(), table.Users()) || !slices.Equal(again.Roles(), table.Roles()) {
		t.Errorf("loaded: %+v, want %+v", again, table)
	}
	if err := again.PermitAdmin(Identity{"root", 6}); err != nil {
		t.Error(err)
	}
}

func TestDamagedRecordsAreNotLoaded(t *testing.T) {
	for _, c := range []struct {
		bucket     backend.Bucket
		key, value string
	}{
		{backend.Auth, "authRevision", "\x01"},
		{backend.AuthUsers, "u", "\xff"},
		{backend.AuthRoles, "r", "\xff"},
	} {
		b, _ := open(t)
		batch := b.Begin(0, 0)
		batch.Put(c.bucket, []byte(c.key), []byte(c.value))
		if err := b.Commit(batch); err != nil {
			t.Fatal(err)
		}
		r := b.Reader()
		if _, err := Load(r); err == nil {
			t.Errorf("%s %s with value %q is loaded", c.bucket, c.key, c.value)
		}
		r.Release()
	}
}

// A name is a key of the store, and a store refuses keys that are too long.
func TestNamesAreBounded(t *testing.T) {
	_, table := open(t)
	long := strings.Repeat("n", backend.MaxKeyBytes+1)
	for _, req := range []proto.Message{&pb.AuthUserAddRequest{Name: long}, &pb.AuthRoleAddRequest{Name: long}} {
		_, _, err := table.Apply(req, nil, func(backend.Bucket, []byte, []byte) { t.Error("something is saved") })
		if !errors.Is(err, ErrNameTooLong) {
			t.Errorf("%T: %v", req, err)
		}
	}
}

// A permission that is granted again gets its new kind wherever it stands among
// those of one key; etcd looks at the first of them alone and would leave the
// wider one in place.
func TestGrantNarrowsAPermission(t *testing.T) {
	b, table := open(t)
	table = apply(t, b, table, &pb.AuthRoleAddRequest{Name: "r"})
	for _, end := range []string{"b", "c", "d"} {
		table = apply(t, b, table, &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte("a"), RangeEnd: []byte(end)}})
	}
	table = apply(t, b, table, &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{Key: []byte("a"), RangeEnd: []byte("c")}})
	permissions, err := table.Permissions("r")
	if err != nil || len(permissions) != 3 || permissions[1].PermType != authpb.Permission_READ {
		t.Errorf("permissions %v, %v", permissions, err)
	}
}
