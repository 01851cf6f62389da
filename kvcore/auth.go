package kvcore

import (
	"fmt"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/auth"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/lease"
	"github.com/coordd/coordd/proto/coordpb"
)

// Auth returns the users and roles as of now.
func (s *Store) Auth() *auth.Table { return s.view.Load().auth }

// Tokens returns the tokens that stand for users. Commands assign and end them;
// their time is the caller's business.
func (s *Store) Tokens() *auth.Tokens { return &s.tokens }

// Permit says whether a user may make a request, by the users and roles of
// table and the leases as they are now. It fails with one of package auth's
// errors.
func (s *Store) Permit(table *auth.Table, id auth.Identity, req proto.Message) error {
	return (&permission{table, s.leases, id}).check(req)
}

// admit takes a request out of what says on whose behalf it is, and refuses it
// if that user may not make it. Without authentication everyone may; with it,
// only what members propose of their own accord needs no user.
func (w *writing) admit(req proto.Message) (proto.Message, error) {
	var id auth.Identity
	if r, ok := req.(*coordpb.UserRequest); ok {
		inner, err := coordpb.DecodeCommand(r.Command)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		req, id = inner, auth.Identity{User: r.User, Revision: r.AuthRevision}
	} else if !w.current.auth.Enabled() || isOwn(req) {
		return req, nil
	}
	return req, w.Permit(w.current.auth, id, req)
}

// isOwn tells the requests that members make without a user's asking.
func isOwn(req proto.Message) bool {
	switch req.(type) {
	case *coordpb.LeaseExpireRequest, *coordpb.LeaseCheckpointRequest, *coordpb.TokenAssignRequest, *coordpb.EpochRaiseRequest,
		*coordpb.MemberPublishRequest, *coordpb.MemberAddRequest,
		*pb.MemberRemoveRequest, *pb.MemberUpdateRequest, *pb.MemberPromoteRequest,
		*pb.CompactionRequest, *pb.AlarmRequest:
		return true
	}
	return false
}

// applyAuth applies a change of users, roles or permissions.
func (w *writing) applyAuth(req proto.Message) (proto.Message, error) {
	table, response, err := w.current.auth.Apply(req, w.header(), func(b backend.Bucket, key, value []byte) {
		w.queue(change{b, key, value})
	})
	if err != nil {
		return nil, err
	}
	// Tokens end before anyone can see the revision that ends them.
	switch r := req.(type) {
	case *pb.AuthDisableRequest:
		w.tokens.Clear()
	case *pb.AuthUserDeleteRequest:
		w.tokens.Drop(r.Name)
	case *pb.AuthUserChangePasswordRequest:
		w.tokens.Drop(r.Name)
	}
	w.current.auth = table
	return response, nil
}

// assignToken makes a token known, unless the users have changed since the
// password was checked: it may be another one now.
func (w *writing) assignToken(r *coordpb.TokenAssignRequest) (*coordpb.TokenAssignResponse, error) {
	table := w.current.auth
	switch _, err := table.PasswordHash(r.User); {
	case err != nil:
		return nil, err
	case r.AuthRevision != table.Revision():
		return nil, auth.ErrOldRevision
	case len(r.TokenSha256) != len(auth.TokenHash{}):
		return nil, fmt.Errorf("%w: hash of %d bytes", ErrMalformed, len(r.TokenSha256))
	}
	w.tokens.Assign(auth.TokenHash(r.TokenSha256), r.User)
	return &coordpb.TokenAssignResponse{}, nil
}

// permission decides what one user may do.
type permission struct {
	table  *auth.Table
	leases *lease.Table
	id     auth.Identity
}

// check knows who may make which request. What it does not know is for
// administrators.
func (p *permission) check(req proto.Message) error {
	switch r := req.(type) {
	case *pb.RangeRequest:
		return p.read(r.Key, r.RangeEnd)
	case *pb.PutRequest:
		return p.put(r)
	case *pb.DeleteRangeRequest:
		return p.deleteRange(r)
	case *pb.TxnRequest:
		return p.txn(r)
	case *pb.WatchCreateRequest:
		return p.read(r.Key, r.RangeEnd)
	case *pb.LeaseGrantRequest, *pb.StatusRequest, *pb.MemberListRequest:
		return p.table.PermitKnown(p.id)
	case *pb.LeaseRevokeRequest:
		return p.lease(r.ID, authpb.Permission_WRITE)
	case *pb.LeaseKeepAliveRequest:
		return p.lease(r.ID, authpb.Permission_WRITE)
	case *pb.LeaseTimeToLiveRequest:
		if !r.Keys {
			return p.table.PermitKnown(p.id)
		}
		return p.lease(r.ID, authpb.Permission_READ)
	case *pb.LeaseLeasesRequest:
		return p.allLeases()
	case *pb.AlarmRequest:
		if r.Action == pb.AlarmRequest_GET {
			return p.table.PermitKnown(p.id)
		}
	case *pb.AuthStatusRequest:
		return nil
	case *pb.AuthUserGetRequest:
		return p.table.PermitSelf(p.id, r.Name)
	case *pb.AuthRoleGetRequest:
		return p.table.PermitRole(p.id, r.Role)
	}
	return p.table.PermitAdmin(p.id)
}

func (p *permission) read(key, rangeEnd []byte) error {
	return p.table.Permit(p.id, authpb.Permission_READ, key, rangeEnd)
}

func (p *permission) write(key, rangeEnd []byte) error {
	return p.table.Permit(p.id, authpb.Permission_WRITE, key, rangeEnd)
}

// put lets a key have a lease only if its user may write all that goes with the
// lease: he could not revoke it otherwise.
func (p *permission) put(r *pb.PutRequest) error {
	if err := p.write(r.Key, nil); err != nil {
		return err
	}
	if r.Lease != 0 {
		if err := p.attached(r.Lease, authpb.Permission_WRITE); err != nil {
			return err
		}
	}
	if r.PrevKv {
		return p.read(r.Key, nil)
	}
	return nil
}

func (p *permission) deleteRange(r *pb.DeleteRangeRequest) error {
	if err := p.write(r.Key, r.RangeEnd); err != nil || !r.PrevKv {
		return err
	}
	return p.read(r.Key, r.RangeEnd)
}

// txn checks both branches, whichever is taken.
func (p *permission) txn(r *pb.TxnRequest) error {
	for _, c := range r.GetCompare() {
		if err := p.read(c.GetKey(), c.GetRangeEnd()); err != nil {
			return err
		}
	}
	for _, ops := range [...][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range ops {
			if err := p.op(op); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *permission) op(op *pb.RequestOp) error {
	switch {
	case op.GetRequestRange() != nil:
		return p.read(op.GetRequestRange().Key, op.GetRequestRange().RangeEnd)
	case op.GetRequestPut() != nil:
		return p.put(op.GetRequestPut())
	case op.GetRequestDeleteRange() != nil:
		return p.deleteRange(op.GetRequestDeleteRange())
	case op.GetRequestTxn() != nil:
		return p.txn(op.GetRequestTxn())
	}
	return nil
}

// lease wants a user, and that he may do so with all keys of the lease.
func (p *permission) lease(id int64, kind authpb.Permission_Type) error {
	if err := p.table.PermitKnown(p.id); err != nil {
		return err
	}
	return p.attached(id, kind)
}

func (p *permission) allLeases() error {
	if err := p.table.PermitKnown(p.id); err != nil {
		return err
	}
	for _, id := range p.leases.List() {
		if err := p.attached(int64(id), authpb.Permission_READ); err != nil {
			return err
		}
	}
	return nil
}

func (p *permission) attached(id int64, kind authpb.Permission_Type) error {
	if p.table.PermitAdmin(p.id) == nil {
		return nil
	}
	for _, key := range p.leases.Keys(lease.ID(id)) {
		if err := p.table.Permit(p.id, kind, []byte(key), nil); err != nil {
			return err
		}
	}
	return nil
}
