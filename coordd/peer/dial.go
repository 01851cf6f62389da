package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/coordd/coordd/coordd/tlsconfig"
)

const (
	// maxMessageBytes bounds one gRPC message: a MsgApp with the largest entry, or a chunk of a store.
	maxMessageBytes = 64 << 20
	// A member that comes back is to be reached within a fifth of a second, so
	// attempts to connect come this often. A refused one costs both sides next to nothing.
	redialDelay    = 20 * time.Millisecond
	maxRedialDelay = 100 * time.Millisecond
	// dialTimeout bounds one attempt to reach an address: into a cut network it
	// would else wait for the kernel's ever rarer retries.
	dialTimeout = time.Second
	// connectTimeout bounds an attempt with its TLS handshake, in which the other
	// side may have to ask the name service.
	connectTimeout = 5 * time.Second
	// pingInterval is the shortest that gRPC allows. What was sent and not
	// acknowledged for pingTimeout ends the connection at any time (TCP_USER_TIMEOUT).
	pingInterval = 10 * time.Second
	pingTimeout  = 3 * time.Second
	// maxStreams bounds the calls running on one connection.
	maxStreams = 256
)

var errNoURL = errors.New("no peer URL; give at least one, as in http://host:port")

// ClientTLS is the TLS of one connection to the server of that name or address.
// It is asked anew for each, so that changed certificates are used.
type ClientTLS func(serverName string) *tls.Config

// ServerOptions are the options of the gRPC server that a [Server] is registered
// with. Its listeners do the TLS handshakes.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(tlsconfig.Handshaken()),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingInterval, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingInterval / 2, PermitWithoutStream: true}),
	}
}

// dial makes a connection to one member, at whichever of its URLs answers.
func dial(secure ClientTLS, id uint64, urls []string) (*grpc.ClientConn, error) {
	addresses, err := parseAddresses(urls)
	if err != nil {
		return nil, err
	}
	// Host names are looked up at each attempt, by the dialer: gRPC's own resolver
	// would look again only every half minute.
	r := manual.NewBuilderWithScheme("member")
	r.InitialState(resolver.State{Addresses: addresses})
	return grpc.NewClient("member:///"+strconv.FormatUint(id, 16),
		grpc.WithResolvers(r),
		grpc.WithContextDialer(secure.dialURL),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the dialer does the handshakes
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: redialDelay, Multiplier: 2, Jitter: 0.2, MaxDelay: maxRedialDelay},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingInterval, Timeout: pingTimeout, PermitWithoutStream: true}),
	)
}

func parseAddresses(urls []string) ([]resolver.Address, error) {
	var addresses []resolver.Address
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("peer URL %q: %w", s, err)
		}
		switch u.Scheme {
		case "http", "https":
			if u.Host == "" {
				return nil, fmt.Errorf("peer URL %q has no host", s)
			}
		case "unix", "unixs":
		default:
			return nil, fmt.Errorf("peer URL %q is not of the form http://host:port", s)
		}
		addresses = append(addresses, resolver.Address{Addr: s})
	}
	if len(addresses) == 0 {
		return nil, errNoURL
	}
	return addresses, nil
}

// dialURL connects to a member's URL, and does the TLS handshake where it says so.
func (secure ClientTLS) dialURL(ctx context.Context, s string) (net.Conn, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, err
	}
	network, address, serverName := "tcp", u.Host, u.Hostname()
	if u.Scheme == "unix" || u.Scheme == "unixs" {
		network, address, serverName = "unix", u.Host+u.Path, "localhost"
	}
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil || u.Scheme == "http" || u.Scheme == "unix" {
		return conn, err
	}
	config := secure(serverName)
	config.NextProtos = []string{"h2"}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}
