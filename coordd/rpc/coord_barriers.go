package rpc

import (
	"context"

	"github.com/coordd/coordd/proto/coordv1"
	"github.com/coordd/coordd/recipes"
)

// coordBarriers is coord.v1.Barriers.
type coordBarriers struct {
	coordv1.UnimplementedBarriersServer
	*Server
}

// Hold closes a barrier.
func (s *coordBarriers) Hold(ctx context.Context, r *coordv1.HoldBarrierRequest) (*coordv1.HoldBarrierResponse, error) {
	options := &recipes.BarrierOptions{Reason: r.GetReason()}
	options.Defaults()
	if err := options.Validate(); err != nil {
		return nil, coordError(invalid(err))
	}
	err := s.look(ctx, r.GetName(), func(ctx context.Context, session *recipes.Session) error {
		return recipes.NewBarrier(session, r.GetName(), options).Hold(ctx)
	})
	if err != nil {
		return nil, err
	}
	return &coordv1.HoldBarrierResponse{}, nil
}

// Release opens a barrier.
func (s *coordBarriers) Release(ctx context.Context, r *coordv1.ReleaseBarrierRequest) (*coordv1.ReleaseBarrierResponse, error) {
	err := s.look(ctx, r.GetName(), func(ctx context.Context, session *recipes.Session) error {
		return recipes.NewBarrier(session, r.GetName(), nil).Release(ctx)
	})
	if err != nil {
		return nil, err
	}
	return &coordv1.ReleaseBarrierResponse{}, nil
}

// Wait waits at a barrier until the call ends.
func (s *coordBarriers) Wait(ctx context.Context, r *coordv1.WaitBarrierRequest) (*coordv1.WaitBarrierResponse, error) {
	leave, err := s.admitCoord()
	if err != nil {
		return nil, coordError(err)
	}
	defer leave()
	err = s.look(ctx, r.GetName(), func(ctx context.Context, session *recipes.Session) error {
		return recipes.NewBarrier(session, r.GetName(), nil).Wait(ctx)
	})
	if err != nil {
		return nil, err
	}
	return &coordv1.WaitBarrierResponse{}, nil
}
