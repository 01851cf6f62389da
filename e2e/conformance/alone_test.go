package conformance

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestWhatEndsEtcd asks coordd alone for what makes etcd 3.7.3 panic: it must refuse,
// store nothing and go on.
func TestWhatEndsEtcd(t *testing.T) {
	r := newRig(t, startServers(t, "bin/coordd", &group{}), nil)
	for what, ask := range map[string]func() error{
		"an unknown action on alarms": func() error {
			_, err := r.Alarm(r.ctx, &pb.AlarmRequest{Action: 9, MemberID: 5, Alarm: pb.AlarmType_NOSPACE})
			return err
		},
		"a role's name that no bbolt key could hold": func() error {
			_, err := r.RoleAdd(r.ctx, &pb.AuthRoleAddRequest{Name: string(make([]byte, 64<<10))})
			return err
		},
		"a user's name that no bbolt key could hold": func() error {
			_, err := r.UserAdd(r.ctx, &pb.AuthUserAddRequest{Name: string(make([]byte, 64<<10)), Password: "p"})
			return err
		},
	} {
		if err := ask(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want InvalidArgument", what, err)
		}
	}
	alarms, err := r.Alarm(r.ctx, &pb.AlarmRequest{})
	if err != nil || len(alarms.Alarms) > 0 {
		t.Errorf("alarms %v, %v", alarms, err)
	}
	roles, err := r.RoleList(r.ctx, &pb.AuthRoleListRequest{})
	if err != nil || len(roles.Roles) > 0 {
		t.Errorf("roles %v, %v", roles, err)
	}
	users, err := r.UserList(r.ctx, &pb.AuthUserListRequest{})
	if err != nil || len(users.Users) > 0 {
		t.Errorf("users %v, %v", users, err)
	}
	r.put("alive", "yes")
}
