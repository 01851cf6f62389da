package coordd

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"

	"github.com/coordd/coordd/coordd/httpapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

// gatewayBufferBytes is what one direction of the gateway's connection holds.
const gatewayBufferBytes = 1 << 20

// gateway is the JSON gateway and its connection to the member's own gRPC
// server. The connection is in memory and carries no certificate: what comes
// through the gateway is who its token says, never the member itself.
type gateway struct {
	http.Handler
	listener *bufconn.Listener
	conn     *grpc.ClientConn
}

func newGateway(maxRequestBytes, maxParts int) (*gateway, error) {
	g := &gateway{listener: bufconn.Listen(gatewayBufferBytes)}
	var err error
	g.conn, err = grpc.NewClient("passthrough:///gateway",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return g.listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
	)
	if err != nil {
		return nil, fmt.Errorf("coordd: gateway: %w", err)
	}
	if g.Handler, err = httpapi.NewGateway(g.conn, maxRequestBytes, maxParts); err != nil {
		return nil, fmt.Errorf("coordd: %w", err)
	}
	return g, nil
}

func (g *gateway) close() { g.conn.Close() }
