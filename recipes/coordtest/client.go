package coordtest

import (
	"context"
	"net"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// endpoint is what the server is called; nothing listens there.
const endpoint = "http://coordtest:2379"

// Client is an etcd client of the server, and the line between the two. The line is the client's own: what is done to
// it, no other client feels. Its methods may be called concurrently.
type Client struct {
	*clientv3.Client
	link *link
}

// NewClient returns a client that is closed when tb ends.
func (s *Server) NewClient(tb testing.TB) *Client {
	tb.Helper()
	l := &link{network: s.network}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{endpoint},
		Logger:    zap.NewNop(),
		DialOptions: []grpc.DialOption{
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.dial() }),
		},
	})
	if err != nil {
		tb.Fatalf("coordtest: client: %v", err)
	}
	tb.Cleanup(func() { c.Close() })
	return &Client{Client: c, link: l}
}

// Partition cuts the line: nothing passes in either direction, new connections included, and nobody is told. Calls wait
// for as long as their contexts let them.
func (c *Client) Partition() { c.link.set(func() { c.link.partitioned = true }) }

// Heal ends Partition and DropReplies. What was sent during a partition arrives now, as TCP would have it, unless Break
// took it away.
func (c *Client) Heal() {
	c.link.set(func() { c.link.partitioned, c.link.drops = false, drops{} })
}

// Break breaks the line's connections, also in a partition: what was under way is lost, both ends see it at once, and the
// client connects again.
func (c *Client) Break() { c.link.breakAll() }

// DropReplies lets the client's next n unary requests be carried out, all until Heal where n is negative, and loses the
// answers in the way told. Whoever called cannot know whether the request was carried out; what only reads, etcd's client
// sends again when the connection breaks, and that counts anew. Streams, which watches and keepalives are, do not count;
// they break with the connection.
func (c *Client) DropReplies(n int, how Loss) {
	c.link.set(func() { c.link.drops = drops{left: n, how: how} })
}
