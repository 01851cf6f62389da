package coordd

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// listeners are a member's open ports.
type listeners struct {
	clients, peers, metrics []*listener
	clientURLs              []string // where each of ListenClientURLs is served
}

// listener is one open port or local socket, and what is spoken there. URLs of
// one address share it.
type listener struct {
	net.Listener
	network, address string // as the URLs say
	clear, secure    bool
	grpc, http       bool
}

// listen opens every port, before anything else is touched: a port that is
// taken is the most common reason why a member cannot start.
func listen(cfg *Config) (l *listeners, err error) {
	o := &opener{given: slices.Clone(cfg.Sockets)}
	l = new(listeners)
	defer func() {
		if err != nil {
			l.close()
			o.close()
			l = nil
		}
	}()
	alsoHTTP := len(cfg.ListenClientHTTPURLs) == 0
	for _, group := range []struct {
		flag, socket string
		urls         []string
		into         *[]*listener
		grpc, http   bool
	}{
		{"listen-client-urls", "client", cfg.ListenClientURLs, &l.clients, true, alsoHTTP},
		{"listen-client-http-urls", "client-http", cfg.ListenClientHTTPURLs, &l.clients, false, true},
		{"listen-peer-urls", "peer", cfg.ListenPeerURLs, &l.peers, true, false},
		{"listen-metrics-urls", "metrics", cfg.ListenMetricsURLs, &l.metrics, false, true},
	} {
		for _, s := range group.urls {
			one, err := o.open(group.into, group.socket, s, group.grpc, group.http)
			if err != nil {
				return l, fmt.Errorf("coordd: --%s %s: %w", group.flag, s, err)
			}
			if group.flag == "listen-client-urls" {
				l.clientURLs = append(l.clientURLs, one.served(s))
			}
		}
	}
	if len(o.given) > 0 {
		return l, fmt.Errorf("%w: a socket was handed over for %s, %s, which no listen URL names: clients would wait there for ever",
			ErrConfig, o.given[0].Listener.Addr(), o.given[0].Name)
	}
	return l, nil
}

// opener opens what was not handed over.
type opener struct{ given []Socket }

// open makes a listener for an URL, or lets an earlier one of the same address serve it too.
func (o *opener) open(among *[]*listener, socket, s string, grpc, http bool) (*listener, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	network, address := "tcp", u.Host
	if isSocket(u) {
		network, address = "unix", u.Host+u.Path
	}
	at := slices.IndexFunc(*among, func(l *listener) bool { return l.network == network && l.address == address && u.Port() != "0" })
	if at < 0 {
		l, err := o.listen(socket, network, address)
		if err != nil {
			return nil, err
		}
		at = len(*among)
		*among = append(*among, &listener{Listener: l, network: network, address: address, grpc: grpc, http: http})
	}
	l := (*among)[at]
	if l.grpc != grpc || l.http != http {
		return nil, fmt.Errorf("%w: the same address stands in --listen-client-urls, which is for gRPC alone then; give another port", ErrConfig)
	}
	l.secure, l.clear = l.secure || isSecure(u), l.clear || !isSecure(u)
	return l, nil
}

func (o *opener) listen(socket, network, address string) (net.Listener, error) {
	at := slices.IndexFunc(o.given, func(s Socket) bool { return sameAddress(s.Listener.Addr(), network, address) })
	if at < 0 {
		at = slices.IndexFunc(o.given, func(s Socket) bool { return s.Name == socket })
	}
	if at >= 0 {
		l := o.given[at].Listener
		o.given = slices.Delete(o.given, at, at+1)
		return l, nil
	}
	if network == "unix" {
		if err := removeStaleSocket(address); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen(network, address)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w; stop what listens there, or give another port", err)
	}
	return l, err
}

func (o *opener) close() {
	for _, s := range o.given {
		s.Listener.Close()
	}
}

// sameAddress tells whether a socket listens where a URL says. All addresses of
// the machine are one, in whichever family they are written.
func sameAddress(have net.Addr, network, address string) bool {
	if have.Network() != network {
		return false
	}
	if network == "unix" {
		return have.String() == address
	}
	host, port, err := net.SplitHostPort(address)
	listening, err2 := netip.ParseAddrPort(have.String())
	if err != nil || err2 != nil || port != fmt.Sprint(listening.Port()) {
		return false
	}
	ip := listening.Addr().Unmap()
	if host == "localhost" {
		return ip.IsLoopback()
	}
	wanted, err := netip.ParseAddr(host)
	if host == "" || err == nil && wanted.IsUnspecified() {
		return ip.IsUnspecified()
	}
	return err == nil && wanted.Unmap() == ip
}

// staleSocketTimeout is for the question whether anybody listens on a local socket.
const staleSocketTimeout = time.Second

// removeStaleSocket removes the file of a socket that a killed process has left:
// nobody answers there. It touches nothing else.
func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is no socket; remove it, or give another path", path)
	}
	conn, err := net.DialTimeout("unix", path, staleSocketTimeout)
	if err == nil {
		conn.Close()
		return fmt.Errorf("another process listens on %s; stop that, or give another path", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s exists and cannot be asked whether it is in use: %w", path, err)
	}
	return os.Remove(path)
}

// served is the URL with the port that the system has chosen for port 0, and
// with an address where the URL has none.
func (l *listener) served(s string) string {
	u, err := url.Parse(s)
	if err != nil || isSocket(u) || u.Hostname() != "" && u.Port() != "0" {
		return strings.TrimSpace(s)
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return s
	}
	if u.Hostname() != "" {
		host = u.Hostname()
	}
	return u.Scheme + "://" + net.JoinHostPort(host, port)
}

func (l *listeners) close() {
	for _, one := range slices.Concat(l.clients, l.peers, l.metrics) {
		one.Close() // may be closed already, by the server on it
	}
}
