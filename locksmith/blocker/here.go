package blocker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// machine is how this machine is called and reached.
type machine struct {
	hostname  string
	addresses []netip.Addr
	resolve   func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// here returns the ids of the members whose URLs lead to this machine: its
// addresses, its name, or a name that stands for one of its addresses.
func here(ctx context.Context, members []*pb.Member) (map[uint64]bool, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find this machine's name: %w", err)
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("find this machine's addresses: %w", err)
	}
	self := machine{hostname: hostname, resolve: net.DefaultResolver.LookupNetIP}
	for _, a := range interfaces {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			self.addresses = append(self.addresses, prefix.Addr().Unmap())
		}
	}
	return self.members(ctx, members)
}

// members fails where no member is known to be this machine, and of one it cannot
// be told: a name that does not resolve here may be this machine's elsewhere.
func (m *machine) members(ctx context.Context, members []*pb.Member) (map[uint64]bool, error) {
	ours := map[uint64]bool{}
	var unknown []error
	for _, other := range members {
		for _, host := range hosts(other) {
			is, err := m.is(ctx, host)
			if err != nil {
				unknown = append(unknown, err)
			}
			if is {
				ours[other.ID] = true
				break
			}
		}
	}
	if len(ours) == 0 && len(unknown) > 0 {
		return nil, fmt.Errorf("find out whether this machine is a member of the store (machine.store_member can say so): %w", errors.Join(unknown...))
	}
	return ours, nil
}

// hosts returns the different hosts in the URLs of a member. What others do not
// reach it by does not count where there is anything else: a member that was not
// told what to advertise says localhost to everybody.
func hosts(m *pb.Member) []string {
	var far, near []string
	for _, s := range slices.Concat(m.PeerURLs, m.ClientURLs) {
		u, err := url.Parse(s)
		if err != nil || u.Hostname() == "" {
			continue
		}
		host := u.Hostname()
		if address, err := netip.ParseAddr(host); err == nil && address.IsLoopback() || host == "localhost" {
			near = append(near, host)
		} else {
			far = append(far, host)
		}
	}
	if len(far) == 0 {
		far = near
	}
	slices.Sort(far)
	return slices.Compact(far)
}

// is reports whether a host of a URL is this machine.
func (m *machine) is(ctx context.Context, host string) (bool, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		return slices.Contains(m.addresses, address.Unmap().WithZone("")), nil
	}
	if sameName(host, m.hostname) {
		return true, nil
	}
	addresses, err := m.resolve(ctx, "ip", host)
	if err != nil {
		return false, fmt.Errorf("resolve %s: %w", host, err)
	}
	return slices.ContainsFunc(addresses, func(a netip.Addr) bool { return slices.Contains(m.addresses, a.Unmap().WithZone("")) }), nil
}

// sameName compares names of hosts. A name without a domain is the same as any
// that begins with it: to take another machine for this one holds a reboot up, the
// other way round it would cost the quorum.
func sameName(a, b string) bool {
	a, b = strings.TrimSuffix(strings.ToLower(a), "."), strings.TrimSuffix(strings.ToLower(b), ".")
	return a == b || strings.HasPrefix(a, b+".") || strings.HasPrefix(b, a+".")
}
