package coordd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"syscall"
)

// listeners are a member's open ports.
type listeners struct {
	clients, peers []net.Listener
}

// listen opens every port, before anything else is touched: a port that is
// taken is the most common reason why a member cannot start.
func listen(cfg *Config) (*listeners, error) {
	l := new(listeners)
	var err error
	if l.clients, err = listenAll("listen-client-urls", cfg.ListenClientURLs); err == nil {
		l.peers, err = listenAll("listen-peer-urls", cfg.ListenPeerURLs)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func listenAll(flag string, urls []string) ([]net.Listener, error) {
	var all []net.Listener
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			return all, fmt.Errorf("%w: --%s: %w", ErrConfig, flag, err)
		}
		l, err := net.Listen("tcp", u.Host)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w; stop what listens there, or give another port", err)
		}
		if err != nil {
			return all, fmt.Errorf("coordd: --%s %s: %w", flag, s, err)
		}
		all = append(all, l)
	}
	return all, nil
}

func (l *listeners) close() {
	for _, all := range [][]net.Listener{l.clients, l.peers} {
		for _, one := range all {
			one.Close() // may be closed already, by the server on it
		}
	}
}

func (l *listeners) clientURLs() []string {
	urls := make([]string, len(l.clients))
	for i, one := range l.clients {
		urls[i] = "http://" + one.Addr().String()
	}
	return urls
}

// isIP tells hosts that name an address of this machine: an IP address,
// localhost, or nothing, for all addresses.
func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host == "" || host == "localhost"
}
