// Package proxy stands between processes on loopback and does to their
// connections what networks do: silence in one direction or both, lost replies,
// delay, resets. It forwards bytes and knows nothing of what they mean, so it needs
// no privileges and works for every protocol over TCP.
package proxy

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Mode says what becomes of the bytes of one direction.
type Mode int

const (
	// Pass forwards.
	Pass Mode = iota
	// Hold is silence: what is sent arrives when the direction passes again.
	Hold
	// Drop loses what is sent. A connection that has lost something is reset when
	// the direction passes again.
	Drop
)

// Faults are what happens to a connection; the zero value is nothing.
type Faults struct {
	Requests Mode          // of what the side says that dialled
	Replies  Mode          // of what the other side says
	Delay    time.Duration // of each piece, in both directions
}

// Proxy forwards the connections of one address to another. Its methods may be
// called concurrently.
type Proxy struct {
	listener net.Listener
	target   string
	tasks    sync.WaitGroup // accept, and two pumps for each connection

	mu      sync.Mutex
	changed *sync.Cond // Wait for it, with mu, while a direction holds
	closed  bool
	faults  Faults
	callers map[int]Faults // instead of faults, by the process that dialled
	conns   map[*conn]struct{}
}

// conn is one connection and its continuation. Its lost is guarded by Proxy.mu.
type conn struct {
	down, up net.Conn
	caller   func() int // id of the process that dialled, 0 if it is gone
	lost     bool       // some of what was said was dropped
}

func (c *conn) close() {
	c.down.Close()
	c.up.Close()
}

// Start listens on a free port of loopback and forwards to target, a host and port.
// Nothing needs to listen there yet.
func Start(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{listener: l, target: target, callers: map[int]Faults{}, conns: map[*conn]struct{}{}}
	p.changed = sync.NewCond(&p.mu)
	p.tasks.Go(p.accept)
	return p, nil
}

// Address is the host and port to dial.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Set gives all connections these faults, also those to come.
func (p *Proxy) Set(f Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
	p.changeLocked()
}

// SetFor gives the connections that a process dials faults of their own, until Heal.
func (p *Proxy) SetFor(pid int, f Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.callers[pid] = f
	p.changeLocked()
}

// Heal ends all faults.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = Faults{}
	clear(p.callers)
	p.changeLocked()
}

// changeLocked lets the pumps look again, and resets what has lost bytes and would pass.
func (p *Proxy) changeLocked() {
	for c := range p.conns {
		if f := p.faultsOf(c); c.lost && f.Requests != Drop && f.Replies != Drop {
			c.close()
		}
	}
	p.changed.Broadcast()
}

// Reset breaks every connection; new ones are accepted.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.close()
	}
}

// Close breaks every connection and ends the proxy.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.listener.Close()
	for c := range p.conns {
		c.close()
	}
	p.changed.Broadcast()
	p.mu.Unlock()
	p.tasks.Wait()
}

func (p *Proxy) accept() {
	for {
		down, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		up, err := net.Dial("tcp", p.target)
		if err != nil {
			down.Close()
			continue
		}
		p.add(&conn{down: down, up: up, caller: sync.OnceValue(func() int { return ownerOf(down.RemoteAddr()) })})
	}
}

func (p *Proxy) add(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.close()
		return
	}
	p.conns[c] = struct{}{}
	p.tasks.Go(func() { p.pump(c, c.up, c.down, func(f Faults) Mode { return f.Requests }) })
	p.tasks.Go(func() { p.pump(c, c.down, c.up, func(f Faults) Mode { return f.Replies }) })
}

// pump forwards one direction until the connection ends.
func (p *Proxy) pump(c *conn, to, from net.Conn, direction func(Faults) Mode) {
	defer p.forget(c)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			deliver, delay := p.admit(c, direction)
			if deliver {
				time.Sleep(delay)
				_, werr := to.Write(buf[:n])
				err = errors.Join(err, werr)
			}
		}
		if err != nil {
			return
		}
	}
}

// admit says whether a piece is to be delivered; it waits while the direction holds.
func (p *Proxy) admit(c *conn, direction func(Faults) Mode) (deliver bool, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed {
		f := p.faultsOf(c)
		switch direction(f) {
		case Pass:
			return !c.lost, f.Delay
		case Drop:
			c.lost = true
			return false, 0
		}
		p.changed.Wait()
	}
	return false, 0
}

func (p *Proxy) faultsOf(c *conn) Faults {
	if len(p.callers) > 0 {
		if f, ok := p.callers[c.caller()]; ok {
			return f
		}
	}
	return p.faults
}

func (p *Proxy) forget(c *conn) {
	c.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}
