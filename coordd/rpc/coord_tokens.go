package rpc

import (
	"cmp"
	"context"

	"github.com/coordd/coordd/proto/coordv1"
	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/fence"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// coordHolds is coord.v1.Holds: what can be done with a token or a session alone.
type coordHolds struct {
	coordv1.UnimplementedHoldsServer
	*Server
}

var standings = map[recipes.Standing]coordv1.Standing{
	recipes.Current:      coordv1.Standing_STANDING_CURRENT,
	recipes.Stale:        coordv1.Standing_STANDING_STALE,
	recipes.OtherCluster: coordv1.Standing_STANDING_OTHER_CLUSTER,
	recipes.OtherEpoch:   coordv1.Standing_STANDING_OTHER_EPOCH,
}

// Release gives up what a token is of.
func (s *coordHolds) Release(ctx context.Context, r *coordv1.ReleaseRequest) (*coordv1.ReleaseResponse, error) {
	response := &coordv1.ReleaseResponse{}
	err := s.claim(ctx, r.GetToken(), r.GetName(), func(ctx context.Context, c *recipes.Claim) (err error) {
		response.Released, err = c.Release(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// Verify says what a token is worth.
func (s *coordHolds) Verify(ctx context.Context, r *coordv1.VerifyRequest) (*coordv1.VerifyResponse, error) {
	response := &coordv1.VerifyResponse{}
	err := s.claim(ctx, r.GetToken(), r.GetName(), func(ctx context.Context, c *recipes.Claim) error {
		standing, _, err := c.Standing(ctx)
		response.Standing = standings[standing]
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// AskToRelease tells a holder that somebody would like it to release.
func (s *coordHolds) AskToRelease(ctx context.Context, r *coordv1.AskToReleaseRequest) (*coordv1.AskToReleaseResponse, error) {
	by := recipes.Holder{Host: addressOf(ctx), Identity: cmp.Or(r.GetIdentity(), addressOf(ctx)), Reason: r.GetReason(), Since: s.Now().UTC()}
	if len(by.Identity) > recipes.MaxIdentityBytes || len(by.Reason) > recipes.MaxReasonBytes {
		return nil, coordError(errTooLong)
	}
	err := s.claim(ctx, r.GetToken(), r.GetName(), func(ctx context.Context, c *recipes.Claim) error {
		return c.AskToRelease(ctx, by)
	})
	if err != nil {
		return nil, err
	}
	return &coordv1.AskToReleaseResponse{}, nil
}

// Abandon ends a session.
func (s *coordHolds) Abandon(ctx context.Context, r *coordv1.AbandonRequest) (*coordv1.AbandonResponse, error) {
	if r.GetSession() == 0 {
		return nil, coordError(errNoSession)
	}
	leases := &leaseServer{Server: s.Server}
	if _, err := leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: r.GetSession()}); err != nil {
		return nil, err
	}
	return &coordv1.AbandonResponse{}, nil
}

// claim runs f, a call, with what a token's text is of.
func (s *Server) claim(ctx context.Context, text, name string, f func(context.Context, *recipes.Claim) error) error {
	token, err := fence.Parse(text)
	if err != nil {
		return coordError(err)
	}
	client := s.caller(ctx).client()
	defer client.Close()
	c, err := recipes.NewClaim(client, token, name)
	if err != nil {
		return coordError(err)
	}
	return coordError(f(ctx, c))
}

// look runs f, a call that acquires nothing, with a session that has no lease.
func (s *Server) look(ctx context.Context, name string, f func(context.Context, *recipes.Session) error) error {
	if err := checkName(name); err != nil {
		return coordError(err)
	}
	return coordError(s.session(ctx, 0, f))
}
