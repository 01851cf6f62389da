package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/coordd/coordd/recipes"
)

// child is a command that runs while coordctl holds something.
type child struct {
	*exec.Cmd
	grouped bool // it and its descendants are a process group of their own
	// whole says that it has ended only when nobody of its group is left.
	whole bool
	// killAfter is how long before it is killed it is asked to terminate. 0: it is not asked.
	killAfter time.Duration
	// margin is how long before what is held may be another's it is killed.
	margin time.Duration
	// yield says that it is asked to terminate when somebody asks for the release of what is held.
	yield bool
}

// forward passes a signal on, unless the terminal has already sent it to the child too.
func (c *child) forward(s os.Signal) {
	if isKeyboardStop(s) {
		return
	}
	if c.grouped {
		signalGroup(c.Process, s)
	} else if s != os.Interrupt {
		c.Process.Signal(s)
	}
}

// kill ends the child at once, and its descendants where they are a group.
func (c *child) kill() {
	if c.grouped {
		signalGroup(c.Process, os.Kill)
	} else {
		c.Process.Kill()
	}
}

// start starts the child and returns a channel that gives how it ended, once it has.
func (c *child) start() (<-chan error, error) {
	if err := c.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		err := c.Wait()
		if c.whole {
			awaitGroup(c.Process.Pid)
		}
		ended <- err
	}()
	return ended, nil
}

// run runs the child for as long as it holds what hold is, and passes signals on to it. It returns when the child has
// ended: childError, or *endangeredError if that was because of the hold.
func (c *child) run(hold *recipes.Hold, signals ...os.Signal) error {
	// The child is to die with coordctl, but the kernel sees to its dying with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	received := make(chan os.Signal, 8)
	signal.Notify(received, signals...)
	defer signal.Stop(received)
	ended, err := c.start()
	if err != nil {
		return err
	}
	watch := holdWatch{hold: hold, child: c}
	watch.timer = time.NewTimer(watch.next())
	defer watch.timer.Stop()
	asked := hold.ReleaseAsked()
	for {
		select {
		case s := <-received:
			c.forward(s)
		case <-asked:
			asked = nil
			tellAsked(c.Stderr, hold.Asker())
			if c.yield {
				c.forward(syscall.SIGTERM)
			}
		case <-watch.timer.C:
			watch.look()
		case <-watch.lost():
			watch.end(whyLost(hold))
		case err := <-ended:
			if watch.why != nil {
				return &endangeredError{fmt.Errorf("%w; %s %s", watch.why, watch.did, c.Args[0])}
			}
			return childError(err)
		}
	}
}

// runFreely runs the child, which holds nothing that it could lose, and passes signals on to it.
func (c *child) runFreely(signals ...os.Signal) error {
	runtime.LockOSThread() // as in run
	defer runtime.UnlockOSThread()
	received := make(chan os.Signal, 8)
	signal.Notify(received, signals...)
	defer signal.Stop(received)
	ended, err := c.start()
	if err != nil {
		return err
	}
	for {
		select {
		case s := <-received:
			c.forward(s)
		case err := <-ended:
			return childError(err)
		}
	}
}

// holdWatch ends a child before what it holds may be another's.
type holdWatch struct {
	hold  *recipes.Hold
	child *child
	timer *time.Timer
	why   error  // the child was told to end
	did   string // how
	over  bool   // it was killed
}

// next is the time until there is something to do if the session is not renewed.
func (w *holdWatch) next() time.Duration {
	until := w.child.margin
	if w.why == nil {
		until += w.child.killAfter
	}
	return max(w.hold.Remaining()-until, 0)
}

// look terminates or kills the child if it is time to.
func (w *holdWatch) look() {
	remaining := w.hold.Remaining()
	switch {
	case w.over:
		return
	case remaining <= w.child.margin:
		why := whyLost(w.hold)
		if why == nil {
			why = fmt.Errorf("the cluster has not answered in time, in %v another may hold it", remaining.Round(time.Millisecond))
		}
		w.end(why)
		return
	case w.why == nil && remaining <= w.child.margin+w.child.killAfter:
		w.why = fmt.Errorf("the cluster has not answered in time, in %v another may hold it", remaining.Round(time.Millisecond))
		w.did = "terminated"
		w.child.forward(syscall.SIGTERM)
	}
	w.timer.Reset(w.next())
}

// lost is closed when the hold has ended, until that was acted on.
func (w *holdWatch) lost() <-chan struct{} {
	if w.over {
		return nil
	}
	return w.hold.Context().Done()
}

func (w *holdWatch) end(why error) {
	w.why, w.did, w.over = why, "killed", true
	w.child.kill()
}

// endangeredError says that a command was ended because what it ran under was lost, or about to be.
type endangeredError struct{ why error }

func (e *endangeredError) Error() string { return "lost what was held: " + e.why.Error() }
func (e *endangeredError) Unwrap() error { return e.why }
