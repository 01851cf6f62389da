package rpc

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/proto/coordv1"
	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/fence"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// acquired is a stream of coord.v1 that acquires something.
type acquired struct {
	t *testing.T
	grpc.ServerStreamingClient[coordv1.HoldEvent]
}

func (r *rig) acquire(t *testing.T, ctx context.Context, request *coordv1.LockRequest) acquired {
	t.Helper()
	s, err := coordv1.NewLocksClient(r.conn).Acquire(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	return acquired{t, s}
}

// next returns the next event that is no renewal.
func (a acquired) next() (*coordv1.HoldEvent, error) {
	for {
		e, err := a.Recv()
		if err != nil || e.GetRenewed() == nil {
			return e, err
		}
	}
}

func (a acquired) begun() *coordv1.Waiting {
	a.t.Helper()
	e, err := a.next()
	if e.GetWaiting().GetSession() == 0 {
		a.t.Fatalf("not begun: %v, %v", e, err)
	}
	return e.GetWaiting()
}

func (a acquired) granted() *coordv1.Granted {
	a.t.Helper()
	for {
		e, err := a.next()
		if err != nil {
			a.t.Fatal(err)
		}
		if g := e.GetGranted(); g != nil {
			return g
		}
	}
}

// ended returns how the stream ends; it must have nothing more to say.
func (a acquired) ended() error {
	a.t.Helper()
	e, err := a.next()
	if err == nil {
		a.t.Fatalf("the stream goes on: %v", e)
	}
	return err
}

// What is wrong with a request is said, and nothing of it is stored.
func TestCoordRefusesBadRequests(t *testing.T) {
	r := newRig(t, nil)
	long := strings.Repeat("n", recipes.MaxNameBytes+1)
	mangled := "f1:00000000000000cd:0:x:7::/coordd/locks/l:q/w/" + strings.Repeat("0", 31) + "g"
	elsewhere := "f1:00000000000000cd:0:x:7::/elsewhere/l:q/w/" + strings.Repeat("0", 32)
	digest := "f1:00000000000000cd:0:x:7::~" + strings.Repeat("A", 43) + ":q/w/" + strings.Repeat("0", 32)
	lock := "f1:00000000000000cd:0:x:7::/coordd/locks/l:q/w/" + strings.Repeat("0", 32)
	acquire := func(request *coordv1.LockRequest) func(context.Context) error {
		return func(ctx context.Context) error { return r.acquire(t, ctx, request).ended() }
	}
	semaphore := func(request *coordv1.SemaphoreRequest) func(context.Context) error {
		return func(ctx context.Context) error {
			s, err := coordv1.NewSemaphoresClient(r.conn).Acquire(ctx, request)
			if err != nil {
				return err
			}
			return acquired{t, s}.ended()
		}
	}
	verify := func(token, name string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := coordv1.NewHoldsClient(r.conn).Verify(ctx, &coordv1.VerifyRequest{Token: token, Name: name})
			return err
		}
	}
	before := r.store.Revision()
	for what, c := range map[string]struct {
		call func(context.Context) error
		want codes.Code
	}{
		"no name":                        {acquire(&coordv1.LockRequest{}), codes.InvalidArgument},
		"a name that is too long":        {acquire(&coordv1.LockRequest{Name: long}), codes.InvalidArgument},
		"a negative TTL":                 {acquire(&coordv1.LockRequest{Name: "l", TtlSeconds: -1}), codes.InvalidArgument},
		"a huge TTL":                     {acquire(&coordv1.LockRequest{Name: "l", TtlSeconds: 1 << 62}), codes.InvalidArgument},
		"a long reason":                  {acquire(&coordv1.LockRequest{Name: "l", Reason: long}), codes.InvalidArgument},
		"a long identity":                {acquire(&coordv1.LockRequest{Name: "l", Identity: long}), codes.InvalidArgument},
		"an attempt that is none":        {acquire(&coordv1.LockRequest{Name: "l", Attempt: "../x"}), codes.InvalidArgument},
		"a session without an attempt":   {acquire(&coordv1.LockRequest{Name: "l", Session: 7}), codes.InvalidArgument},
		"a session that there is not":    {acquire(&coordv1.LockRequest{Name: "l", Session: 7, Attempt: strings.Repeat("0", 32)}), codes.Aborted},
		"a negative weight":              {semaphore(&coordv1.SemaphoreRequest{Name: "s", Weight: -1}), codes.InvalidArgument},
		"a huge weight":                  {semaphore(&coordv1.SemaphoreRequest{Name: "s", Weight: 1 << 40}), codes.InvalidArgument},
		"a negative limit":               {semaphore(&coordv1.SemaphoreRequest{Name: "s", Limit: -1}), codes.InvalidArgument},
		"a mangled token":                {verify("f1:"+mangled, ""), codes.InvalidArgument},
		"a token with a mangled key":     {verify(mangled, ""), codes.InvalidArgument},
		"a token of something else":      {verify(elsewhere, ""), codes.InvalidArgument},
		"a token that needs a name":      {verify(digest, ""), codes.InvalidArgument},
		"a token of another name":        {verify(lock, "other"), codes.InvalidArgument},
		"a token that was never granted": {verify(lock, "l"), codes.OK},
		"the limit where there is none": {func(ctx context.Context) error {
			_, err := coordv1.NewSemaphoresClient(r.conn).GetLimit(ctx, &coordv1.GetLimitRequest{Name: "s"})
			return err
		}, codes.FailedPrecondition},
		"a limit that is out of range": {func(ctx context.Context) error {
			_, err := coordv1.NewSemaphoresClient(r.conn).SetLimit(ctx, &coordv1.SetLimitRequest{Name: "s", Limit: -1})
			return err
		}, codes.InvalidArgument},
		"a proclamation by a lock": {func(ctx context.Context) error {
			_, err := coordv1.NewElectionsClient(r.conn).Proclaim(ctx, &coordv1.ProclaimRequest{Token: lock})
			return err
		}, codes.InvalidArgument},
		"the leader of nothing": {func(ctx context.Context) error {
			_, err := coordv1.NewElectionsClient(r.conn).GetLeader(ctx, &coordv1.GetLeaderRequest{})
			return err
		}, codes.InvalidArgument},
		"abandoning without a session": {func(ctx context.Context) error {
			_, err := coordv1.NewHoldsClient(r.conn).Abandon(ctx, &coordv1.AbandonRequest{})
			return err
		}, codes.InvalidArgument},
		"abandoning what there is not": {func(ctx context.Context) error {
			_, err := coordv1.NewHoldsClient(r.conn).Abandon(ctx, &coordv1.AbandonRequest{Session: 7})
			return err
		}, codes.NotFound},
	} {
		if err := c.call(t.Context()); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	if now := r.store.Revision(); now != before {
		t.Errorf("revision %d, was %d", now, before)
	}
	if leases, err := r.client.Leases(t.Context()); err != nil || len(leases.Leases) != 0 {
		t.Errorf("leases %v, %v", leases, err)
	}
}

// A token tells when its cluster was restored, and when it is of another one.
func TestCoordStandings(t *testing.T) {
	r := newRig(t, nil)
	holds := coordv1.NewHoldsClient(r.conn)
	name := strings.Repeat("long/", 100) // the token has its digest
	held := r.acquire(t, t.Context(), &coordv1.LockRequest{Name: name}).granted()
	token, err := fence.Parse(held.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	standing := func(change func(*fence.Fields)) coordv1.Standing {
		t.Helper()
		fields := token.Fields()
		change(&fields)
		changed, err := fence.New(fields)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := holds.Verify(t.Context(), &coordv1.VerifyRequest{Token: changed.String(), Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetStanding()
	}
	r.acquire(t, t.Context(), &coordv1.LockRequest{Name: name}).begun()
	r.awaitQueue(t, strings.TrimSuffix(held.GetKey(), "/"+held.GetAttempt()), 2)
	queue, err := r.client.Get(t.Context(), recipes.DefaultLockPrefix, clientv3.WithLastCreate()...)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		change func(*fence.Fields)
		want   coordv1.Standing
	}{
		"the holder's":       {func(*fence.Fields) {}, coordv1.Standing_STANDING_CURRENT},
		"one before":         {func(f *fence.Fields) { f.Revision-- }, coordv1.Standing_STANDING_STALE},
		"of another cluster": {func(f *fence.Fields) { f.Cluster++ }, coordv1.Standing_STANDING_OTHER_CLUSTER},
		"of another epoch":   {func(f *fence.Fields) { f.Epoch++ }, coordv1.Standing_STANDING_OTHER_EPOCH},
		"who only waits": {func(f *fence.Fields) {
			f.Revision = queue.Kvs[0].CreateRevision
			f.Key = strings.TrimPrefix(string(queue.Kvs[0].Key), held.GetKey()[:strings.Index(held.GetKey(), "/q/")+1])
		}, coordv1.Standing_STANDING_STALE},
	} {
		if got := standing(c.change); got != c.want {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}

// An attempt is its session's: another session does not get in by its name.
func TestCoordAttemptOfAnotherSession(t *testing.T) {
	r := newRig(t, nil)
	held := r.acquire(t, t.Context(), &coordv1.LockRequest{Name: "l"}).granted()
	err := r.acquire(t, t.Context(), &coordv1.LockRequest{Name: "l", Attempt: held.GetAttempt(), Try: true}).ended()
	if status.Code(err) != codes.AlreadyExists {
		t.Errorf("with an attempt that is taken: %v", err)
	}
	other := r.acquire(t, t.Context(), &coordv1.LockRequest{Name: "l", Attempt: held.GetAttempt()})
	other.begun()
	if err := other.ended(); status.Code(err) != codes.AlreadyExists {
		t.Errorf("with an attempt that is taken: %v", err)
	}
	if leases, err := r.client.Leases(t.Context()); err != nil || len(leases.Leases) != 1 {
		t.Errorf("leases %v, %v, want the holder's", leases, err)
	}
}

// When the caller goes, and when the member stops, the key and the lease stay as they are.
func TestCoordLeavesTheHoldBehind(t *testing.T) {
	r := newRig(t, nil)
	ctx, leave := context.WithCancel(t.Context())
	a := r.acquire(t, ctx, &coordv1.LockRequest{Name: "l", TtlSeconds: 60})
	held := a.granted()
	leave()
	a.ended()
	again := r.acquire(t, t.Context(), &coordv1.LockRequest{Name: "l", Session: held.GetSession(), Attempt: held.GetAttempt()})
	if got := again.granted(); got.GetToken() != held.GetToken() || got.GetSession() != held.GetSession() {
		t.Fatalf("resumed %v, was %v", got, held)
	}
	waiter := r.acquire(t, t.Context(), &coordv1.LockRequest{Name: "l", TtlSeconds: 60})
	waiter.begun()
	r.awaitQueue(t, "/coordd/locks/l", 2)
	r.server.Stop(time.Minute) // which waits for both, and for what they have begun
	for _, a := range []acquired{again, waiter} {
		if err := a.ended(); status.Code(err) != codes.Unavailable {
			t.Errorf("a member that stops: %v", err)
		}
	}
	if n := len(r.store.Leases().List()); n != 2 {
		t.Errorf("%d leases, want those of the holder and the waiter", n)
	}
}

// A session is renewed while the stream lives, however short it is, and its caller hears of it.
func TestCoordRenewsTheSession(t *testing.T) {
	r := newRig(t, nil)
	a := r.acquire(t, t.Context(), &coordv1.LockRequest{Name: "l", TtlSeconds: 2})
	held := a.granted()
	for range 6 { // one and a half times to live
		e, err := a.Recv()
		if err != nil || e.GetRenewed().GetValidForMs() == 0 {
			t.Fatalf("%v, %v", e, err)
		}
	}
	if _, err := r.client.Revoke(t.Context(), clientv3.LeaseID(held.GetSession())); err != nil {
		t.Fatal(err)
	}
	if err := a.ended(); status.Code(err) != codes.Aborted {
		t.Errorf("without its lease: %v", err)
	}
}

// Holders are asked to release, and need not.
func TestCoordTellsOfBeingAsked(t *testing.T) {
	r := newRig(t, nil)
	a := r.acquire(t, t.Context(), &coordv1.LockRequest{Name: "l"})
	held := a.granted()
	if _, err := r.client.Put(t.Context(), held.GetKey()+"/a", `{"host":"h","identity":"i","reason":"r"}`); err != nil {
		t.Fatal(err)
	}
	e, err := a.next()
	if by := e.GetReleaseAsked(); err != nil || by.GetHost() != "h" || by.GetIdentity() != "i" || by.GetReason() != "r" {
		t.Fatalf("%v, %v", e, err)
	}
	if _, err := coordv1.NewHoldsClient(r.conn).Release(t.Context(), &coordv1.ReleaseRequest{Token: held.GetToken()}); err != nil {
		t.Fatal(err)
	}
	if err := a.ended(); !errors.Is(err, io.EOF) {
		t.Errorf("after the release: %v", err)
	}
	if leases, err := r.client.Leases(t.Context()); err != nil || len(leases.Leases) != 0 {
		t.Errorf("leases %v, %v", leases, err)
	}
}

// A call has the rights of its caller for as long as it lasts, and no others.
func TestCoordAsksForPermission(t *testing.T) {
	r := newAuthRig(t, nil)
	root, alice := r.withAlice(t)
	grant := func(from, to string, kind clientv3.PermissionType) {
		t.Helper()
		if _, err := r.client.RoleGrantPermission(root, "role", from, to, kind); err != nil {
			t.Fatal(err)
		}
		root, alice = r.login(t, "root", "r"), r.login(t, "alice", "a")
	}
	refused := func(ctx context.Context, name string, want codes.Code) {
		t.Helper()
		if err := r.acquire(t, ctx, &coordv1.LockRequest{Name: name, Try: true}).ended(); status.Code(err) != want {
			t.Errorf("lock %s: %v, want %v", name, err, want)
		}
	}
	grant("/coordd/locks/a/", "/coordd/locks/a0", clientv3.PermissionType(clientv3.PermReadWrite))
	refused(t.Context(), "a", codes.InvalidArgument) // the user name is empty, as etcd says it
	refused(alice, "a", codes.PermissionDenied)      // the epoch
	grant(recipes.EpochKey, "", clientv3.PermissionType(clientv3.PermRead))
	refused(alice, "b", codes.PermissionDenied)
	a := r.acquire(t, alice, &coordv1.LockRequest{Name: "a", TtlSeconds: 2})
	held := a.granted()
	for range 4 {
		if e, err := a.Recv(); err != nil || e.GetRenewed() == nil {
			t.Fatalf("%v, %v", e, err)
		}
	}
	holds := coordv1.NewHoldsClient(r.conn)
	if _, err := holds.Release(t.Context(), &coordv1.ReleaseRequest{Token: held.GetToken()}); err == nil {
		t.Error("nobody released it")
	}
	if got, err := holds.Release(alice, &coordv1.ReleaseRequest{Token: held.GetToken()}); err != nil || !got.GetReleased() {
		t.Errorf("release: %v, %v", got, err)
	}
	if err := a.ended(); !errors.Is(err, io.EOF) {
		t.Errorf("after the release: %v", err)
	}
}

// What a stream in the queue costs is bounded, and they are served in turn.
func TestCoordServesManyWaiters(t *testing.T) {
	const waiters = 100
	r := newRig(t, nil)
	first := r.acquire(t, t.Context(), &coordv1.LockRequest{Name: "l"}).granted()
	granted := make(chan *coordv1.Granted, waiters)
	for range waiters {
		a := r.acquire(t, t.Context(), &coordv1.LockRequest{Name: "l", TtlSeconds: 60})
		go func() {
			for {
				e, err := a.Recv()
				if err != nil {
					return
				}
				if g := e.GetGranted(); g != nil {
					granted <- g
				}
			}
		}()
	}
	r.awaitQueue(t, "/coordd/locks/l/q", waiters+1)
	holds := coordv1.NewHoldsClient(r.conn)
	for last := first; ; {
		if got, err := holds.Release(t.Context(), &coordv1.ReleaseRequest{Token: last.GetToken()}); err != nil || !got.GetReleased() {
			t.Fatalf("release: %v, %v", got, err)
		}
		if r.queue(t) == 0 {
			return
		}
		next := <-granted
		if next.GetCreateRevision() <= last.GetCreateRevision() {
			t.Fatalf("granted %d after %d", next.GetCreateRevision(), last.GetCreateRevision())
		}
		last = next
	}
}

// queue returns how many stand for the lock l.
func (r *rig) queue(t *testing.T) int64 {
	t.Helper()
	got, err := r.client.Get(t.Context(), "/coordd/locks/l/q/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return got.Count
}

// A member that serves as many streams as it may refuses the next, and stores nothing of it.
func TestCoordBoundsItsStreams(t *testing.T) {
	r := newRig(t, nil)
	r.server.coordStreams.Store(maxCoordStreams)
	if err := r.acquire(t, t.Context(), &coordv1.LockRequest{Name: "l"}).ended(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one too many: %v", err)
	}
	r.server.coordStreams.Add(-1)
	r.acquire(t, t.Context(), &coordv1.LockRequest{Name: "l"}).granted()
}
