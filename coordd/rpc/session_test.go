package rpc

import (
	"context"
	"testing"

	"github.com/coordd/coordd/proto/v3electionpb"
	"github.com/coordd/coordd/proto/v3lockpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/status"
)

// withAlice adds the user alice, password a, who may read and write below "mine/".
func (r *rig) withAlice(t *testing.T) (root, alice context.Context) {
	t.Helper()
	root = r.login(t, "root", "r")
	_, err := r.client.RoleAdd(root, "role")
	if err == nil {
		_, err = r.client.RoleGrantPermission(root, "role", "mine/", "mine0", clientv3.PermissionType(clientv3.PermReadWrite))
	}
	if err == nil {
		_, err = r.client.UserAdd(root, "alice", "a")
	}
	if err == nil {
		_, err = r.client.UserGrantRole(root, "alice", "role")
	}
	if err != nil {
		t.Fatal(err)
	}
	return root, r.login(t, "alice", "a")
}

// A call has the rights of its caller, whether he shows a token or a certificate, and no others.
func TestLocksAndElectionsAskForPermission(t *testing.T) {
	r := newAuthRig(t, func(c *Config) { c.ClientCertAuth = true })
	_, alice := r.withAlice(t)
	locks, elections := v3lockpb.NewLockClient(r.conn), v3electionpb.NewElectionClient(r.conn)
	lease, err := r.client.Grant(alice, 60)
	if err != nil {
		t.Fatal(err)
	}
	calls := func(ctx context.Context, name string) map[string]error {
		_, lock := locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte(name), Lease: int64(lease.ID)})
		_, bare := locks.Lock(ctx, &v3lockpb.LockRequest{Name: []byte(name)})
		_, campaign := elections.Campaign(ctx, &v3electionpb.CampaignRequest{Name: []byte(name), Lease: int64(lease.ID)})
		leader := &v3electionpb.LeaderKey{Name: []byte(name), Key: []byte(name + "/1"), Rev: 1, Lease: int64(lease.ID)}
		_, proclaim := elections.Proclaim(ctx, &v3electionpb.ProclaimRequest{Leader: leader})
		_, resign := elections.Resign(ctx, &v3electionpb.ResignRequest{Leader: leader})
		_, who := elections.Leader(ctx, &v3electionpb.LeaderRequest{Name: []byte(name)})
		observer, err := elections.Observe(ctx, &v3electionpb.LeaderRequest{Name: []byte(name)})
		if err == nil {
			_, err = observer.Recv()
		}
		return map[string]error{"lock": lock, "lock without lease": bare, "campaign": campaign, "proclaim": proclaim, "resign": resign, "leader": who, "observe": err}
	}
	for call, err := range calls(alice, "other") {
		if status.Convert(err).Message() != rpctypes.ErrPermissionDenied.Error() {
			t.Errorf("%s of one who may not: %v", call, err)
		}
	}
	for call, err := range calls(t.Context(), "other") {
		if status.Convert(err).Message() != rpctypes.ErrUserEmpty.Error() {
			t.Errorf("%s of nobody: %v", call, err)
		}
	}
	if _, err := locks.Lock(alice, &v3lockpb.LockRequest{Name: []byte("mine/l"), Lease: int64(lease.ID)}); err != nil {
		t.Error(err)
	}
	server := &lockServer{Server: r.server}
	if _, err := server.Lock(incoming("alice"), &v3lockpb.LockRequest{Name: []byte("mine/certified"), Lease: int64(lease.ID)}); err != nil {
		t.Errorf("by certificate: %v", err)
	}
	if _, err := server.Lock(incoming("alice"), &v3lockpb.LockRequest{Name: []byte("other"), Lease: int64(lease.ID)}); wireError(err) != rpctypes.ErrGRPCPermissionDenied {
		t.Errorf("by certificate, of one who may not: %v", err)
	}
	left, err := r.client.Leases(r.login(t, "root", "r"))
	if err != nil || len(left.Leases) != 1 {
		t.Errorf("leases %v, want the test's: %v", left, err)
	}
}

// Who has lost the right while waiting does not get the lock.
func TestLockOfOneWhoMayNoLonger(t *testing.T) {
	r := newAuthRig(t, nil)
	root, alice := r.withAlice(t)
	locks := v3lockpb.NewLockClient(r.conn)
	holder, err := locks.Lock(root, &v3lockpb.LockRequest{Name: []byte("mine/l")})
	if err != nil {
		t.Fatal(err)
	}
	lease, err := r.client.Grant(alice, 60)
	if err != nil {
		t.Fatal(err)
	}
	waiting := lockLater(alice, locks, "mine/l", int64(lease.ID))
	keys, cancel := context.WithCancel(root)
	defer cancel()
	for range r.client.Watch(keys, "mine/l/", clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
		if got, err := r.client.Get(root, "mine/l/", clientv3.WithPrefix()); err != nil || len(got.Kvs) == 2 {
			break
		}
	}
	if _, err := r.client.UserRevokeRole(root, "alice", "role"); err != nil {
		t.Fatal(err)
	}
	root = r.login(t, "root", "r")
	if _, err := locks.Unlock(root, &v3lockpb.UnlockRequest{Key: holder.GetKey()}); err != nil {
		t.Fatal(err)
	}
	if got := <-waiting; got.err == nil {
		t.Errorf("the lock was granted: %v", got.response)
	}
}
