package restart

import (
	"context"
	"fmt"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/coordd/coordd/locksmith/bus"
)

// jobEnds are the ends of systemd's jobs, as it tells them. A job may end before it
// is known which one it is. It is a dbus.SignalHandler.
type jobEnds struct {
	more chan struct{} // holds a word when another job has ended

	mu      sync.Mutex
	systemd string // its connection; "": nobody is believed, for any user can send a signal
	results map[dbus.ObjectPath]string
}

// listen has systemd tell of the ends of all jobs.
func (j *jobEnds) listen(ctx context.Context, conn *dbus.Conn) error {
	var owner string
	if err := bus.Call(ctx, conn.BusObject(), "org.freedesktop.DBus.GetNameOwner", []any{systemdName}, &owner); err != nil {
		return err
	}
	j.mu.Lock()
	j.systemd = owner
	j.mu.Unlock()
	err := conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(systemdName), dbus.WithMatchObjectPath(systemdPath),
		dbus.WithMatchInterface(managerInterface), dbus.WithMatchMember("JobRemoved"))
	if err != nil {
		return err
	}
	// systemd sends no signals to a bus on which nobody has asked for them.
	return call(ctx, conn, "Subscribe").Err
}

// DeliverSignal reads JobRemoved(id, job, unit, result).
func (j *jobEnds) DeliverSignal(_, _ string, s *dbus.Signal) {
	var id uint32
	var job dbus.ObjectPath
	var unit, result string
	if s.Name != managerInterface+".JobRemoved" || dbus.Store(s.Body, &id, &job, &unit, &result) != nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.systemd == "" || s.Sender != j.systemd {
		return
	}
	j.results[job] = result
	select {
	case j.more <- struct{}{}:
	default:
	}
}

// await returns the result of a job when it has ended.
func (j *jobEnds) await(ctx context.Context, conn *dbus.Conn, job dbus.ObjectPath) (result string, err error) {
	for {
		j.mu.Lock()
		result, ended := j.results[job]
		clear(j.results) // the others are nobody's business
		j.mu.Unlock()
		if ended {
			return result, nil
		}
		select {
		case <-j.more:
		case <-ctx.Done():
			return "", fmt.Errorf("the job had not ended: %w", ctx.Err())
		case <-conn.Context().Done():
			if ctx.Err() != nil {
				return "", fmt.Errorf("the job had not ended: %w", ctx.Err())
			}
			return "", fmt.Errorf("the job had not ended: %w", bus.ErrEnded)
		}
	}
}
