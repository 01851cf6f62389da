package login1test

import (
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/coordd/coordd/locksmith/bus"
	"github.com/coordd/coordd/locksmith/login1"
)

// service is the interface org.freedesktop.login1.Manager.
type service struct{ l *Logind }

// refusal returns what the test has a method answer, or nil. l.mu is held.
func (s service) refusal(method string) *dbus.Error { return s.l.errors[method] }

func (s service) CanReboot() (string, *dbus.Error) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	return s.l.canReboot, s.refusal("CanReboot")
}

func (s service) ListInhibitors() ([]login1.Inhibitor, *dbus.Error) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	return slices.Clone(s.l.inhibitors), s.refusal("ListInhibitors")
}

type listedSession struct {
	ID   string
	UID  uint32
	User string
	Seat string
	Path dbus.ObjectPath
}

func (s service) ListSessions() ([]listedSession, *dbus.Error) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	list := []listedSession{}
	for i, one := range s.l.sessions {
		list = append(list, listedSession{ID: one.ID, UID: one.UID, User: one.User, Path: s.l.paths[i]})
	}
	return list, s.refusal("ListSessions")
}

func (s service) SetWallMessage(text string, enable bool) *dbus.Error {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	s.l.wall = Wall{text, enable}
	return s.refusal("SetWallMessage")
}

func (s service) ScheduleShutdown(kind string, at uint64) *dbus.Error {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	kind, s.l.dry = strings.CutPrefix(kind, "dry-") // systemd 252 does not tell it in the property
	s.l.scheduled = scheduled{kind, at}
	return s.refusal("ScheduleShutdown")
}

func (s service) CancelScheduledShutdown() (bool, *dbus.Error) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	was := s.l.scheduled.Kind != ""
	s.l.scheduled = nothing
	return was, s.refusal("CancelScheduledShutdown")
}

func (s service) Reboot(bool) *dbus.Error { return s.reboot("Reboot", 0) }

func (s service) RebootWithFlags(flags uint64) *dbus.Error { return s.reboot("RebootWithFlags", flags) }

func (s service) reboot(method string, flags uint64) *dbus.Error {
	s.l.mu.Lock()
	if err := s.refuseReboot(method, flags); err != nil {
		s.l.mu.Unlock()
		return err
	}
	s.l.reboots = append(s.l.reboots, flags)
	do := s.l.onReboot
	s.l.mu.Unlock()
	do()
	return nil
}

// refuseReboot returns why not. l.mu is held.
func (s service) refuseReboot(method string, flags uint64) *dbus.Error {
	blocks := func(i login1.Inhibitor) bool { // root's own do not hold root back before systemd 257
		return i.Mode == "block" && i.UID != 0 && strings.Contains(i.What, "shutdown")
	}
	switch {
	case s.refusal(method) != nil:
		return s.refusal(method)
	case flags&^s.l.flags != 0:
		return dbus.NewError(bus.InvalidArgs, []any{"Invalid flags parameter"})
	case s.l.preparing:
		return dbus.NewError("org.freedesktop.login1.OperationInProgress", []any{"There's already a shutdown or sleep operation in progress"})
	case flags&1 != 0 && slices.ContainsFunc(s.l.inhibitors, blocks):
		return dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"Access denied to root due to active block inhibitor"})
	}
	return nil
}

// properties are those of the manager.
type properties struct{ l *Logind }

func (p properties) Get(iface, name string) (dbus.Variant, *dbus.Error) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	if err := p.l.errors["Get "+name]; err != nil {
		return dbus.Variant{}, err
	}
	switch {
	case iface == manager && name == "PreparingForShutdown":
		return dbus.MakeVariant(p.l.preparing), nil
	case iface == manager && name == "ScheduledShutdown":
		return dbus.MakeVariant(p.l.scheduled), nil
	}
	return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownProperty", []any{name})
}

// ended are the properties of a session that is gone.
type ended struct{}

func (ended) GetAll(string) (map[string]dbus.Variant, *dbus.Error) {
	return nil, dbus.NewError(bus.UnknownObject, []any{"Unknown object"})
}

// sessionProperties are those of one session.
type sessionProperties struct{ s login1.Session }

func (p sessionProperties) GetAll(string) (map[string]dbus.Variant, *dbus.Error) {
	idleSince := uint64(0)
	if p.s.Idle {
		idleSince = uint64(p.s.IdleSince.UnixMicro())
	}
	return map[string]dbus.Variant{
		"TTY": dbus.MakeVariant(p.s.TTY), "Remote": dbus.MakeVariant(p.s.Remote), "RemoteHost": dbus.MakeVariant(p.s.RemoteHost),
		"Class": dbus.MakeVariant(p.s.Class), "State": dbus.MakeVariant(p.s.State),
		"Timestamp": dbus.MakeVariant(uint64(p.s.Since.UnixMicro())),
		"IdleHint":  dbus.MakeVariant(p.s.Idle), "IdleSinceHint": dbus.MakeVariant(idleSince),
		"Leader": dbus.MakeVariant(uint32(1)), // one that is not read
	}, nil
}
