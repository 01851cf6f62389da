package conformance

import (
	"github.com/coordd/coordd/proto/v3electionpb"
	"github.com/coordd/coordd/proto/v3lockpb"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// login returns a rig with the token of a user; the token is not noted.
func (r *rig) login(user, password string) *rig {
	r.Helper()
	lines := r.transcript.lines
	m, err := r.Authenticate(r.ctx, &pb.AuthenticateRequest{Name: user, Password: password})
	r.transcript.lines = lines
	if err != nil {
		r.note("login of %s: %s", user, errorText(err))
		return r
	}
	return r.as(m.Token)
}

func permission(kind authpb.Permission_Type, from, to string) *authpb.Permission {
	return &authpb.Permission{PermType: kind, Key: key(from), RangeEnd: key(to)}
}

// everything makes each kind of call once.
func (r *rig) everything() {
	r.Helper()
	r.Range(r.ctx, &pb.RangeRequest{Key: key("pub/a")})
	r.Range(r.ctx, &pb.RangeRequest{Key: key("pub/"), RangeEnd: key("pub0")})
	r.Range(r.ctx, &pb.RangeRequest{Key: key("priv/a"), Serializable: true})
	r.Range(r.ctx, all())
	r.rangeStream(&pb.RangeRequest{Key: key("pub/"), RangeEnd: key("pub0")})
	r.rangeStream(&pb.RangeRequest{Key: key("priv/"), RangeEnd: key("priv0")})
	r.Put(r.ctx, &pb.PutRequest{Key: key("pub/a"), Value: key("1")})
	r.Put(r.ctx, &pb.PutRequest{Key: key("pub/a"), Value: key("1"), PrevKv: true})
	r.Put(r.ctx, &pb.PutRequest{Key: key("priv/a"), Value: key("1")})
	r.Put(r.ctx, &pb.PutRequest{Key: key("wo/a"), Value: key("1")})
	r.Put(r.ctx, &pb.PutRequest{Key: key("wo/a"), Value: key("1"), PrevKv: true})
	r.Put(r.ctx, &pb.PutRequest{Key: key("wo/a"), IgnoreValue: true})
	r.Put(r.ctx, &pb.PutRequest{Key: key("pub/l"), Lease: 50})
	r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("pub/x")})
	r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("wo/x"), PrevKv: true})
	r.DeleteRange(r.ctx, &pb.DeleteRangeRequest{Key: key("pub/"), RangeEnd: key("q")})
	r.Txn(r.ctx, &pb.TxnRequest{Success: ops(opGet("pub/a"))})
	r.Txn(r.ctx, &pb.TxnRequest{Success: ops(opGet("priv/a"))})
	r.Txn(r.ctx, &pb.TxnRequest{Success: ops(opPut("pub/a", "2")), Failure: ops(opPut("priv/a", "2"))})
	r.Txn(r.ctx, &pb.TxnRequest{Success: ops(opTxn(&pb.TxnRequest{Success: ops(opPut("priv/a", "2"))}))})
	r.Txn(r.ctx, &pb.TxnRequest{Compare: []*pb.Compare{{Key: key("priv/a"), Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{}}}, Success: ops(opPut("pub/a", "2"))})
	r.Compact(r.ctx, &pb.CompactionRequest{Revision: 1 << 40})
	r.LeaseGrant(r.ctx, &pb.LeaseGrantRequest{ID: 51, TTL: 100})
	r.timeToLive(&pb.LeaseTimeToLiveRequest{ID: 50})
	r.timeToLive(&pb.LeaseTimeToLiveRequest{ID: 50, Keys: true})
	r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 50})
	r.LeaseRevoke(r.ctx, &pb.LeaseRevokeRequest{ID: 51})
	r.LeaseLeases(r.ctx, &pb.LeaseLeasesRequest{})
	r.keepAlive(50, 404)
	for _, ends := range [][2]string{{"pub/a", ""}, {"priv/a", ""}, {"pub/", "pub0"}, {"pub/", "q"}, {"", ""}, {"a", "\x00"}} {
		w := r.watch()
		w.create(&pb.WatchCreateRequest{Key: key(ends[0]), RangeEnd: key(ends[1])})
		w.answer()
	}
	r.defragment()
	r.snapshotOutcome()
	_, err := r.apart().Hash(r.ctx, &pb.HashRequest{})
	r.note("hash: %s", errorText(err))
	r.addAgain()
	r.MemberRemove(r.ctx, &pb.MemberRemoveRequest{ID: 404})
	r.Alarm(r.ctx, &pb.AlarmRequest{})
	r.HashKV(r.ctx, &pb.HashKVRequest{Revision: 1 << 40})
	r.MoveLeader(r.ctx, &pb.MoveLeaderRequest{TargetID: 404})
	r.Downgrade(r.ctx, &pb.DowngradeRequest{Version: "x"})
	r.AuthStatus(r.ctx, &pb.AuthStatusRequest{})
	r.UserList(r.ctx, &pb.AuthUserListRequest{})
	r.UserGet(r.ctx, &pb.AuthUserGetRequest{Name: "alice"})
	r.UserGet(r.ctx, &pb.AuthUserGetRequest{Name: "bob"})
	r.RoleList(r.ctx, &pb.AuthRoleListRequest{})
	r.RoleGet(r.ctx, &pb.AuthRoleGetRequest{Role: "reader"})
	r.RoleGet(r.ctx, &pb.AuthRoleGetRequest{Role: "writer"})
	r.UserAdd(r.ctx, &pb.AuthUserAddRequest{Name: "mallory", Password: "m"})
	r.UserDelete(r.ctx, &pb.AuthUserDeleteRequest{Name: "mallory"})
	r.RoleAdd(r.ctx, &pb.AuthRoleAddRequest{Name: "evil"})
	r.RoleDelete(r.ctx, &pb.AuthRoleDeleteRequest{Role: "evil"})
	if status, err := r.Status(r.ctx, &pb.StatusRequest{}); err == nil {
		r.note("status tells %s", status.Version)
	}
}

var authBodies = []body{
	{"before", func(r *rig) {
		r.AuthStatus(r.ctx, &pb.AuthStatusRequest{})
		r.Authenticate(r.ctx, &pb.AuthenticateRequest{Name: "root", Password: "r"})
		r.AuthEnable(r.ctx, &pb.AuthEnableRequest{})
		r.AuthDisable(r.ctx, &pb.AuthDisableRequest{})
	}},
	{"users", func(r *rig) {
		for _, u := range []*pb.AuthUserAddRequest{
			{Name: "root", Password: "r"}, {Name: "alice", Password: "a"}, {Name: "alice", Password: "b"}, {Name: ""}, {Name: "empty"},
			{Name: "nopass", Options: &authpb.UserAddOptions{NoPassword: true}}, {Name: "bob", Password: "b"}, {Name: "carol", Password: "c"},
		} {
			r.UserAdd(r.ctx, u)
		}
		// What hash there is the server makes: one that comes with the request does not count.
		const ofX = "JDJhJDA0JEg4Z0ZsYzVvdHdqNHhZcFZaV3hOaS5Xd2s0VVAzaDJNOGlHcExzSVpTdGZwbTQ0NDhSQ3dt"
		r.UserAdd(r.ctx, &pb.AuthUserAddRequest{Name: "hashed", Password: "p", HashedPassword: ofX})
		r.UserAdd(r.ctx, &pb.AuthUserAddRequest{Name: "only hashed", HashedPassword: ofX})
		r.UserAdd(r.ctx, &pb.AuthUserAddRequest{Name: "no hash", HashedPassword: "?", Options: &authpb.UserAddOptions{NoPassword: true}})
		r.UserChangePassword(r.ctx, &pb.AuthUserChangePasswordRequest{Name: "hashed", Password: "q", HashedPassword: ofX})
		r.UserList(r.ctx, &pb.AuthUserListRequest{})
		r.UserGet(r.ctx, &pb.AuthUserGetRequest{Name: "alice"})
		r.UserGet(r.ctx, &pb.AuthUserGetRequest{Name: "none"})
		r.UserDelete(r.ctx, &pb.AuthUserDeleteRequest{Name: "carol"})
		r.UserDelete(r.ctx, &pb.AuthUserDeleteRequest{Name: "carol"})
		r.UserChangePassword(r.ctx, &pb.AuthUserChangePasswordRequest{Name: "none", Password: "x"})
		r.UserChangePassword(r.ctx, &pb.AuthUserChangePasswordRequest{Name: "bob", Password: "bb"})
		r.UserChangePassword(r.ctx, &pb.AuthUserChangePasswordRequest{Name: "nopass", Password: "x"})
	}},
	{"roles", func(r *rig) {
		for _, name := range []string{"reader", "writer", "reader", "", "root", "gone"} {
			r.RoleAdd(r.ctx, &pb.AuthRoleAddRequest{Name: name})
		}
		r.RoleDelete(r.ctx, &pb.AuthRoleDeleteRequest{Role: "gone"})
		r.RoleDelete(r.ctx, &pb.AuthRoleDeleteRequest{Role: "gone"})
		for _, g := range []*pb.AuthRoleGrantPermissionRequest{
			{Name: "reader", Perm: permission(authpb.READ, "pub/", "pub0")},
			{Name: "reader", Perm: permission(authpb.READ, "pub/", "pub0")},
			{Name: "reader", Perm: permission(authpb.WRITE, "wo/", "wo0")},
			{Name: "writer", Perm: permission(authpb.READWRITE, "pub/", "pub0")},
			{Name: "writer", Perm: permission(authpb.READ, "single", "")},
			{Name: "writer", Perm: permission(authpb.READWRITE, "single", "")},
			{Name: "writer", Perm: permission(authpb.WRITE, "open", "\x00")},
			{Name: "writer"},
			{Name: "none", Perm: permission(authpb.READ, "a", "")},
			{Name: "writer", Perm: permission(authpb.READ, "b", "a")},
			{Name: "writer", Perm: permission(authpb.READ, "", "")},
		} {
			r.RoleGrantPermission(r.ctx, g)
		}
		r.RoleGet(r.ctx, &pb.AuthRoleGetRequest{Role: "reader"})
		r.RoleGet(r.ctx, &pb.AuthRoleGetRequest{Role: "writer"})
		r.RoleGet(r.ctx, &pb.AuthRoleGetRequest{Role: "root"})
		r.RoleGet(r.ctx, &pb.AuthRoleGetRequest{Role: "none"})
		r.RoleList(r.ctx, &pb.AuthRoleListRequest{})
		r.RoleRevokePermission(r.ctx, &pb.AuthRoleRevokePermissionRequest{Role: "writer", Key: key("open"), RangeEnd: []byte{0}})
		r.RoleRevokePermission(r.ctx, &pb.AuthRoleRevokePermissionRequest{Role: "writer", Key: key("open"), RangeEnd: []byte{0}})
		r.RoleRevokePermission(r.ctx, &pb.AuthRoleRevokePermissionRequest{Role: "none", Key: key("a")})
		for _, g := range []*pb.AuthUserGrantRoleRequest{
			{User: "root", Role: "root"}, {User: "alice", Role: "reader"}, {User: "alice", Role: "reader"}, {User: "bob", Role: "writer"},
			{User: "bob", Role: "reader"}, {User: "none", Role: "reader"}, {User: "bob", Role: "none"}, {User: "nopass", Role: "reader"},
		} {
			r.UserGrantRole(r.ctx, g)
		}
		r.UserGet(r.ctx, &pb.AuthUserGetRequest{Name: "bob"})
		r.UserRevokeRole(r.ctx, &pb.AuthUserRevokeRoleRequest{Name: "bob", Role: "reader"})
		r.UserRevokeRole(r.ctx, &pb.AuthUserRevokeRoleRequest{Name: "bob", Role: "reader"})
		r.UserRevokeRole(r.ctx, &pb.AuthUserRevokeRoleRequest{Name: "none", Role: "reader"})
	}},
	{"enable", func(r *rig) {
		r.put("pub/a", "1")
		r.put("priv/a", "1")
		r.LeaseGrant(r.ctx, &pb.LeaseGrantRequest{ID: 50, TTL: 1000})
		r.Put(r.ctx, &pb.PutRequest{Key: key("priv/leased"), Lease: 50})
		r.AuthEnable(r.ctx, &pb.AuthEnableRequest{})
		r.AuthEnable(r.ctx, &pb.AuthEnableRequest{})
		r.AuthStatus(r.ctx, &pb.AuthStatusRequest{})
	}},
	{"nobody", func(r *rig) { r.everything() }},
	{"a wrong token", func(r *rig) { r.as("garbage.1").everything() }},
	{"a reader", func(r *rig) { r.login("alice", "a").everything() }},
	{"a writer", func(r *rig) { r.login("bob", "bb").everything() }},
	{"root", func(r *rig) {
		root := r.login("root", "r")
		root.everything()
		root.put("open/a", "1")
		root.UserDelete(root.ctx, &pb.AuthUserDeleteRequest{Name: "root"})
		root.RoleDelete(root.ctx, &pb.AuthRoleDeleteRequest{Role: "root"})
		root.UserRevokeRole(root.ctx, &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "root"})
		root.RoleGrantPermission(root.ctx, &pb.AuthRoleGrantPermissionRequest{Name: "root", Perm: permission(authpb.READ, "a", "")})
		root.Status(root.ctx, &pb.StatusRequest{})
	}},
	{"passwords", func(r *rig) {
		r.login("alice", "wrong")
		r.login("none", "x")
		r.login("", "")
		r.login("alice", "")
		r.login("nopass", "")
		r.login("nopass", "x")
		r.login("hashed", "q")
		r.login("hashed", "p")
		r.login("only hashed", "x")
		r.login("only hashed", "")
		r.login("no hash", "?")
	}},
	// A watch that was allowed goes on when the permission is taken away.
	{"watch and lease go on", func(r *rig) {
		root, alice := r.login("root", "r"), r.login("alice", "a")
		w := alice.watch()
		w.create(&pb.WatchCreateRequest{Key: key("pub/"), RangeEnd: key("pub0"), PrevKv: true})
		w.answer()
		root.put("pub/watched", "1")
		w.answer()
		root.UserRevokeRole(root.ctx, &pb.AuthUserRevokeRoleRequest{Name: "alice", Role: "reader"})
		root.put("pub/watched", "2")
		w.answer()
		w.create(&pb.WatchCreateRequest{Key: key("pub/a")})
		w.answer()
		root.UserGrantRole(root.ctx, &pb.AuthUserGrantRoleRequest{User: "alice", Role: "reader"})
		w.create(&pb.WatchCreateRequest{Key: key("pub/a")})
		w.answer()
		root.LeaseGrant(root.ctx, &pb.LeaseGrantRequest{ID: 52, TTL: 1000})
		root.Put(root.ctx, &pb.PutRequest{Key: key("priv/52"), Lease: 52})
		alice = r.login("alice", "a")
		alice.keepAlive(52)
		alice.timeToLive(&pb.LeaseTimeToLiveRequest{ID: 52, Keys: true})
		alice.LeaseRevoke(alice.ctx, &pb.LeaseRevokeRequest{ID: 52})
		root.LeaseRevoke(root.ctx, &pb.LeaseRevokeRequest{ID: 52})
	}},
	{"locks", func(r *rig) {
		root, alice, bob := r.login("root", "r"), r.login("alice", "a"), r.login("bob", "bb")
		root.LeaseGrant(root.ctx, &pb.LeaseGrantRequest{ID: 0x53, TTL: 1000})
		for _, who := range []*rig{r, alice, bob, root} {
			unnoted := r.apart()
			_, err := unnoted.Lock(who.ctx, &v3lockpb.LockRequest{Name: key("pub/lock"), Lease: 0x53})
			r.told("lock", err)
			_, err = unnoted.Leader(who.ctx, &v3electionpb.LeaderRequest{Name: key("pub/lock")})
			r.told("leader", err)
			_, err = unnoted.Unlock(who.ctx, &v3lockpb.UnlockRequest{Key: key("pub/lock/53")})
			r.told("unlock", err)
		}
		root.LeaseRevoke(root.ctx, &pb.LeaseRevokeRequest{ID: 0x53})
	}},
	{"changes end tokens", func(r *rig) {
		root, alice, bob := r.login("root", "r"), r.login("alice", "a"), r.login("bob", "bb")
		alice.Range(alice.ctx, &pb.RangeRequest{Key: key("pub/a")})
		root.UserChangePassword(root.ctx, &pb.AuthUserChangePasswordRequest{Name: "alice", Password: "aa"})
		alice.Range(alice.ctx, &pb.RangeRequest{Key: key("pub/a")})
		bob.Range(bob.ctx, &pb.RangeRequest{Key: key("pub/a")})
		bob.Put(bob.ctx, &pb.PutRequest{Key: key("pub/a"), Value: key("b")})
		alice = r.login("alice", "aa")
		alice.Range(alice.ctx, &pb.RangeRequest{Key: key("pub/a")})
		root.RoleRevokePermission(root.ctx, &pb.AuthRoleRevokePermissionRequest{Role: "reader", Key: key("pub/"), RangeEnd: key("pub0")})
		alice.Range(alice.ctx, &pb.RangeRequest{Key: key("pub/a")})
		root.UserRevokeRole(root.ctx, &pb.AuthUserRevokeRoleRequest{Name: "bob", Role: "writer"})
		bob.Put(bob.ctx, &pb.PutRequest{Key: key("pub/a"), Value: key("b")})
		root.UserDelete(root.ctx, &pb.AuthUserDeleteRequest{Name: "bob"})
		bob.Range(bob.ctx, &pb.RangeRequest{Key: key("pub/a")})
		root.RoleDelete(root.ctx, &pb.AuthRoleDeleteRequest{Role: "reader"})
		root.UserGet(root.ctx, &pb.AuthUserGetRequest{Name: "alice"})
		root.AuthStatus(root.ctx, &pb.AuthStatusRequest{})
	}},
	{"open ranges", func(r *rig) {
		root := r.login("root", "r")
		root.RoleAdd(root.ctx, &pb.AuthRoleAddRequest{Name: "open"})
		root.RoleGrantPermission(root.ctx, &pb.AuthRoleGrantPermissionRequest{Name: "open", Perm: permission(authpb.READ, "m", "\x00")})
		root.RoleGrantPermission(root.ctx, &pb.AuthRoleGrantPermissionRequest{Name: "open", Perm: permission(authpb.READ, "a", "c")})
		root.RoleGrantPermission(root.ctx, &pb.AuthRoleGrantPermissionRequest{Name: "open", Perm: permission(authpb.READ, "c", "f")})
		root.RoleGrantPermission(root.ctx, &pb.AuthRoleGrantPermissionRequest{Name: "open", Perm: permission(authpb.READ, "f", "")})
		root.UserGrantRole(root.ctx, &pb.AuthUserGrantRoleRequest{User: "alice", Role: "open"})
		alice := r.login("alice", "aa")
		for _, ends := range [][2]string{
			{"a", "f"}, {"a", "f\x00"}, {"a", "g"}, {"b", "e"}, {"f", ""}, {"f\x00", ""}, {"m", "\x00"}, {"l", "\x00"}, {"z", "zz"}, {"\x00", "\x00"}, {"f", "f\x00"},
		} {
			alice.Range(alice.ctx, &pb.RangeRequest{Key: key(ends[0]), RangeEnd: key(ends[1]), CountOnly: true})
		}
	}},
	{"disable", func(r *rig) {
		root := r.login("root", "r")
		r.AuthDisable(r.ctx, &pb.AuthDisableRequest{})
		root.AuthDisable(root.ctx, &pb.AuthDisableRequest{})
		r.AuthDisable(r.ctx, &pb.AuthDisableRequest{})
		r.AuthStatus(r.ctx, &pb.AuthStatusRequest{})
		r.put("pub/a", "free")
		root.put("pub/a", "with a token of before")
		r.Range(r.ctx, proto.CloneOf(all()))
	}},
}
