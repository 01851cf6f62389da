package tlsconfig

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
)

// checkAddress refuses a client whose certificate has names or addresses, none
// of which is the address that it calls from: a member's certificate is then of
// no use on another machine. A certificate without any may be used anywhere, and
// callers on a local socket have no address. The rule is etcd's.
func checkAddress(ctx context.Context, cert *x509.Certificate, remote net.Addr) error {
	if remote.Network() == "unix" || len(cert.IPAddresses) == 0 && len(cert.DNSNames) == 0 {
		return nil
	}
	host, _, err := net.SplitHostPort(remote.String())
	if err != nil {
		return fmt.Errorf("address of the client: %w", err)
	}
	if ip := net.ParseIP(host); slices.ContainsFunc(cert.IPAddresses, ip.Equal) || namesAddress(ctx, cert.DNSNames, host) {
		return nil
	}
	return fmt.Errorf("certificate of %s is for %q and %v, the client calls from %s", cert.Subject, cert.DNSNames, cert.IPAddresses, host)
}

// namesAddress asks the name service whether one of the names is an address's:
// what the address is called, or where the names lead.
func namesAddress(ctx context.Context, names []string, address string) bool {
	if len(names) == 0 {
		return false
	}
	called, _ := net.DefaultResolver.LookupAddr(ctx, address) // no answer is no match
	for _, name := range called {
		if slices.ContainsFunc(names, func(pattern string) bool { return nameMatches(strings.TrimSuffix(name, "."), pattern) }) {
			return true
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, "*.") {
			continue
		}
		addresses, _ := net.DefaultResolver.LookupHost(ctx, name)
		if slices.Contains(addresses, address) {
			return true
		}
	}
	return false
}

// nameMatches compares a host's name with a certificate's, which may begin with "*.".
func nameMatches(name, pattern string) bool {
	if domain, wild := strings.CutPrefix(pattern, "*"); wild {
		return strings.HasSuffix(name, domain)
	}
	return name == pattern
}
