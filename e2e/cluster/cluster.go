// Package cluster runs real server processes on loopback: coordd, or etcd,
// whose flags are the same. Tests, benchmarks and the demo share it.
package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Spec says what to run.
type Spec struct {
	Program string   // the server's executable
	Size    int      // members; at least 1
	Dir     string   // for data and logs; must exist
	Flags   []string // further flags for every member
}

// Cluster is some members that know each other. Its members' methods may be
// called concurrently for different members.
type Cluster struct {
	Members []*Member
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
	ports, err := freePorts(2 * spec.Size)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Members: make([]*Member, spec.Size)}
	var initial []string
	for i := range c.Members {
		name := fmt.Sprintf("n%d", i+1)
		m := &Member{
			Name:      name,
			ClientURL: fmt.Sprintf("http://127.0.0.1:%d", ports[2*i]),
			PeerURL:   fmt.Sprintf("http://127.0.0.1:%d", ports[2*i+1]),
			DataDir:   filepath.Join(spec.Dir, name),
			LogFile:   filepath.Join(spec.Dir, name+".log"),
			program:   spec.Program,
		}
		c.Members[i] = m
		initial = append(initial, name+"="+m.PeerURL)
	}
	for _, m := range c.Members {
		m.flags = append([]string{
			"--name", m.Name, "--data-dir", m.DataDir,
			"--listen-client-urls", m.ClientURL, "--advertise-client-urls", m.ClientURL,
			"--listen-peer-urls", m.PeerURL, "--initial-advertise-peer-urls", m.PeerURL,
			"--initial-cluster", strings.Join(initial, ","),
			"--initial-cluster-token", "e2e", "--initial-cluster-state", "new",
		}, spec.Flags...)
	}
	return c, nil
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

// freePorts returns ports of loopback that nothing listens on at this moment.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("cluster: find a free port: %w", err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
