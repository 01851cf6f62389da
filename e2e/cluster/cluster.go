// Package cluster runs real server processes on loopback: coordd, or etcd,
// whose flags are the same. Tests, benchmarks and the demo share it.
package cluster

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Spec says what to run.
type Spec struct {
	Program string   // the server's executable
	Size    int      // members; at least 1
	Dir     string   // for data and logs; must exist
	Flags   []string // further flags for every member

	ClientScheme, PeerScheme string // of the URLs; empty: http

	// PeerFront returns the URL at which other members reach the one that listens
	// at a URL, as behind a proxy; nil: that URL itself.
	PeerFront func(listen string) string
}

// Cluster is some members that know each other. Its members' methods may be
// called concurrently for different members.
type Cluster struct {
	Members []*Member

	spec   Spec
	placed int // members that were ever given a name
}

// Start runs a new cluster and waits until every member is ready to serve.
func Start(ctx context.Context, spec Spec) (*Cluster, error) {
	if _, err := os.Stat(spec.Program); err != nil {
		return nil, fmt.Errorf("cluster: %w; build it first with 'make build peers'", err)
	}
	c, err := Plan(spec)
	if err != nil {
		return nil, err
	}
	for _, m := range c.Members {
		if err := m.Start(); err != nil {
			c.Kill()
			return nil, err
		}
	}
	for _, m := range c.Members {
		if err := m.AwaitReady(ctx); err != nil {
			c.Kill()
			return nil, err
		}
	}
	return c, nil
}

// Plan gives every member its name, addresses, directory and flags, and starts none.
func Plan(spec Spec) (*Cluster, error) {
	ports, release, err := freePorts(2 * spec.Size)
	if err != nil {
		return nil, err
	}
	defer release() // not before PeerFront has found ports of its own
	c := &Cluster{spec: spec}
	for i := range spec.Size {
		c.place(ports[2*i], ports[2*i+1])
	}
	for _, m := range c.Members {
		m.flags = c.flags(m, "new")
	}
	return c, nil
}

// Prepare gives the cluster one more member, not started yet, which will join
// those there are: it is to be added at its PeerURL first.
func (c *Cluster) Prepare() (*Member, error) {
	ports, release, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	defer release()
	m := c.place(ports[0], ports[1])
	m.flags = c.flags(m, "existing")
	return m, nil
}

// Forget takes a member out of the list, as one that was removed; those prepared
// later do not know it.
func (c *Cluster) Forget(m *Member) {
	c.Members = slices.DeleteFunc(c.Members, func(other *Member) bool { return other == m })
}

// place appends a member with a name of its own at two ports.
func (c *Cluster) place(clientPort, peerPort int) *Member {
	c.placed++
	name := fmt.Sprintf("n%d", c.placed)
	peerListen := fmt.Sprintf("%s://127.0.0.1:%d", cmp.Or(c.spec.PeerScheme, "http"), peerPort)
	peerURL := peerListen
	if c.spec.PeerFront != nil {
		peerURL = c.spec.PeerFront(peerListen)
	}
	m := &Member{
		Name:      name,
		ClientURL: fmt.Sprintf("%s://127.0.0.1:%d", cmp.Or(c.spec.ClientScheme, "http"), clientPort),
		PeerURL:   peerURL,
		DataDir:   filepath.Join(c.spec.Dir, name),
		LogFile:   filepath.Join(c.spec.Dir, name+".log"),

		program:    c.spec.Program,
		peerListen: peerListen,
	}
	c.Members = append(c.Members, m)
	return m
}

func (c *Cluster) flags(m *Member, state string) []string {
	var initial []string
	for _, other := range c.Members {
		initial = append(initial, other.Name+"="+other.PeerURL)
	}
	return append([]string{
		"--name", m.Name, "--data-dir", m.DataDir,
		"--listen-client-urls", m.ClientURL, "--advertise-client-urls", m.ClientURL,
		"--listen-peer-urls", m.peerListen, "--initial-advertise-peer-urls", m.PeerURL,
		"--initial-cluster", strings.Join(initial, ","),
		"--initial-cluster-token", "e2e", "--initial-cluster-state", state,
	}, c.spec.Flags...)
}

// Endpoints returns the members' client URLs.
func (c *Cluster) Endpoints() []string {
	urls := make([]string, len(c.Members))
	for i, m := range c.Members {
		urls[i] = m.ClientURL
	}
	return urls
}

// Kill ends every member with SIGKILL.
func (c *Cluster) Kill() {
	for _, m := range c.Members {
		m.Kill()
	}
}

// freePorts returns ports of loopback that nothing listens on. They stay taken until
// release is called.
func freePorts(n int) (ports []int, release func(), err error) {
	var listeners []net.Listener
	release = func() {
		for _, l := range listeners {
			l.Close()
		}
	}
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("cluster: find a free port: %w", err)
		}
		listeners = append(listeners, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, release, nil
}
