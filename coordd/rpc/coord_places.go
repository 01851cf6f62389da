package rpc

import (
	"context"
	"path"
	"time"

	"github.com/coordd/coordd/proto/coordv1"
	"github.com/coordd/coordd/recipes"
)

// List tells who holds a lock and who waits for it.
func (s *coordLocks) List(ctx context.Context, r *coordv1.ListRequest) (*coordv1.ListResponse, error) {
	return s.list(ctx, r.GetName(), func(ctx context.Context, session *recipes.Session) ([]recipes.Place, error) {
		return recipes.NewMutex(session, r.GetName(), nil).Places(ctx)
	})
}

// List tells who holds slots of a semaphore and who waits for some.
func (s *coordSemaphores) List(ctx context.Context, r *coordv1.ListRequest) (*coordv1.ListResponse, error) {
	return s.list(ctx, r.GetName(), func(ctx context.Context, session *recipes.Session) ([]recipes.Place, error) {
		return recipes.NewSemaphore(session, r.GetName(), nil).Places(ctx)
	})
}

// List tells who leads and who stands.
func (s *coordElections) List(ctx context.Context, r *coordv1.ListRequest) (*coordv1.ListResponse, error) {
	return s.list(ctx, r.GetName(), func(ctx context.Context, session *recipes.Session) ([]recipes.Place, error) {
		return recipes.NewElection(session, r.GetName(), nil).Places(ctx)
	})
}

// list answers with places, and with the tokens of those that hold: of this epoch,
// or, if it ends meanwhile, of the one before, which is as good as stale.
func (s *Server) list(ctx context.Context, name string, places func(context.Context, *recipes.Session) ([]recipes.Place, error)) (*coordv1.ListResponse, error) {
	response := &coordv1.ListResponse{}
	err := s.look(ctx, name, func(ctx context.Context, session *recipes.Session) error {
		client := s.caller(ctx).client()
		defer client.Close()
		epoch, _, err := recipes.ReadEpoch(ctx, client)
		if err != nil {
			return err
		}
		all, err := places(ctx, session)
		if err != nil {
			return err
		}
		for _, p := range all {
			if p.State != recipes.Delayed {
				response.Places = append(response.Places, s.place(p, epoch))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

func (s *Server) place(p recipes.Place, epoch uint64) *coordv1.Place {
	place := &coordv1.Place{
		Shared: p.Shared, Attempt: path.Base(p.Key), Session: int64(p.Lease), Value: p.Value,
		Identity: p.Holder.Identity, Host: p.Holder.Host, Reason: p.Holder.Reason, Since: p.Holder.Since.Format(time.RFC3339Nano),
		Weight: p.Holder.Weight, Slots: p.Holder.Slots,
	}
	if by := p.AskedBy; by != nil {
		place.ReleaseAsked = &coordv1.ReleaseAsked{Identity: by.Identity, Host: by.Host, Reason: by.Reason}
	}
	if token, ok := p.Token(s.ClusterID, epoch); ok {
		place.Token = token.String()
	}
	return place
}
