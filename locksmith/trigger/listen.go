package trigger

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/coordd/coordd/locksmith/bus"
)

const (
	firstRetry   = 100 * time.Millisecond
	longestRetry = 10 * time.Second
	callTimeout  = 10 * time.Second // of a question to update_engine or to the bus
)

// run listens until ctx ends; over a new connection when one has ended.
func (u *updateEngine) run(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		connected, err := u.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if connected {
			retry = firstRetry
		}
		u.settle(err)
		sleep(ctx, retry)
		retry = min(2*retry, longestRetry)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// settle says whether it is listened to.
func (u *updateEngine) settle(err error) {
	u.mu.Lock()
	u.err = err
	u.mu.Unlock()
	select {
	case <-u.ready:
	default:
		close(u.ready)
	}
	u.notify()
}

// listen listens over one connection until it ends. connected says whether it ever did.
func (u *updateEngine) listen(ctx context.Context) (connected bool, err error) {
	u.forgetConnection()
	conn, err := bus.Connect(ctx, u)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if err := u.subscribe(ctx, conn); err != nil {
		return false, err
	}
	known := "" // whose status was asked for
	for {
		if known, err = u.askStatus(ctx, conn, known); err != nil {
			return connected, err
		}
		u.lookAtStrangers(ctx, conn)
		if !connected {
			connected = true
			u.settle(nil)
		}
		select {
		case <-u.wake:
		case <-ctx.Done():
			return connected, context.Cause(ctx)
		case <-conn.Context().Done():
			return connected, bus.ErrEnded
		}
	}
}

// forgetConnection forgets what holds for one connection to the bus. What
// update_engine has said last still stands.
func (u *updateEngine) forgetConnection() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.owner, u.status.at, u.strangers = heard[string]{}, 0, nil
}

// subscribe subscribes to all statuses, and to update_engine's coming and going. It then asks who is there.
func (u *updateEngine) subscribe(ctx context.Context, conn *dbus.Conn) error {
	for _, rule := range [][]dbus.MatchOption{
		{dbus.WithMatchInterface(engineManager), dbus.WithMatchMember("StatusUpdate"), dbus.WithMatchObjectPath(enginePath)},
		{dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, engineService)},
	} {
		if err := conn.AddMatchSignalContext(ctx, rule...); err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
	}
	const method = "org.freedesktop.DBus.GetNameOwner"
	call := conn.BusObject().CallWithContext(ctx, method, 0, engineService)
	var owner string
	if err := bus.Answer(ctx, method, call, &owner); err != nil && !bus.IsRefused(err, bus.NoOwner) {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.owner.hear(owner, call.ResponseSequence)
	return nil
}

// askStatus asks an update_engine that is not the known one for its status, and returns which one is known now.
func (u *updateEngine) askStatus(ctx context.Context, conn *dbus.Conn, known string) (string, error) {
	u.mu.Lock()
	owner := u.owner.value
	u.mu.Unlock()
	if owner == "" || owner == known {
		return owner, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	const method = engineManager + ".GetStatus"
	call := conn.Object(owner, enginePath).CallWithContext(ctx, method, 0)
	err := bus.Answer(ctx, method, call)
	switch {
	case bus.IsRefused(err, bus.NoOwner, bus.NoService, bus.NoReply): // it has gone meanwhile, and the bus will say so
		return owner, nil
	case bus.IsRefused(err, bus.UnknownMethod): // what stands in for update_engine elsewhere may send signals alone
		return owner, nil
	case err != nil:
		return known, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.status.hear(parseStatus(call.Body), call.ResponseSequence)
	u.notify()
	return owner, nil
}

// lookAtStrangers asks the bus who it is that requests a reboot without being update_engine.
func (u *updateEngine) lookAtStrangers(ctx context.Context, conn *dbus.Conn) {
	u.mu.Lock()
	strangers, owner := u.strangers, u.owner.value
	u.strangers = nil
	u.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, name := range strangers {
		if name == owner { // it was not known yet when it spoke; since then it was asked
			continue
		}
		var uid uint32
		err := bus.Call(ctx, conn.BusObject(), "org.freedesktop.DBus.GetConnectionUnixUser", []any{name}, &uid)
		switch {
		case err != nil:
			u.ignore("ignored a request for a reboot: it is not known whose it is", "connection", name, "error", err)
		case !mayRequest(uid):
			u.ignore("ignored a request for a reboot of a user who may not", "connection", name, "uid", uid)
		default:
			u.mu.Lock()
			u.requested = true
			u.mu.Unlock()
			u.notify()
		}
	}
}

// ignore tells of a request that does not count, once in a while: any user can make
// thousands of them, and must not fill the journal, or have it drop what else the agent says.
func (u *updateEngine) ignore(message string, args ...any) {
	if now := time.Now(); u.ignored.IsZero() || now.Sub(u.ignored) >= ignoredInterval {
		u.ignored = now
		u.log.Warn(message, args...)
	}
}

// ignoredInterval is between two words about requests that do not count.
const ignoredInterval = time.Minute

// mayRequest reports whether a user may have this machine rebooted: root, and the user of this process.
func mayRequest(uid uint32) bool { return uid == 0 || uid == uint32(os.Geteuid()) }
