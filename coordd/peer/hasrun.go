package peer

import (
	"context"
	"fmt"

	"google.golang.org/grpc/metadata"

	"github.com/coordd/coordd/proto/coordpb"
)

// HasRun asks the other members of a cluster, all at once, whether the member
// self has run in it before, and returns the first that says so, or nil. Who
// does not answer before ctx ends is taken to know nothing: when a cluster
// begins, nobody does. It fails with [ErrRemoved] where one of them says so, and
// for peer URLs that cannot be dialled.
func HasRun(ctx context.Context, secure ClientTLS, clusterID, self uint64, members []*coordpb.Member) (witness *coordpb.Member, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		witness *coordpb.Member
		err     error
	}
	answers := make(chan answer, len(members))
	asked := 0
	for _, m := range members {
		if m.Id == self {
			continue
		}
		conn, err := dial(secure, m.Id, m.PeerUrls)
		if err != nil {
			return nil, fmt.Errorf("peer: ask member %s: %w", m.Name, err)
		}
		defer conn.Close()
		asked++
		client := coordpb.NewPeerClient(conn)
		go func() {
			md := identity{clusterID, self, m.Id}.metadata()
			r, err := client.HasRun(metadata.NewOutgoingContext(ctx, md), &coordpb.HasRunRequest{})
			switch {
			case isRemoved(err):
				answers <- answer{err: ErrRemoved}
			case err != nil || !r.GetHasRun():
				answers <- answer{}
			default:
				answers <- answer{witness: m}
			}
		}()
	}
	for range asked {
		if a := <-answers; a.witness != nil || a.err != nil {
			return a.witness, a.err
		}
	}
	return nil, nil
}
