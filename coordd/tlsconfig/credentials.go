package tlsconfig

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Secured is a connection whose TLS handshake is done, as a [tls.Conn].
type Secured interface {
	net.Conn
	ConnectionState() tls.ConnectionState
}

// Handshaken are the transport credentials of a gRPC server on listeners that
// do the handshake themselves: they only report it. The calls of a [Secured]
// connection find [credentials.TLSInfo] in their context, with the client's
// certificates; those of others find that their connection is insecure.
func Handshaken() credentials.TransportCredentials {
	return handshaken{insecure.NewCredentials()}
}

type handshaken struct {
	credentials.TransportCredentials
}

func (h handshaken) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, ok := conn.(Secured)
	if !ok {
		return h.TransportCredentials.ServerHandshake(conn)
	}
	return conn, credentials.TLSInfo{
		State:          secured.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

var errServerOnly = errors.New("tlsconfig: these credentials are a server's")

func (handshaken) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errServerOnly
}

func (h handshaken) Clone() credentials.TransportCredentials { return h }
