package rpc

import (
	"context"
	"fmt"

	"github.com/coordd/coordd/proto/coordv1"
	"github.com/coordd/coordd/recipes"
	"google.golang.org/grpc"
)

// coordSemaphores is coord.v1.Semaphores.
type coordSemaphores struct {
	coordv1.UnimplementedSemaphoresServer
	*Server
}

// Acquire holds its weight until the call ends.
func (s *coordSemaphores) Acquire(r *coordv1.SemaphoreRequest, stream grpc.ServerStreamingServer[coordv1.HoldEvent]) error {
	weight := r.GetWeight()
	if weight == 0 {
		weight = 1
	}
	if weight < 0 || weight > recipes.MaxLimit || r.GetLimit() < 0 || r.GetLimit() > recipes.MaxLimit {
		return coordError(invalid(fmt.Errorf("rpc: weight %d and limit %d are not within 1 to %d", weight, r.GetLimit(), recipes.MaxLimit)))
	}
	return s.hold(stream, r, r.GetTry(), func(ctx context.Context, session *recipes.Session, attempt string) (*recipes.Hold, error) {
		options := &recipes.SemaphoreOptions{Reason: r.GetReason(), Attempt: attempt, Limit: r.GetLimit()}
		semaphore := recipes.NewSemaphore(session, r.GetName(), options)
		if r.GetTry() {
			return semaphore.TryAcquire(ctx, weight)
		}
		return semaphore.Acquire(ctx, weight)
	})
}

// SetLimit changes the limit for all.
func (s *coordSemaphores) SetLimit(ctx context.Context, r *coordv1.SetLimitRequest) (*coordv1.SetLimitResponse, error) {
	if limit := r.GetLimit(); limit < 0 || limit > recipes.MaxLimit {
		return nil, coordError(invalid(fmt.Errorf("rpc: limit %d is not within 0 to %d", limit, recipes.MaxLimit)))
	}
	err := s.look(ctx, r.GetName(), func(ctx context.Context, session *recipes.Session) error {
		return recipes.NewSemaphore(session, r.GetName(), nil).SetLimit(ctx, r.GetLimit())
	})
	if err != nil {
		return nil, err
	}
	return &coordv1.SetLimitResponse{}, nil
}

// GetLimit returns the limit that stands.
func (s *coordSemaphores) GetLimit(ctx context.Context, r *coordv1.GetLimitRequest) (*coordv1.GetLimitResponse, error) {
	response := &coordv1.GetLimitResponse{}
	err := s.look(ctx, r.GetName(), func(ctx context.Context, session *recipes.Session) (err error) {
		response.Limit, err = recipes.NewSemaphore(session, r.GetName(), nil).Limit(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}
