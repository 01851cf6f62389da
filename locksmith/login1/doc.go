// Package login1 asks logind to reboot the machine, and asks it who objects.
//
// A reboot is asked for, and its answer is read: what logind refuses is an error
// that carries logind's words and the D-Bus name of the error. That logind agrees
// is not enough either. [Conn.Reboot] listens for PrepareForShutdown before it
// asks, and believes in the reboot when logind has announced it and has not taken
// it back. Of the announcements only those of the connection that owns
// org.freedesktop.login1 count: anybody may send a signal of that name.
//
// Errors of a reboot are of two kinds. With [ErrUncertain] among them the machine
// may yet go down, and a slot must not be given back for it; any other says that
// the machine stays up.
//
// The names and signatures are those of org.freedesktop.login1(5) of systemd 252,
// and of its later versions where that is said.
package login1
