package login1

import (
	"sync/atomic"

	"github.com/godbus/dbus/v5"
)

// announcements are the PrepareForShutdown signals of logind: true, the machine
// shuts down; false, it does not any more. It is a dbus.SignalHandler.
type announcements struct {
	logind atomic.Pointer[string] // the unique name of its connection; nil: nobody is believed
	heard  chan bool              // bounded: logind announces twice in one attempt
}

// DeliverSignal is called for one signal after another.
func (a *announcements) DeliverSignal(iface, member string, s *dbus.Signal) {
	logind := a.logind.Load()
	if logind == nil || s.Sender != *logind || s.Path != path || iface != manager || member != "PrepareForShutdown" || len(s.Body) != 1 {
		return
	}
	if start, ok := s.Body[0].(bool); ok {
		select {
		case a.heard <- start:
		default:
		}
	}
}

// isPreparing reports whether the next announcement has come already, and says that the machine shuts down. It takes it.
func (a *announcements) isPreparing() bool {
	select {
	case start := <-a.heard:
		return start
	default:
		return false
	}
}
