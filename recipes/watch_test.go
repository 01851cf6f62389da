package recipes

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
)

// Nothing comes of the first stream of watches, as when the client hangs in the end of one. The waiter gets the lock all
// the same, by another stream.
func TestWaiterOutlivesADeafStream(t *testing.T) {
	var streams atomic.Int32
	deaf := grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		stream, err := streamer(ctx, desc, cc, method, opts...)
		if err != nil || !strings.HasSuffix(method, "/Watch") || streams.Add(1) > 1 {
			return stream, err
		}
		return &alteredStream{stream, func(_ any, err error) error {
			<-stream.Context().Done()
			return err
		}}, nil
	})
	f, away := newFixture(t, deaf), newFixture(t)
	away.options = f.options
	s := openSession(t, f.client, 3) // so that it soon gives up waiting for an answer
	m := f.mutex(s, "one")
	holder := away.lock(away.mutex(away.session, "one"))
	waiting := f.lockLater(t.Context(), m)
	away.awaitQueue(m, 2)
	away.unlock(holder)
	f.unlock(f.await(waiting))
}
