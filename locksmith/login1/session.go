package login1

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/coordd/coordd/locksmith/bus"
)

// Session is somebody, or something, logged in.
type Session struct {
	ID         string
	UID        uint32
	User       string // name
	TTY        string // empty where there is none
	Remote     bool
	RemoteHost string    // as it was told at login; empty where there is none
	Class      string    // user, greeter, lock-screen, background, manager, and later ones
	State      string    // online, active, closing
	Since      time.Time // of the login
	Idle       bool
	IdleSince  time.Time // zero where it is not idle
}

// IsUser reports whether the session is a person's who would notice a reboot: its
// class is user, or one of the variants since systemd 256 (user-early, user-light,
// user-incomplete), and it is not about to end.
func (s Session) IsUser() bool {
	return (s.Class == "user" || strings.HasPrefix(s.Class, "user-")) && s.State != "closing"
}

// Sessions lists all sessions of the machine. Those of people tell with IsUser.
func (c *Conn) Sessions(ctx context.Context) ([]Session, error) {
	conn, err := bus.Connect(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("login1: list sessions: %w", err)
	}
	defer conn.Close()
	var listed []struct { // a(susso)
		ID   string
		UID  uint32
		User string
		Seat string
		Path dbus.ObjectPath
	}
	if err := bus.Call(ctx, conn.Object(service, path), manager+".ListSessions", nil, &listed); err != nil {
		return nil, fmt.Errorf("login1: list sessions: %w", err)
	}
	sessions := make([]Session, 0, len(listed))
	for _, l := range listed {
		var properties map[string]dbus.Variant
		err := bus.Call(ctx, conn.Object(service, l.Path), "org.freedesktop.DBus.Properties.GetAll", []any{session}, &properties)
		if bus.IsRefused(err, bus.UnknownObject) {
			continue // it has ended since it was listed
		}
		s := Session{ID: l.ID, UID: l.UID, User: l.User}
		if err == nil {
			err = s.read(properties)
		}
		if err != nil {
			return nil, fmt.Errorf("login1: session %s: %w", l.ID, err)
		}
		sessions = append(sessions, s)
	}
	return sessions, nil
}

// read fills in what logind says of a session.
func (s *Session) read(properties map[string]dbus.Variant) error {
	var since, idleSince uint64 // µs since 1970
	var failed []error
	for name, value := range map[string]any{
		"TTY": &s.TTY, "Remote": &s.Remote, "RemoteHost": &s.RemoteHost, "Class": &s.Class, "State": &s.State,
		"Timestamp": &since, "IdleHint": &s.Idle, "IdleSinceHint": &idleSince,
	} {
		if err := properties[name].Store(value); err != nil {
			failed = append(failed, fmt.Errorf("read %s: %w", name, err))
		}
	}
	s.Since = time.UnixMicro(int64(since))
	if s.Idle {
		s.IdleSince = time.UnixMicro(int64(idleSince))
	}
	return errors.Join(failed...)
}
