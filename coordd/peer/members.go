package peer

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordd/coordd/proto/coordpb"
)

var (
	// ErrRemoved says that another member knows this one as removed from the cluster.
	ErrRemoved = errors.New("peer: this member was removed from the cluster")
	// ErrNoAnswer says that none of the members that were asked has answered.
	ErrNoAnswer = errors.New("peer: no member answers")
)

// removedText, with PermissionDenied, is how a member is told that it was removed.
const removedText = "peer: the caller was removed from the cluster"

func isRemoved(err error) bool {
	s, ok := status.FromError(err)
	return ok && s.Code() == codes.PermissionDenied && s.Message() == removedText
}

// Members asks members at their peer URLs, all at once, which cluster they are of
// and who is in it, and returns the first answer that accept has nothing
// against; if there is none, accept's last error, or [ErrNoAnswer]. Any error
// may also be of peer URLs that cannot be dialled.
func Members(ctx context.Context, secure ClientTLS, asked []*coordpb.Member, accept func(*coordpb.MembersResponse) error) (*coordpb.MembersResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		response *coordpb.MembersResponse
		err      error
	}
	answers := make(chan answer, len(asked))
	for _, m := range asked {
		conn, err := dial(secure, m.Id, m.PeerUrls)
		if err != nil {
			return nil, fmt.Errorf("peer: ask member %s: %w", m.Name, err)
		}
		defer conn.Close()
		client := coordpb.NewPeerClient(conn)
		go func() {
			response, err := client.Members(ctx, &coordpb.MembersRequest{})
			answers <- answer{response, err}
		}()
	}
	var unreached, refused error
	for range asked {
		a := <-answers
		if a.err != nil {
			unreached = a.err
		} else if refused = accept(a.response); refused == nil {
			return a.response, nil
		}
	}
	if refused != nil {
		return nil, refused
	}
	return nil, fmt.Errorf("%w: %w", ErrNoAnswer, unreached)
}

// Members says who is in the cluster, also to who is in none yet.
func (s *Server) Members(context.Context, *coordpb.MembersRequest) (*coordpb.MembersResponse, error) {
	return &coordpb.MembersResponse{ClusterId: s.config.ClusterID, Members: s.config.Members()}, nil
}

// MemberPromote asks the member to, the leader, to make a learner a voter, and
// returns all members then. Errors are gRPC statuses or [ErrUnknownPeer].
func (t *Transport) MemberPromote(ctx context.Context, to uint64, id uint64) ([]*coordpb.Member, error) {
	s, err := t.peer(to)
	if err != nil {
		return nil, err
	}
	r, err := s.client.MemberPromote(s.withIdentity(ctx), &coordpb.MemberPromoteRequest{Id: id})
	return r.GetMembers(), err
}

// MemberPromote makes a learner a voter for the member that asks.
func (s *Server) MemberPromote(ctx context.Context, r *coordpb.MemberPromoteRequest) (*coordpb.MemberPromoteResponse, error) {
	if _, err := s.authenticate(ctx); err != nil {
		return nil, err
	}
	members, err := s.config.MemberPromote(ctx, r.GetId())
	if err != nil {
		return nil, asStatus(err)
	}
	return &coordpb.MemberPromoteResponse{Members: members}, nil
}
