package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/coordd/coordd/coordd/token"
	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/auth"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// simpleTokens is the provider that a member has by default.
func simpleTokens(t testing.TB, store *kvcore.Store) token.Provider {
	t.Helper()
	options, err := token.Parse("simple")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := options.Open(store.Tokens(), time.Minute, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

// newAuthRig is a rig with authentication on and user root, whose password is r.
func newAuthRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := newRig(t, change)
	r.enableAuth(t)
	return r
}

func (r *rig) enableAuth(t *testing.T) {
	t.Helper()
	_, err := r.client.UserAdd(t.Context(), "root", "r")
	if err == nil {
		_, err = r.client.UserGrantRole(t.Context(), "root", "root")
	}
	if err == nil {
		_, err = r.client.AuthEnable(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// login returns a context that shows a user's token.
func (r *rig) login(t *testing.T, name, password string) context.Context {
	t.Helper()
	answer, err := r.client.Authenticate(t.Context(), name, password)
	if err != nil {
		t.Fatal(err)
	}
	return metadata.AppendToOutgoingContext(t.Context(), rpctypes.TokenFieldNameGRPC, answer.Token)
}

// serviceMethods lists all calls of etcd's API, by full name.
func serviceMethods() (methods []protoreflect.MethodDescriptor) {
	services := pb.File_rpc_proto.Services()
	for i := range services.Len() {
		for j := range services.Get(i).Methods().Len() {
			methods = append(methods, services.Get(i).Methods().Get(j))
		}
	}
	return methods
}

// No call may be forgotten, neither today nor when the API grows.
func TestNobodyMayDoNothing(t *testing.T) {
	r := newAuthRig(t, nil)
	open := map[string]bool{"Auth/AuthStatus": true, "Auth/Authenticate": true}
	requests := map[string]proto.Message{
		"KV/Range":               &pb.RangeRequest{Key: []byte("a"), Serializable: true},
		"KV/RangeStream":         &pb.RangeRequest{Key: []byte("a"), Serializable: true},
		"KV/Put":                 &pb.PutRequest{Key: []byte("a")},
		"KV/DeleteRange":         &pb.DeleteRangeRequest{Key: []byte("a")},
		"KV/Txn":                 &pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte("a")}}},
		"Lease/LeaseTimeToLive":  &pb.LeaseTimeToLiveRequest{ID: 1},
		"Auth/UserGet":           &pb.AuthUserGetRequest{Name: "root"},
		"Cluster/MemberPromote":  &pb.MemberPromoteRequest{ID: 1},
		"Maintenance/MoveLeader": &pb.MoveLeaderRequest{TargetID: 1},
	}
	methods := serviceMethods()
	if len(methods) < 40 {
		t.Fatalf("only %d methods were found", len(methods))
	}
	for _, m := range methods {
		name := string(m.Parent().Name()) + "/" + string(m.Name())
		request, ok := requests[name]
		if !ok {
			request = newMessage(t, m.Input())
		}
		if m.FullName() == "etcdserverpb.Watch.Watch" || open[name] {
			continue
		}
		if err := r.call(t.Context(), m, request, newMessage(t, m.Output())); !errors.Is(rpctypes.Error(err), rpctypes.ErrUserEmpty) {
			t.Errorf("%s without a user: %v, want %v", name, err, rpctypes.ErrUserEmpty)
		}
	}
	s := r.watch(t)
	s.create(&pb.WatchCreateRequest{Key: []byte("a")})
	if got := s.next(); !got.Created || !got.Canceled || got.WatchId != -1 || got.CancelReason != rpctypes.ErrGRPCUserEmpty.Error() {
		t.Errorf("a watch without a user: %v", got)
	}
}

func newMessage(t *testing.T, d protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return kind.New().Interface()
}

// call makes a call of any kind; of a stream it sends and takes one message.
func (r *rig) call(ctx context.Context, m protoreflect.MethodDescriptor, request, response proto.Message) error {
	path := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	if !m.IsStreamingServer() {
		return r.conn.Invoke(ctx, path, request, response)
	}
	stream, err := r.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: m.IsStreamingClient()}, path)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(response)
}

func TestPasswordsAreStoredHashed(t *testing.T) {
	r := newAuthRig(t, nil)
	hash, err := r.store.Auth().PasswordHash("root")
	if err != nil {
		t.Fatal(err)
	}
	if cost, err := bcrypt.Cost(hash); err != nil || cost != bcrypt.MinCost {
		t.Errorf("stored is %q: cost %d, %v", hash, cost, err)
	}
	ctx := r.login(t, "root", "r")
	if _, err := r.client.UserChangePassword(ctx, "root", "new"); err != nil {
		t.Fatal(err)
	}
	// The client itself would try again for seconds.
	if _, err := pb.NewKVClient(r.conn).Range(ctx, &pb.RangeRequest{Key: []byte("a")}); !errors.Is(rpctypes.Error(err), rpctypes.ErrInvalidAuthToken) {
		t.Errorf("with a token of the old password: %v", err)
	}
	if _, err := r.client.Authenticate(t.Context(), "root", "r"); !errors.Is(err, rpctypes.ErrAuthFailed) {
		t.Errorf("with the old password: %v", err)
	}
	r.login(t, "root", "new")
}

// A watch that began stays, as in etcd; the next one is refused.
func TestRevokedPermissionEndsNewWatches(t *testing.T) {
	r := newAuthRig(t, nil)
	root := r.login(t, "root", "r")
	for _, step := range []func() error{
		func() error { _, err := r.client.RoleAdd(root, "role"); return err },
		func() error {
			_, err := r.client.RoleGrantPermission(root, "role", "a", "", clientv3.PermissionType(authpb.Permission_READ))
			return err
		},
		func() error { _, err := r.client.UserAdd(root, "alice", "a"); return err },
		func() error { _, err := r.client.UserGrantRole(root, "alice", "role"); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	client, err := pb.NewWatchClient(r.conn).Watch(r.login(t, "alice", "a"))
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{t, client}
	s.create(&pb.WatchCreateRequest{Key: []byte("a")})
	if got := s.next(); !got.Created || got.Canceled {
		t.Fatalf("permitted watch: %v", got)
	}
	if _, err := r.client.UserRevokeRole(root, "alice", "role"); err != nil {
		t.Fatal(err)
	}
	s.create(&pb.WatchCreateRequest{Key: []byte("a")})
	if got := s.next(); !got.Canceled || got.CancelReason != rpctypes.ErrGRPCPermissionDenied.Error() {
		t.Errorf("watch without permission: %v", got)
	}
	if _, err := r.client.Put(root, "a", "1"); err != nil {
		t.Fatal(err)
	}
	if got := s.next(); got.WatchId != 0 || len(got.Events) != 1 {
		t.Errorf("%v, want the event of the watch from before", got)
	}
}

// incoming is a call's context as the server sees it.
func incoming(commonName string, fields ...string) context.Context {
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(fields...))
	if commonName == "" {
		return ctx
	}
	leaf := &x509.Certificate{Subject: pkix.Name{CommonName: commonName}}
	state := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{}, {leaf}}}
	return peer.NewContext(ctx, &peer.Peer{AuthInfo: credentials.TLSInfo{State: state}})
}

func TestIdentify(t *testing.T) {
	r := newAuthRig(t, func(c *Config) { c.ClientCertAuth = true })
	answer, err := r.client.Authenticate(t.Context(), "root", "r")
	if err != nil {
		t.Fatal(err)
	}
	revision := r.store.Auth().Revision()
	root, alice, nobody := auth.Identity{User: "root", Revision: revision}, auth.Identity{User: "alice", Revision: revision}, auth.Identity{}
	for _, c := range []struct {
		name string
		ctx  context.Context
		want auth.Identity
		err  error
	}{
		{"nothing", incoming(""), nobody, nil},
		{"token", incoming("", "token", answer.Token), root, nil},
		{"token of a gateway", incoming("", "authorization", answer.Token, "grpcgateway-accept", "*/*"), root, nil},
		{"token of the bearer", incoming("", "authorization", "Bearer "+answer.Token), root, nil},
		{"wrong token", incoming("", "token", strings.Repeat("A", len(answer.Token))), nobody, auth.ErrInvalidToken},
		{"empty token", incoming("", "token", ""), nobody, auth.ErrInvalidToken},
		{"certificate", incoming("alice"), alice, nil},
		{"certificate of a gateway", incoming("alice", "grpcgateway-accept", "*/*"), nobody, nil},
		{"token before certificate", incoming("alice", "token", answer.Token), root, nil},
		{"wrong token before certificate", incoming("alice", "token", "x"), nobody, auth.ErrInvalidToken},
	} {
		if got, err := r.server.identify(c.ctx); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, got, err, c.want, c.err)
		}
	}
	r.server.ClientCertAuth = false
	if got, err := r.server.identify(incoming("alice")); got != nobody || err != nil {
		t.Errorf("certificate that is not asked for: %v, %v", got, err)
	}
}

// What was read while the users changed may be what is not permitted any more.
func TestReadFailsWhereUsersChangeMeanwhile(t *testing.T) {
	r := newAuthRig(t, nil)
	ctx := r.login(t, "root", "r")
	md, _ := metadata.FromOutgoingContext(ctx)
	inside := metadata.NewIncomingContext(t.Context(), md)
	err := r.server.read(inside, &pb.RangeRequest{Key: []byte("a")}, func() error {
		_, err := r.client.RoleAdd(ctx, "role")
		return err
	})
	if !errors.Is(err, auth.ErrOldRevision) {
		t.Errorf("%v, want %v", err, auth.ErrOldRevision)
	}
	if err := r.server.read(inside, &pb.RangeRequest{Key: []byte("a")}, func() error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestPasswordsTakeTurns(t *testing.T) {
	p := newPasswords(bcrypt.MinCost, time.Minute)
	for range cap(p.turns) {
		if err := p.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ended, end := context.WithCancel(t.Context())
	results := make(chan error)
	for range maxPasswordsWaiting {
		go func() { results <- p.begin(ended) }()
	}
	for p.waiting.Load() < maxPasswordsWaiting {
		runtime.Gosched()
	}
	if _, err := p.hash(t.Context(), "one too many"); !errors.Is(err, raftnode.ErrTooManyRequests) {
		t.Errorf("one too many: %v", err)
	}
	p.end()
	if err := <-results; err != nil {
		t.Errorf("next in turn: %v", err)
	}
	end()
	for range maxPasswordsWaiting - 1 {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("without a caller: %v", err)
		}
	}
	p.timeout = 0
	if err := p.begin(t.Context()); !errors.Is(err, raftnode.ErrTimeout) {
		t.Errorf("too late: %v", err)
	}
	for range cap(p.turns) {
		p.end()
	}
}

// The comparison for a user that is not there must be a real one.
func TestNobodysHashTakesTime(t *testing.T) {
	p := newPasswords(bcrypt.MinCost+1, time.Minute)
	if cost, err := bcrypt.Cost(p.nobody); err != nil || cost != bcrypt.MinCost+1 {
		t.Errorf("%q has cost %d, %v", p.nobody, cost, err)
	}
	if err := bcrypt.CompareHashAndPassword(p.nobody, nil); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		t.Errorf("%q: %v", p.nobody, err)
	}
}
