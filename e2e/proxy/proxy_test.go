package proxy

import (
	"bufio"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echo answers every line with itself and tells of each line that arrived.
func echo(t *testing.T) (address string, arrived <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	lines := make(chan string, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					lines <- line
					io.WriteString(c, line)
				}
			}()
		}
	}()
	return l.Addr().String(), lines
}

type caller struct {
	*testing.T
	conn net.Conn
	read *bufio.Reader
}

func call(t *testing.T, p *Proxy) *caller {
	t.Helper()
	c, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return &caller{t, c, bufio.NewReader(c)}
}

func (c *caller) say(line string) {
	c.Helper()
	if _, err := io.WriteString(c.conn, line); err != nil {
		c.Fatal(err)
	}
}

func (c *caller) hear(want string) {
	c.Helper()
	if got, err := c.read.ReadString('\n'); got != want || err != nil {
		c.Fatalf("heard %q, %v; want %q", got, err, want)
	}
}

func start(t *testing.T) (*Proxy, <-chan string) {
	t.Helper()
	address, arrived := echo(t)
	p, err := Start(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, arrived
}

func TestPass(t *testing.T) {
	p, _ := start(t)
	p.Set(Faults{Delay: time.Millisecond})
	c := call(t, p)
	c.say("a\n")
	c.hear("a\n")
}

// Silence in one direction: nothing arrives, and all of it does afterwards.
func TestHold(t *testing.T) {
	p, arrived := start(t)
	c, other := call(t, p), call(t, p)
	c.say("a\n")
	c.hear("a\n")
	<-arrived
	p.Set(Faults{Requests: Hold})
	c.say("b\n")
	other.say("c\n")
	p.Set(Faults{Replies: Hold}) // the requests arrive now, and nothing comes back
	got := map[string]bool{<-arrived: true, <-arrived: true}
	if !got["b\n"] || !got["c\n"] {
		t.Errorf("arrived: %v", got)
	}
	p.Heal()
	c.hear("b\n")
	other.hear("c\n")
}

// A lost reply: the request arrives, and the caller finds its connection broken.
func TestDropReplies(t *testing.T) {
	p, arrived := start(t)
	c := call(t, p)
	c.say("a\n")
	c.hear("a\n")
	<-arrived
	p.Set(Faults{Replies: Drop})
	c.say("b\n")
	if got := <-arrived; got != "b\n" {
		t.Errorf("arrived: %q", got)
	}
	awaitLost(p)
	p.Heal()
	if line, err := c.read.ReadString('\n'); err == nil {
		t.Errorf("heard %q after a reply was lost", line)
	}
	again := call(t, p)
	again.say("c\n")
	again.hear("c\n")
}

// awaitLost returns when a connection has lost something.
func awaitLost(p *Proxy) {
	for {
		p.mu.Lock()
		for c := range p.conns {
			if c.lost {
				p.mu.Unlock()
				return
			}
		}
		p.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

func TestReset(t *testing.T) {
	p, _ := start(t)
	c := call(t, p)
	c.say("a\n")
	c.hear("a\n")
	p.Reset()
	if _, err := c.read.ReadString('\n'); err == nil {
		t.Error("the connection goes on")
	}
}

// Faults for one process leave the others alone.
func TestFaultsOfOneCaller(t *testing.T) {
	p, arrived := start(t)
	p.SetFor(os.Getpid(), Faults{Requests: Hold})
	c := call(t, p)
	c.say("a\n")
	p.SetFor(os.Getpid()+1, Faults{Requests: Hold})
	select {
	case line := <-arrived:
		t.Errorf("%q arrived", line)
	default:
	}
	if got := ownerOf(c.conn.LocalAddr()); got != os.Getpid() {
		t.Errorf("the connection is that of process %d, want %d", got, os.Getpid())
	}
	p.Heal()
	c.hear("a\n")
	p.SetFor(1<<30, Faults{Requests: Hold, Replies: Hold})
	c.say("b\n")
	c.hear("b\n")
}

func TestClose(t *testing.T) {
	p, _ := start(t)
	p.Set(Faults{Requests: Hold})
	c := call(t, p)
	c.say("a\n")
	p.Close()
	if _, err := c.read.ReadString('\n'); err == nil {
		t.Error("the connection goes on")
	}
}
