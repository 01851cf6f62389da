package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

const (
	// maxMessageBytes bounds one gRPC message: a MsgApp with the largest entry, or a chunk of a store.
	maxMessageBytes = 64 << 20
	// A member that comes back is to be reached within a fifth of a second, so
	// attempts to connect come this often. A refused one costs both sides next to nothing.
	redialDelay    = 20 * time.Millisecond
	maxRedialDelay = 100 * time.Millisecond
	// dialTimeout bounds one attempt: into a cut network it would else wait for
	// the kernel's ever rarer retries.
	dialTimeout = time.Second
	// pingInterval is the shortest that gRPC allows. What was sent and not
	// acknowledged for pingTimeout ends the connection at any time (TCP_USER_TIMEOUT).
	pingInterval = 10 * time.Second
	pingTimeout  = 3 * time.Second
	// maxStreams bounds the calls running on one connection.
	maxStreams = 256
)

var (
	errNoURL = errors.New("no peer URL; give at least one, as in http://host:port")
	errTLS   = errors.New("TLS between members is not supported; use http://host:port")
)

// transportCredentials is the one place that decides how connections between members are secured.
func transportCredentials() credentials.TransportCredentials { return insecure.NewCredentials() }

// ServerOptions are the options of the gRPC server that a [Server] is registered with.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(transportCredentials()),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingInterval, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingInterval / 2, PermitWithoutStream: true}),
	}
}

// dial makes a connection to one member, at whichever of its URLs answers.
func dial(id uint64, urls []string) (*grpc.ClientConn, error) {
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
		grpc.WithContextDialer(dialAddress),
		grpc.WithTransportCredentials(transportCredentials()),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: redialDelay, Multiplier: 2, Jitter: 0.2, MaxDelay: maxRedialDelay},
			MinConnectTimeout: dialTimeout,
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
		switch {
		case u.Scheme == "http" && u.Host != "":
			addresses = append(addresses, resolver.Address{Addr: u.Host})
		case u.Scheme == "unix":
			addresses = append(addresses, resolver.Address{Addr: "unix:" + u.Host + u.Path})
		case u.Scheme == "https":
			return nil, fmt.Errorf("peer URL %q: %w", s, errTLS)
		default:
			return nil, fmt.Errorf("peer URL %q is not of the form http://host:port", s)
		}
	}
	if len(addresses) == 0 {
		return nil, errNoURL
	}
	return addresses, nil
}

func dialAddress(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		return d.DialContext(ctx, "unix", socket)
	}
	return d.DialContext(ctx, "tcp", address)
}
