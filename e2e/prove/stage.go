package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/coordd/coordd/e2e/cluster"
	"github.com/coordd/coordd/e2e/proxy"
)

// programs are the executables that the arms run.
type programs struct{ server, ctl string }

// stage is a cluster whose members reach each other through proxies, and a resource.
type stage struct {
	programs
	dir       string
	store     *cluster.Cluster
	peerLinks map[string]*proxy.Proxy // by the PeerURL they listen at
	resource  *process
	address   string // of the resource
	workers   atomic.Int64
}

// newStage runs a new cluster in a folder, and a resource. Its close ends all that it started.
func newStage(ctx context.Context, p programs, dir string, size int) (*stage, error) {
	s := &stage{programs: p, dir: dir, peerLinks: map[string]*proxy.Proxy{}}
	var errFront error
	front := func(listen string) string {
		link, err := proxy.Start(strings.TrimPrefix(listen, "http://"))
		if err != nil {
			errFront = err
			return listen
		}
		url := "http://" + link.Address()
		s.peerLinks[url] = link
		return url
	}
	var err error
	s.store, err = cluster.Start(ctx, cluster.Spec{Program: p.server, Size: size, Dir: dir, PeerFront: front})
	if err == nil {
		err = errFront
	}
	if err == nil {
		err = s.startResource(ctx)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stage) startResource(ctx context.Context) (err error) {
	if s.resource, err = startProcess(s.dir, "resource", roleResource); err != nil {
		return err
	}
	state, err := s.resourceState(ctx)
	s.address = state.Address
	return err
}

func (s *stage) resourceState(ctx context.Context) (resourceState, error) {
	return order[string, resourceState](ctx, s.resource, "")()
}

func (s *stage) close() {
	if s.resource != nil {
		s.resource.kill()
	}
	if s.store != nil {
		s.store.Kill()
	}
	for _, link := range s.peerLinks {
		link.Close()
	}
}

// link is how one worker reaches the members: through a proxy to each.
type link []*proxy.Proxy

func (s *stage) newLink() (link, error) {
	var l link
	for _, m := range s.store.Members {
		p, err := proxy.Start(strings.TrimPrefix(m.ClientURL, "http://"))
		if err != nil {
			l.close()
			return nil, err
		}
		l = append(l, p)
	}
	return l, nil
}

func (l link) endpoints() (urls []string) {
	for _, p := range l {
		urls = append(urls, "http://"+p.Address())
	}
	return urls
}

func (l link) set(f proxy.Faults) {
	for _, p := range l {
		p.Set(f)
	}
}

func (l link) close() {
	for _, p := range l {
		p.Close()
	}
}

// player is a worker process and its link.
type player struct {
	*process
	link link
}

// newPlayer starts a worker and opens its sessions.
func (s *stage) newPlayer(ctx context.Context, c command) (*player, error) {
	l, err := s.newLink()
	if err != nil {
		return nil, err
	}
	p, err := startProcess(s.dir, fmt.Sprintf("worker-%d", s.workers.Add(1)), roleWorker)
	if err != nil {
		l.close()
		return nil, err
	}
	player := &player{p, l}
	c.Do, c.Endpoints, c.Resource = "open", l.endpoints(), s.address
	if _, err := player.do(ctx, c); err != nil {
		player.end()
		return nil, err
	}
	return player, nil
}

// do is one command and its results. An error in any lane is one.
func (p *player) do(ctx context.Context, c command) ([]result, error) {
	return p.begin(ctx, c)()
}

// begin sends a command at once and returns what waits for its results.
func (p *player) begin(ctx context.Context, c command) func() ([]result, error) {
	await := order[command, reply](ctx, p.process, c)
	return func() ([]result, error) {
		r, err := await()
		if err == nil {
			err = r.firstErr()
		}
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", p.name, c.Do, err)
		}
		return r.Lanes, nil
	}
}

// end kills the worker.
func (p *player) end() {
	p.kill()
	p.link.close()
}

// in is a path in the stage's folder.
func (s *stage) in(name string) string { return filepath.Join(s.dir, name) }
