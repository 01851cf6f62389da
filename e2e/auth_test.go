package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/e2e/cluster"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// authSide is a server under comparison, with the tokens it has given out.
type authSide struct {
	conn   *grpc.ClientConn
	tokens map[string]string // by user
}

// newAuthSide starts one member of a program.
func newAuthSide(t *testing.T, path string, flags ...string) *authSide {
	t.Helper()
	return newAuthSideIn(t, path, t.TempDir(), flags...)
}

func newAuthSideIn(t *testing.T, path, dir string, flags ...string) *authSide {
	t.Helper()
	c, err := cluster.Start(within(t, time.Minute), cluster.Spec{Program: program(t, path), Size: 1, Dir: dir, Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	return &authSide{dialMember(t, c.Members[0].ClientURL), map[string]string{}}
}

func dialMember(t *testing.T, url string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// authStep is one call. Its answer must be the same on both sides.
type authStep struct {
	as      string // user whose token is shown; "" shows none
	method  string // as "KV/Put"
	request proto.Message
	unlike  bool // the response speaks of the server itself: only the error counts
}

// do makes the call and returns its outcome as text: code and message, or the
// response without what differs between any two servers.
func (s *authSide) do(t *testing.T, step authStep) string {
	t.Helper()
	ctx := within(t, 20*time.Second)
	if step.as != "" {
		token, ok := s.tokens[step.as]
		if !ok {
			token = step.as // no user, but a token made up
		}
		ctx = metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
	}
	response, err := invoke(ctx, s.conn, step.method, step.request)
	if err != nil {
		return fmt.Sprintf("%s: %s", status.Code(err), status.Convert(err).Message())
	}
	if r, ok := response.(*pb.AuthenticateResponse); ok {
		s.tokens[step.request.(*pb.AuthenticateRequest).Name] = r.Token
		r.Token = ""
	}
	if step.unlike {
		return "answered"
	}
	return describeResponse(response)
}

// invoke calls any method of etcd's API. Of a stream it sends one message and
// takes one.
func invoke(ctx context.Context, conn *grpc.ClientConn, name string, request proto.Message) (proto.Message, error) {
	service, method, _ := strings.Cut(name, "/")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName("etcdserverpb." + service))
	if err != nil {
		return nil, err
	}
	m := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(method))
	kind, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	if err != nil {
		return nil, err
	}
	response := kind.New().Interface()
	path := "/etcdserverpb." + name
	if !m.IsStreamingServer() {
		return response, conn.Invoke(ctx, path, request, response)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: m.IsStreamingClient()}, path)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !m.IsStreamingClient() {
		if err := stream.CloseSend(); err != nil {
			return nil, err
		}
	}
	return response, stream.RecvMsg(response)
}

func describeResponse(response proto.Message) string {
	if r, ok := response.(interface{ GetHeader() *pb.ResponseHeader }); ok && r.GetHeader() != nil {
		h := r.GetHeader()
		h.ClusterId, h.MemberId, h.RaftTerm = 0, 0, 0
	}
	if r, ok := response.(*pb.LeaseTimeToLiveResponse); ok {
		r.TTL = min(r.TTL, 1) // it runs
		slices.SortFunc(r.Keys, bytes.Compare)
	}
	text, err := prototext.MarshalOptions{}.Marshal(response)
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(string(text)), " ") // its blanks are random
}

// Short forms for steps.
func put(key string) *pb.PutRequest { return &pb.PutRequest{Key: []byte(key), Value: []byte("v")} }

func keys(key, end string) *pb.RangeRequest {
	return &pb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end), Serializable: true}
}

func permission(kind authpb.Permission_Type, key, end string) *authpb.Permission {
	return &authpb.Permission{PermType: kind, Key: []byte(key), RangeEnd: []byte(end)}
}

func grant(role string, kind authpb.Permission_Type, key, end string) *pb.AuthRoleGrantPermissionRequest {
	return &pb.AuthRoleGrantPermissionRequest{Name: role, Perm: permission(kind, key, end)}
}

func putOp(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func deleteOp(key, end string, prev bool) *pb.RequestOp {
	r := &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end), PrevKv: prev}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

func txnOp(r *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}

func exists(key, end string) *pb.Compare {
	return &pb.Compare{Key: []byte(key), RangeEnd: []byte(end), Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{}}
}

func watchOf(r *pb.WatchCreateRequest) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
}

// beforeEnable is what an operator does first, and what can go wrong there.
func beforeEnable() []authStep {
	long := strings.Repeat("x", 73)
	return []authStep{
		{"", "Auth/AuthStatus", &pb.AuthStatusRequest{}, false},
		{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: "root", Password: "r"}, false},
		{"", "Auth/AuthEnable", &pb.AuthEnableRequest{}, false},
		{"", "Auth/AuthDisable", &pb.AuthDisableRequest{}, false},
		{"made-up", "KV/Put", put("a"), false},
		{"", "Auth/UserAdd", &pb.AuthUserAddRequest{}, false},
		{"", "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "long", Password: long}, false},
		{"", "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "root", Password: "r"}, false},
		{"", "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "root", Password: "r"}, false},
		{"", "Auth/AuthStatus", &pb.AuthStatusRequest{}, false},
		{"", "Auth/AuthEnable", &pb.AuthEnableRequest{}, false},
		{"", "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "nobody", Role: "root"}, false},
		{"", "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "root", Role: "nothing"}, false},
		{"", "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}, false},
		{"", "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}, false},
		{"", "Auth/AuthStatus", &pb.AuthStatusRequest{}, false},
		{"", "Auth/RoleGet", &pb.AuthRoleGetRequest{Role: "root"}, false},
		{"", "Auth/UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "root"}, false},
		{"", "Auth/UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "root"}, false},
		{"", "Auth/UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: "nobody", Role: "root"}, false},
		{"", "Auth/RoleAdd", &pb.AuthRoleAddRequest{}, false},
		{"", "Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: "root"}, false},
		{"", "Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: "root"}, false},
		{"", "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}, false},
		{"", "Auth/RoleGet", &pb.AuthRoleGetRequest{Role: "root"}, false},
		{"", "Auth/RoleGet", &pb.AuthRoleGetRequest{Role: "nothing"}, false},
		{"", "Auth/RoleDelete", &pb.AuthRoleDeleteRequest{Role: "nothing"}, false},
		{"", "Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: "app"}, false},
		{"", "Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "app"}, false},
		{"", "Auth/RoleGrantPermission", grant("nothing", authpb.Permission_READ, "a", ""), false},
		{"", "Auth/RoleGrantPermission", grant("app", authpb.Permission_READ, "", "b"), false},
		{"", "Auth/RoleGrantPermission", grant("app", authpb.Permission_READ, "b", "a"), false},
		{"", "Auth/RoleGrantPermission", grant("app", authpb.Permission_READ, "a", "a"), false},
		{"", "Auth/RoleGrantPermission", grant("app", authpb.Permission_READ, "r", "s"), false},
		{"", "Auth/RoleGrantPermission", grant("app", authpb.Permission_WRITE, "w", "x"), false},
		{"", "Auth/RoleGrantPermission", grant("app", authpb.Permission_READ, "b", "c"), false},
		{"", "Auth/RoleGrantPermission", grant("app", authpb.Permission_READWRITE, "b", "c"), false},
		{"", "Auth/RoleGrantPermission", grant("app", authpb.Permission_READ, "one", ""), false},
		{"", "Auth/RoleGet", &pb.AuthRoleGetRequest{Role: "app"}, false},
		{"", "Auth/RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "app", Key: []byte("r")}, false},
		{"", "Auth/RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "nothing", Key: []byte("r")}, false},
		{"", "Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: "more"}, false},
		{"", "Auth/RoleGrantPermission", grant("more", authpb.Permission_READWRITE, "c", "d"), false},
		{"", "Auth/RoleGrantPermission", grant("more", authpb.Permission_READ, "z", "\x00"), false},
		{"", "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "alice", Password: "a"}, false},
		{"", "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "bob", Password: "b"}, false},
		{"", "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "empty"}, false},
		{"", "Auth/UserAdd", &pb.AuthUserAddRequest{Name: "cert", Options: &authpb.UserAddOptions{NoPassword: true}}, false},
		{"", "Auth/UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "cert", Password: "c"}, false},
		{"", "Auth/UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "nobody", Password: "c"}, false},
		{"", "Auth/UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "alice", Password: long}, false},
		{"", "Auth/UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "alice", HashedPassword: "!"}, false},
		{"", "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "alice", Role: "more"}, false},
		{"", "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "alice", Role: "app"}, false},
		{"", "Auth/UserGet", &pb.AuthUserGetRequest{Name: "alice"}, false},
		{"", "Auth/UserGet", &pb.AuthUserGetRequest{Name: "nobody"}, false},
		{"", "Auth/UserList", &pb.AuthUserListRequest{}, false},
		{"", "Auth/RoleList", &pb.AuthRoleListRequest{}, false},
		{"", "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "nobody"}, false},
		{"", "KV/Put", put("secret"), false},
		{"", "KV/Put", put("b1"), false},
		{"", "KV/Put", put("r1"), false},
		{"", "Lease/LeaseGrant", &pb.LeaseGrantRequest{ID: 1, TTL: 600}, false},
		{"", "Lease/LeaseGrant", &pb.LeaseGrantRequest{ID: 2, TTL: 600}, false},
		{"", "Lease/LeaseGrant", &pb.LeaseGrantRequest{ID: 3, TTL: 600}, false},
		{"", "KV/Put", &pb.PutRequest{Key: []byte("secret-leased"), Lease: 1}, false},
		{"", "KV/Put", &pb.PutRequest{Key: []byte("b-leased"), Lease: 2}, false},
		{"", "KV/Put", &pb.PutRequest{Key: []byte("w-leased"), Lease: 3}, false},
		{"", "Auth/AuthEnable", &pb.AuthEnableRequest{}, false},
		{"", "Auth/AuthStatus", &pb.AuthStatusRequest{}, false},
	}
}

// logins are good and bad ones.
func logins() []authStep {
	login := func(name, password string) authStep {
		return authStep{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: name, Password: password}, false}
	}
	return []authStep{
		login("root", "wrong"), login("nobody", "x"), login("", ""), login("cert", ""), login("cert", "c"), login("alice", ""),
		login("root", "r"), login("alice", "a"), login("bob", "b"), login("empty", ""),
	}
}

// accesses are the calls whose answer depends on who asks.
func accesses(as string) (steps []authStep) {
	prev := func(r *pb.PutRequest) *pb.PutRequest { r.PrevKv = true; return r }
	leased := func(key string, id int64) *pb.PutRequest { r := put(key); r.Lease = id; return r }
	id := int64(100 + len(as))
	for _, c := range []struct {
		method  string
		request proto.Message
		unlike  bool
	}{
		{"KV/Put", put("b1"), false},
		{"KV/Put", put("c1"), false},
		{"KV/Put", put("w1"), false},
		{"KV/Put", prev(put("w1")), false},
		{"KV/Put", prev(put("b1")), false},
		{"KV/Put", put("r1"), false},
		{"KV/Put", put("one"), false},
		{"KV/Put", put("secret"), false},
		{"KV/Put", put(""), false},
		{"KV/Put", leased("b1", 1), false},
		{"KV/Put", leased("b1", 2), false},
		{"KV/Put", leased("b1", 3), false},
		{"KV/Put", leased("b1", 77), false},
		{"KV/Put", leased("secret", 77), false},
		{"KV/Range", keys("b1", ""), false},
		{"KV/Range", keys("b", "c"), false},
		{"KV/Range", keys("b", "d"), false},
		{"KV/Range", keys("b", "e"), false},
		{"KV/Range", keys("a", "c"), false},
		{"KV/Range", keys("r1", ""), false},
		{"KV/Range", keys("r", "s"), false},
		{"KV/Range", keys("r", "s\x00"), false},
		{"KV/Range", keys("one", ""), false},
		{"KV/Range", keys("one", "one\x00"), false},
		{"KV/Range", keys("one\x00", ""), false},
		{"KV/Range", keys("w1", ""), false},
		{"KV/Range", keys("z", "\x00"), false},
		{"KV/Range", keys("zz", "\x00"), false},
		{"KV/Range", keys("y", "\x00"), false},
		{"KV/Range", keys("\x00", "\x00"), false},
		{"KV/Range", keys("b", "a"), false},
		{"KV/Range", keys("b", "b"), false},
		{"KV/Range", keys("e", "b"), false},
		{"KV/Range", &pb.RangeRequest{Key: []byte("b1")}, false},
		{"KV/Range", &pb.RangeRequest{Key: []byte("secret")}, false},
		{"KV/RangeStream", &pb.RangeRequest{Key: []byte("b1")}, true},
		{"KV/RangeStream", &pb.RangeRequest{Key: []byte("secret")}, true},
		{"KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte("b1")}, false},
		{"KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte("w1"), PrevKv: true}, false},
		{"KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte("w1")}, false},
		{"KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte("b"), RangeEnd: []byte("d"), PrevKv: true}, false},
		{"KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte("b"), RangeEnd: []byte("e")}, false},
		{"KV/DeleteRange", &pb.DeleteRangeRequest{Key: []byte("r1")}, false},
		{"KV/Txn", &pb.TxnRequest{}, false},
		{"KV/Txn", &pb.TxnRequest{Compare: []*pb.Compare{exists("b1", "")}, Success: []*pb.RequestOp{putOp(put("b1"))}, Failure: []*pb.RequestOp{putOp(put("w1"))}}, false},
		{"KV/Txn", &pb.TxnRequest{Compare: []*pb.Compare{exists("w1", "")}, Success: []*pb.RequestOp{putOp(put("b1"))}}, false},
		{"KV/Txn", &pb.TxnRequest{Compare: []*pb.Compare{exists("b", "d")}, Failure: []*pb.RequestOp{putOp(put("secret"))}}, false},
		{"KV/Txn", &pb.TxnRequest{Compare: []*pb.Compare{exists("r1", "")}}, false},
		{"KV/Txn", &pb.TxnRequest{Compare: []*pb.Compare{exists("secret", "")}}, false},
		{"KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{rangeOp(keys("r1", ""))}}, false},
		{"KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{rangeOp(keys("secret", ""))}}, false},
		{"KV/Txn", &pb.TxnRequest{Failure: []*pb.RequestOp{rangeOp(keys("w1", ""))}}, false},
		{"KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{deleteOp("w1", "", false)}}, false},
		{"KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{deleteOp("w1", "", true)}}, false},
		{"KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{deleteOp("b", "d", true)}}, false},
		{"KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{putOp(prev(put("w1")))}}, false},
		{"KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{putOp(leased("b2", 1))}}, false},
		{"KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{txnOp(&pb.TxnRequest{Failure: []*pb.RequestOp{putOp(put("secret"))}})}}, false},
		{"KV/Txn", &pb.TxnRequest{Success: []*pb.RequestOp{txnOp(&pb.TxnRequest{Success: []*pb.RequestOp{putOp(put("b3"))}})}}, false},
		{"Watch/Watch", watchOf(&pb.WatchCreateRequest{Key: []byte("b")}), false},
		{"Watch/Watch", watchOf(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("d")}), false},
		{"Watch/Watch", watchOf(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("e")}), false},
		{"Watch/Watch", watchOf(&pb.WatchCreateRequest{Key: []byte("w1")}), false},
		{"Watch/Watch", watchOf(&pb.WatchCreateRequest{RangeEnd: []byte{0}}), false},
		{"Watch/Watch", watchOf(&pb.WatchCreateRequest{Key: []byte("secret"), StartRevision: -1}), false},
		{"Watch/Watch", watchOf(&pb.WatchCreateRequest{Key: []byte("secret"), RangeEnd: []byte("a")}), false},
		{"Watch/Watch", watchOf(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")}), false},
		{"Lease/LeaseGrant", &pb.LeaseGrantRequest{ID: id, TTL: 600}, false},
		{"Lease/LeaseGrant", &pb.LeaseGrantRequest{ID: 1, TTL: 600}, false},
		{"Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: 1}, false},
		{"Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: 1, Keys: true}, false},
		{"Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: 2, Keys: true}, false},
		{"Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: 3, Keys: true}, false},
		{"Lease/LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: 77, Keys: true}, false},
		{"Lease/LeaseKeepAlive", &pb.LeaseKeepAliveRequest{ID: 1}, false},
		{"Lease/LeaseKeepAlive", &pb.LeaseKeepAliveRequest{ID: 2}, false},
		{"Lease/LeaseKeepAlive", &pb.LeaseKeepAliveRequest{ID: 77}, false},
		{"Lease/LeaseLeases", &pb.LeaseLeasesRequest{}, true},
		{"Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 77}, false},
		{"Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: id}, false},
		{"Auth/AuthStatus", &pb.AuthStatusRequest{}, false},
		{"Auth/UserGet", &pb.AuthUserGetRequest{Name: "alice"}, false},
		{"Auth/UserGet", &pb.AuthUserGetRequest{Name: "bob"}, false},
		{"Auth/UserGet", &pb.AuthUserGetRequest{Name: "nobody"}, false},
		{"Auth/RoleGet", &pb.AuthRoleGetRequest{Role: "app"}, false},
		{"Auth/RoleGet", &pb.AuthRoleGetRequest{Role: "root"}, false},
		{"Auth/RoleGet", &pb.AuthRoleGetRequest{Role: "nothing"}, false},
		{"Auth/UserList", &pb.AuthUserListRequest{}, false},
		{"Auth/RoleList", &pb.AuthRoleListRequest{}, false},
		{"Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "root"}, false},
		{"Auth/RoleDelete", &pb.AuthRoleDeleteRequest{Role: "root"}, false},
		{"Auth/UserRevokeRole", &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "root"}, false},
		{"Auth/UserAdd", &pb.AuthUserAddRequest{Name: "alice"}, false},
		{"Auth/UserAdd", &pb.AuthUserAddRequest{}, false},
		{"Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: "app"}, false},
		{"Auth/AuthEnable", &pb.AuthEnableRequest{}, false},
		{"Cluster/MemberList", &pb.MemberListRequest{}, true},
		{"Maintenance/Status", &pb.StatusRequest{}, true},
		{"Maintenance/Alarm", &pb.AlarmRequest{}, true},
		{"Maintenance/Hash", &pb.HashRequest{}, true},
		{"Maintenance/HashKV", &pb.HashKVRequest{}, true},
		{"KV/Compact", &pb.CompactionRequest{Revision: 1 << 40}, false},
	} {
		steps = append(steps, authStep{as, c.method, c.request, c.unlike})
	}
	return steps
}

// onlyRefused are calls for administrators alone, by users who are none.
func onlyRefused(as string) (steps []authStep) {
	for method, request := range map[string]proto.Message{
		"Cluster/MemberAdd":        &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}},
		"Cluster/MemberRemove":     &pb.MemberRemoveRequest{ID: 1},
		"Cluster/MemberUpdate":     &pb.MemberUpdateRequest{ID: 1, PeerURLs: []string{"http://127.0.0.1:1"}},
		"Cluster/MemberPromote":    &pb.MemberPromoteRequest{ID: 1},
		"Maintenance/Alarm":        &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE},
		"Maintenance/Defragment":   &pb.DefragmentRequest{},
		"Maintenance/Snapshot":     &pb.SnapshotRequest{},
		"Maintenance/MoveLeader":   &pb.MoveLeaderRequest{TargetID: 1},
		"Maintenance/Downgrade":    &pb.DowngradeRequest{Action: pb.DowngradeRequest_VALIDATE, Version: "3.6.0"},
		"Auth/AuthDisable":         &pb.AuthDisableRequest{},
		"Auth/UserChangePassword":  &pb.AuthUserChangePasswordRequest{Name: "alice", Password: "x"},
		"Auth/UserGrantRole":       &pb.AuthUserGrantRoleRequest{User: "alice", Role: "root"},
		"Auth/RoleGrantPermission": grant("app", authpb.Permission_READWRITE, "secret", ""),
		"Auth/RoleRevokePermission": &pb.AuthRoleRevokePermissionRequest{
			Role: "app", Key: []byte("one"),
		},
		"Lease/LeaseRevoke": &pb.LeaseRevokeRequest{ID: 1},
	} {
		steps = append(steps, authStep{as, method, request, false})
	}
	return steps
}

// changes are what administrators do while users work, with what these see.
func changes() []authStep {
	return []authStep{
		{"root", "Auth/RoleRevokePermission", &pb.AuthRoleRevokePermissionRequest{Role: "app", Key: []byte("b"), RangeEnd: []byte("c")}, false},
		{"alice", "KV/Put", put("b1"), false},
		{"alice", "KV/Put", put("c1"), false},
		{"root", "Auth/RoleGrantPermission", grant("app", authpb.Permission_READWRITE, "c", "f"), false},
		{"alice", "KV/Put", put("e1"), false},
		{"alice", "KV/Range", keys("c", "f"), false},
		{"root", "Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: "bob", Role: "root"}, false},
		{"bob", "KV/Put", put("secret"), false},
		{"bob", "Auth/UserList", &pb.AuthUserListRequest{}, false},
		{"bob", "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "bob"}, false},
		{"bob", "KV/Put", put("secret"), false},
		{"root", "Auth/UserChangePassword", &pb.AuthUserChangePasswordRequest{Name: "alice", Password: "new"}, false},
		{"alice", "KV/Put", put("c1"), false},
		{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: "alice", Password: "a"}, false},
		{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: "alice", Password: "new"}, false},
		{"alice", "KV/Put", put("c1"), false},
		{"root", "Auth/RoleDelete", &pb.AuthRoleDeleteRequest{Role: "app"}, false},
		{"alice", "KV/Put", put("e1"), false},
		{"alice", "Auth/UserGet", &pb.AuthUserGetRequest{Name: "alice"}, false},
		{"root", "Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: 1}, false},
		{"root", "KV/Range", keys("\x00", "\x00"), false},
		{"root", "Auth/AuthDisable", &pb.AuthDisableRequest{}, false},
		{"alice", "KV/Put", put("secret"), false},
		{"", "KV/Put", put("secret"), false},
		{"", "Auth/AuthEnable", &pb.AuthEnableRequest{}, false},
		{"alice", "KV/Put", put("c1"), false},
		{"root", "KV/Put", put("c1"), false},
		{"", "Auth/Authenticate", &pb.AuthenticateRequest{Name: "root", Password: "r"}, false},
		{"root", "Auth/AuthStatus", &pb.AuthStatusRequest{}, false},
		{"root", "Auth/AuthDisable", &pb.AuthDisableRequest{}, false},
		{"", "Auth/UserDelete", &pb.AuthUserDeleteRequest{Name: "root"}, false},
		{"", "Auth/RoleDelete", &pb.AuthRoleDeleteRequest{Role: "root"}, false},
		{"", "Auth/AuthEnable", &pb.AuthEnableRequest{}, false},
		{"", "Auth/UserList", &pb.AuthUserListRequest{}, false},
		{"", "Auth/RoleList", &pb.AuthRoleListRequest{}, false},
		{"", "Auth/AuthStatus", &pb.AuthStatusRequest{}, false},
	}
}

func authScript() []authStep {
	steps := append(beforeEnable(), logins()...)
	for _, as := range []string{"", "made-up", "alice", "bob", "empty"} {
		steps = append(append(steps, accesses(as)...), onlyRefused(as)...)
	}
	return append(append(steps, accesses("root")...), changes()...)
}

// TestAuthIsEtcds asks coordd and etcd the same questions as the same users.
func TestAuthIsEtcds(t *testing.T) {
	t.Run("simple", func(t *testing.T) { testAuthIsEtcds(t) })
	t.Run("jwt", func(t *testing.T) { testAuthIsEtcds(t, "--auth-token", jwtSetting(t)) })
}

// jwtSetting makes tokens signed with a new secret.
func jwtSetting(t *testing.T) string {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(rand.Text()), 0o600); err != nil {
		t.Fatal(err)
	}
	return "jwt,sign-method=HS256,ttl=10m,priv-key=" + secret
}

func testAuthIsEtcds(t *testing.T, flags ...string) {
	ours, theirs := newAuthSide(t, "bin/coordd", flags...), newAuthSide(t, "e2e/peers/bin/etcd", flags...)
	outcomes := map[string]int{}
	for i, step := range authScript() {
		got, want := ours.do(t, step), theirs.do(t, step)
		outcomes[strings.SplitN(want, ":", 2)[0]]++
		if got != want {
			t.Errorf("step %d: %q calls %s %v:\n  coordd: %s\n  etcd:   %s", i, step.as, step.method, step.request, got, want)
		}
	}
	for _, class := range []string{"PermissionDenied", "InvalidArgument", "Unauthenticated", "FailedPrecondition", "header", "answered"} {
		if outcomes[class] < 5 {
			t.Errorf("only %d outcomes of class %s among %v: the script asks too little", outcomes[class], class, outcomes)
		}
	}
}

// TestTokenIsGoodOnEveryMember: a client moves between members with one token.
func TestTokenIsGoodOnEveryMember(t *testing.T) {
	c := startCluster(t, 3)
	ctx := within(t, time.Minute)
	enableAuth(t, newClient(t, c.Endpoints()...))
	first := dialMember(t, c.Members[0].ClientURL)
	for range 8 {
		answer, err := pb.NewAuthClient(first).Authenticate(ctx, &pb.AuthenticateRequest{Name: "root", Password: "r"})
		if err != nil {
			t.Fatal(err)
		}
		shown := metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, answer.Token)
		for _, m := range c.Members {
			conn := dialMember(t, m.ClientURL)
			if _, err := pb.NewKVClient(conn).Range(shown, &pb.RangeRequest{Key: []byte("k"), Serializable: true}); err != nil {
				t.Fatalf("%s: %v", m.Name, err)
			}
			conn.Close()
		}
	}
}

// TestSignedTokensAreEtcds: with one key each takes the other's tokens.
func TestSignedTokensAreEtcds(t *testing.T) {
	setting := jwtSetting(t)
	ours, theirs := newAuthSide(t, "bin/coordd", "--auth-token", setting), newAuthSide(t, "e2e/peers/bin/etcd", "--auth-token", setting)
	for _, side := range []*authSide{ours, theirs} {
		for _, step := range append(beforeEnable(), logins()...) {
			side.do(t, step)
		}
	}
	ours.tokens, theirs.tokens = theirs.tokens, ours.tokens
	for _, step := range []authStep{
		{"alice", "KV/Range", keys("b1", ""), false},
		{"alice", "KV/Range", keys("secret", ""), false},
		{"root", "Auth/UserList", &pb.AuthUserListRequest{}, false},
	} {
		if got, want := ours.do(t, step), theirs.do(t, step); got != want || strings.HasPrefix(got, "Unauthenticated") {
			t.Errorf("%q calls %s: coordd: %s, etcd: %s", step.as, step.method, got, want)
		}
	}
}

// TestUsersRestoreIntoEtcd: what coordd stores of users, etcd reads.
func TestUsersRestoreIntoEtcd(t *testing.T) {
	c := startCluster(t, 1)
	ours := &authSide{dialMember(t, c.Members[0].ClientURL), map[string]string{}}
	for _, step := range append(beforeEnable(), logins()...) {
		ours.do(t, step)
	}
	c.Members[0].Stop()
	if err := c.Members[0].Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Members[0].AwaitReady(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	c.Members[0].Stop()
	dir := t.TempDir()
	db := filepath.Join(c.Members[0].DataDir, "member", "snap", "db")
	restore := exec.Command(program(t, "e2e/peers/bin/etcdutl"), "snapshot", "restore", db, "--skip-hash-check", "--data-dir", filepath.Join(dir, "n1"))
	if out, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	theirs := newAuthSideIn(t, "e2e/peers/bin/etcd", dir, "--force-new-cluster")
	if err := c.Members[0].Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Members[0].AwaitReady(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, step := range append(logins(), accesses("alice")...) {
		if got, want := ours.do(t, step), theirs.do(t, step); got != want {
			t.Errorf("%q calls %s %v:\n  coordd: %s\n  etcd:   %s", step.as, step.method, step.request, got, want)
		}
	}
}

// TestOfficialClientRefreshesItsToken: changes of users and lost tokens do not
// show to a client that knows its password.
func TestOfficialClientRefreshesItsToken(t *testing.T) {
	c := startCluster(t, 1)
	ctx := within(t, time.Minute)
	plain := newClient(t, c.Endpoints()...)
	enableAuth(t, plain)
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Username: "root", Password: "r", DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 5 {
		if _, err := client.Put(ctx, "k", "v"); err != nil {
			t.Fatal(err)
		}
		if _, err := client.UserAdd(ctx, fmt.Sprint("u", i), "p"); err != nil {
			t.Fatal(err)
		}
	}
	c.Members[0].Kill()
	if err := c.Members[0].Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Members[0].AwaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(ctx, "k"); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := plain.Get(ctx, "k"); !errors.Is(err, rpctypes.ErrUserEmpty) {
		t.Errorf("without a user: %v, want %v", err, rpctypes.ErrUserEmpty)
	}
}

// enableAuth makes user root with password r and turns authentication on.
func enableAuth(t *testing.T, client *clientv3.Client) {
	t.Helper()
	ctx := within(t, time.Minute)
	_, err := client.UserAdd(ctx, "root", "r")
	if err == nil {
		_, err = client.UserGrantRole(ctx, "root", "root")
	}
	if err == nil {
		_, err = client.AuthEnable(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
}
