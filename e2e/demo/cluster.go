package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const memberCount = 3

// cluster is the members of the store, each a process.
type cluster struct {
	life        context.Context // of the processes
	dir, server string
	members     []*member
}

type member struct {
	name, client, peer string // name and URLs
	process            *process
}

// newCluster chooses names and free ports.
func newCluster(life context.Context, dir, server string) (*cluster, error) {
	c := &cluster{life: life, dir: dir, server: server}
	for i := range memberCount {
		c.members = append(c.members, &member{name: fmt.Sprintf("n%d", i+1)})
	}
	var listeners []net.Listener // open together, so that no port is handed out twice
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, m := range c.members {
		for _, url := range []*string{&m.client, &m.peer} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, fmt.Errorf("find a free port: %w", err)
			}
			listeners = append(listeners, l)
			*url = "http://" + l.Addr().String()
		}
	}
	return c, nil
}

// start runs a member, for the first time or again.
func (c *cluster) start(m *member) (err error) {
	var initial []string
	for _, m := range c.members {
		initial = append(initial, m.name+"="+m.peer)
	}
	m.process, err = startProcess(c.life, c.dir, m.name, c.server,
		"--name="+m.name, "--data-dir="+filepath.Join(c.dir, m.name),
		"--listen-client-urls="+m.client, "--advertise-client-urls="+m.client,
		"--listen-peer-urls="+m.peer, "--initial-advertise-peer-urls="+m.peer,
		"--initial-cluster="+strings.Join(initial, ","),
		"--initial-cluster-token=demo", "--initial-cluster-state=new")
	return err
}

func (c *cluster) startAll(ctx context.Context) error {
	for _, m := range c.members {
		if err := c.start(m); err != nil {
			return err
		}
	}
	for _, m := range c.members {
		if err := m.process.awaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stop waits for all members; the context they run under has ended.
func (c *cluster) stop() {
	for _, m := range c.members {
		if m.process != nil {
			<-m.process.ended
		}
	}
}

func (c *cluster) endpoints() (urls []string) {
	for _, m := range c.members {
		urls = append(urls, m.client)
	}
	return urls
}

// leader finds the member that calls itself the leader.
func (c *cluster) leader(ctx context.Context, client *clientv3.Client) (*member, error) {
	var errs []error
	for ctx.Err() == nil {
		errs = nil
		for _, m := range c.members {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			s, err := client.Status(ctx, m.client)
			cancel()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
			} else if s.Leader == s.Header.MemberId {
				return m, nil
			}
		}
	}
	return nil, errors.Join(append(errs, errors.New("no member leads"), context.Cause(ctx))...)
}
