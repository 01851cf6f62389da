package kvcore_test

import (
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/auth"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/kvtest"
	"github.com/coordd/coordd/proto/coordpb"
)

// authStore is a store with user root, and user alice who may write a.
type authStore struct {
	*kvcore.Store
	t     *testing.T
	index uint64
}

func newAuthStore(t *testing.T) *authStore {
	t.Helper()
	s := &authStore{Store: openMemory(t), t: t}
	for _, req := range []proto.Message{
		&pb.AuthUserAddRequest{Name: "root"},
		&pb.AuthUserGrantRoleRequest{User: "root", Role: "root"},
		&pb.AuthRoleAddRequest{Name: "r"},
		&pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{PermType: authpb.Permission_WRITE, Key: []byte("a")}},
		&pb.AuthUserAddRequest{Name: "alice"},
		&pb.AuthUserGrantRoleRequest{User: "alice", Role: "r"},
		&pb.AuthEnableRequest{},
	} {
		s.want(nil, req)
	}
	return s
}

func (s *authStore) apply(req proto.Message) kvcore.Result {
	s.index++
	return s.Apply(s.index, 1, []proto.Message{req})[0]
}

// want applies a request and compares the error.
func (s *authStore) want(want error, req proto.Message) {
	s.t.Helper()
	if r := s.apply(req); !errors.Is(r.Err, want) {
		s.t.Errorf("%T %v: %v, want %v", req, req, r.Err, want)
	}
}

func (s *authStore) as(user string, revision uint64, req proto.Message) proto.Message {
	s.t.Helper()
	wrapped, err := coordpb.OnBehalf(user, revision, req)
	if err != nil {
		s.t.Fatal(err)
	}
	return wrapped
}

// Requests that were proposed before authentication was turned on may arrive
// after that.
func TestRequestsWithoutUserAreRefused(t *testing.T) {
	s := newAuthStore(t)
	for _, req := range []proto.Message{
		&pb.PutRequest{Key: []byte("a")},
		&pb.DeleteRangeRequest{Key: []byte("a")},
		&pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a")}}}}},
		&pb.LeaseGrantRequest{ID: 1, TTL: 10},
		&pb.LeaseRevokeRequest{ID: 1},
		&pb.AuthDisableRequest{},
		&pb.AuthUserAddRequest{Name: "mallory"},
	} {
		s.want(auth.ErrUserEmpty, req)
	}
	if revision := s.Revision(); revision != 1 {
		t.Errorf("revision %d: something was written", revision)
	}
}

// What members propose of their own accord goes on.
func TestMembersNeedNoUser(t *testing.T) {
	s := newAuthStore(t)
	s.want(nil, s.as("root", 7, &pb.LeaseGrantRequest{ID: 1, TTL: 10}))
	s.want(nil, s.as("root", 7, &pb.PutRequest{Key: []byte("secret"), Lease: 1}))
	s.want(nil, &coordpb.MemberPublishRequest{Id: 1})
	s.want(nil, &pb.CompactionRequest{Revision: 2})
	s.want(nil, &coordpb.LeaseExpireRequest{Term: 1, Ids: []int64{1}})
	if s.Revision() != 3 {
		t.Errorf("revision %d: the lease has not ended", s.Revision())
	}
}

func TestPermissionIsThatOfTheMomentOfApplying(t *testing.T) {
	s := newAuthStore(t)
	put := &pb.PutRequest{Key: []byte("a")}
	s.want(nil, s.as("alice", 7, put))
	s.want(auth.ErrDenied, s.as("alice", 7, &pb.PutRequest{Key: []byte("b")}))
	s.want(auth.ErrDenied, s.as("nobody", 7, put))
	s.want(auth.ErrOldRevision, s.as("alice", 6, put))
	s.want(nil, s.as("root", 6, &pb.AuthUserRevokeRoleRequest{Name: "alice", Role: "r"}))
	s.want(auth.ErrOldRevision, s.as("alice", 7, put))
	s.want(auth.ErrDenied, s.as("alice", 8, put))
	s.want(auth.ErrDenied, s.as("alice", 8, &pb.AuthDisableRequest{}))
	s.want(auth.ErrUserNotFound, s.as("nobody", 8, &pb.AuthDisableRequest{}))
	s.want(nil, s.as("root", 8, &pb.AuthDisableRequest{}))
	s.want(nil, s.as("alice", 8, put))
	s.want(nil, put)
}

func TestMalformedUserRequestDoesNothing(t *testing.T) {
	s := newAuthStore(t)
	s.want(kvcore.ErrMalformed, &coordpb.UserRequest{User: "root", AuthRevision: 7})
	nested, err := proto.Marshal(s.as("root", 7, &pb.PutRequest{Key: []byte("a")}))
	if err != nil {
		t.Fatal(err)
	}
	s.want(kvcore.ErrMalformed, &coordpb.UserRequest{User: "root", AuthRevision: 7, Command: &coordpb.Command{Kind: coordpb.Kind_KIND_USER_REQUEST, Request: nested}})
}

// assign makes a token of the user and says whether it is known.
func (s *authStore) assign(user string, want error) auth.TokenHash {
	s.t.Helper()
	hash := auth.TokenHash{byte(s.index)}
	s.want(want, &coordpb.TokenAssignRequest{User: user, TokenSha256: hash[:], AuthRevision: s.Auth().Revision()})
	return hash
}

func (s *authStore) knows(hash auth.TokenHash) bool {
	_, ok := s.Tokens().Use(hash, time.Unix(0, 0), time.Minute)
	return ok
}

func TestTokensAreAssignedAndEnd(t *testing.T) {
	s := newAuthStore(t)
	s.assign("nobody", auth.ErrWrongPassword)
	s.want(auth.ErrOldRevision, &coordpb.TokenAssignRequest{User: "alice", TokenSha256: make([]byte, 32), AuthRevision: 6})
	s.want(kvcore.ErrMalformed, &coordpb.TokenAssignRequest{User: "alice", TokenSha256: make([]byte, 31), AuthRevision: 7})
	root := s.assign("root", nil)
	for _, end := range []proto.Message{
		&pb.AuthUserChangePasswordRequest{Name: "alice"},
		&pb.AuthUserDeleteRequest{Name: "alice"},
	} {
		alice := s.assign("alice", nil)
		if !s.knows(alice) {
			t.Error("a new token is not known")
		}
		s.want(nil, s.as("root", s.Auth().Revision(), end))
		if s.knows(alice) || !s.knows(root) {
			t.Errorf("after %T: alice's token is known %t, root's %t", end, s.knows(alice), s.knows(root))
		}
	}
	s.want(nil, s.as("root", s.Auth().Revision(), &pb.AuthDisableRequest{}))
	s.assign("root", auth.ErrNotEnabled)
	s.want(nil, &pb.AuthEnableRequest{})
	if s.knows(root) {
		t.Error("a token of the time before is known")
	}
}

// A store that got a snapshot does not know which of its tokens have ended.
func TestTokensEndWithASnapshot(t *testing.T) {
	s := newAuthStore(t)
	token := s.assign("root", nil)
	if _, err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	other := newAuthStore(t)
	other.want(nil, other.as("root", 7, &pb.PutRequest{Key: []byte("k")}))
	other.want(nil, other.as("root", 7, &pb.AuthRoleAddRequest{Name: "new"}))
	if _, err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(snapshotOf(t, other.Store)); err != nil {
		t.Fatal(err)
	}
	if s.knows(token) {
		t.Error("a token outlives a snapshot")
	}
	if !s.Auth().Enabled() || s.Auth().Revision() != 8 {
		t.Errorf("enabled %t at revision %d", s.Auth().Enabled(), s.Auth().Revision())
	}
}

func snapshotOf(t *testing.T, s *kvcore.Store) backend.Backend {
	t.Helper()
	b, err := kvtest.CrashMemory(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is read must be permitted: watches, leases and their keys.
func TestPermitReads(t *testing.T) {
	s := newAuthStore(t)
	for _, req := range []proto.Message{
		&pb.LeaseGrantRequest{ID: 1, TTL: 10}, &pb.LeaseGrantRequest{ID: 2, TTL: 10},
		&pb.PutRequest{Key: []byte("a"), Lease: 1}, &pb.PutRequest{Key: []byte("secret"), Lease: 2},
		&pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte("a")}},
	} {
		s.want(nil, s.as("root", 7, req))
	}
	for _, c := range []struct {
		req                 proto.Message
		nobody, alice, root error
	}{
		{&pb.RangeRequest{Key: []byte("a")}, auth.ErrUserEmpty, nil, nil},
		{&pb.RangeRequest{Key: []byte("secret")}, auth.ErrUserEmpty, auth.ErrDenied, nil},
		{&pb.WatchCreateRequest{Key: []byte("a")}, auth.ErrUserEmpty, nil, nil},
		{&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("b")}, auth.ErrUserEmpty, auth.ErrDenied, nil},
		{&pb.LeaseTimeToLiveRequest{ID: 2}, auth.ErrUserEmpty, nil, nil},
		{&pb.LeaseTimeToLiveRequest{ID: 1, Keys: true}, auth.ErrUserEmpty, nil, nil},
		{&pb.LeaseTimeToLiveRequest{ID: 2, Keys: true}, auth.ErrUserEmpty, auth.ErrDenied, nil},
		{&pb.LeaseKeepAliveRequest{ID: 1}, auth.ErrUserEmpty, nil, nil},
		{&pb.LeaseKeepAliveRequest{ID: 2}, auth.ErrUserEmpty, auth.ErrDenied, nil},
		{&pb.LeaseLeasesRequest{}, auth.ErrUserEmpty, auth.ErrDenied, nil},
		{&pb.AuthStatusRequest{}, nil, nil, nil},
		{&pb.AuthUserGetRequest{Name: "alice"}, auth.ErrUserEmpty, nil, nil},
		{&pb.AuthUserGetRequest{Name: "root"}, auth.ErrUserEmpty, auth.ErrDenied, nil},
		{&pb.AuthRoleGetRequest{Role: "r"}, auth.ErrUserEmpty, nil, nil},
		{&pb.AuthRoleGetRequest{Role: "root"}, auth.ErrUserEmpty, auth.ErrDenied, nil},
		{&pb.StatusRequest{}, auth.ErrUserEmpty, nil, nil},
		{&pb.AlarmRequest{}, auth.ErrUserEmpty, nil, nil},
		{&pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE}, auth.ErrUserEmpty, auth.ErrDenied, nil},
		{&pb.DefragmentRequest{}, auth.ErrUserEmpty, auth.ErrDenied, nil},
		{nil, auth.ErrUserEmpty, auth.ErrDenied, nil},
	} {
		for _, who := range []struct {
			id   auth.Identity
			want error
		}{{auth.Identity{}, c.nobody}, {auth.Identity{User: "alice", Revision: 8}, c.alice}, {auth.Identity{User: "root", Revision: 8}, c.root}} {
			if err := s.Permit(s.Auth(), who.id, c.req); !errors.Is(err, who.want) {
				t.Errorf("%q asks %T %v: %v, want %v", who.id.User, c.req, c.req, err, who.want)
			}
		}
	}
}
