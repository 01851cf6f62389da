package kvtest_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/kvtest"
)

const commands = 3000

func TestStoreIsModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			b, crash := backend.NewMemory(), kvtest.Crasher(kvtest.CrashMemory)
			if seed%4 == 0 {
				path := filepath.Join(t.TempDir(), "db")
				crash = kvtest.CrashBolt(path)
				var err error
				if b, err = backend.OpenBolt(path); err != nil {
					t.Fatal(err)
				}
			}
			r, err := kvtest.NewRun(seed, b, crash)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Commands(commands); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The comparison must notice a store that answers wrongly, and one that does
// the wrong thing.
func TestComparisonComplains(t *testing.T) {
	tampers := map[string]func(proto.Message){
		"revision of a put": func(m proto.Message) {
			if r, ok := m.(*pb.PutResponse); ok {
				r.Header.Revision++
			}
		},
		"previous value dropped": func(m proto.Message) {
			if r, ok := m.(*pb.PutResponse); ok {
				r.PrevKv = nil
			}
		},
		"count of deleted keys": func(m proto.Message) {
			if r, ok := m.(*pb.DeleteRangeResponse); ok {
				r.Deleted++
			}
		},
		"branch of a transaction": func(m proto.Message) {
			if r, ok := m.(*pb.TxnResponse); ok {
				r.Succeeded = !r.Succeeded
			}
		},
		"member missing after a change": func(m proto.Message) {
			if r, ok := m.(*pb.MemberAddResponse); ok {
				r.Members = r.Members[1:]
			}
		},
		"key missing in a range": func(m proto.Message) {
			if r, ok := m.(*pb.RangeResponse); ok && len(r.Kvs) > 0 {
				r.Kvs = r.Kvs[1:]
			}
		},
	}
	for name, tamper := range tampers {
		t.Run(name, func(t *testing.T) {
			r := newRun(t)
			r.Tamper = tamper
			if err := r.Commands(1000); err == nil {
				t.Error("no complaint")
			}
		})
	}
	t.Run("user whom the store does not know", func(t *testing.T) {
		r := newRun(t)
		r.Model.Users.Users["stranger"] = &authpb.User{Name: []byte("stranger")}
		if err := r.Commands(200); err == nil {
			t.Error("no complaint")
		}
	})
	t.Run("permission that the store does not give", func(t *testing.T) {
		r := newRun(t)
		all := &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte{0}, RangeEnd: []byte{0}}
		r.Model.Users.Roles["r"] = []*authpb.Permission{all}
		if err := r.Commands(200); err == nil {
			t.Error("no complaint")
		}
	})
	t.Run("store changed behind the model", func(t *testing.T) {
		r := newRun(t)
		delete(r.Model.Now, "a")
		if err := r.Commands(200); err != nil {
			t.Fatalf("complaint without cause: %v", err)
		}
		r.Model.Log = r.Model.Log[:len(r.Model.Log)/2]
		if err := r.Commands(200); err == nil {
			t.Error("no complaint")
		}
	})
}

func newRun(t *testing.T) *kvtest.Run {
	r, err := kvtest.NewRun(1, backend.NewMemory(), kvtest.CrashMemory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
