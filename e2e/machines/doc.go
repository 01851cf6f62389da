// Package machines boots real machines for tests: systemd as the first process,
// logind, D-Bus and a journal that stays, each with a network stack, a boot id and
// files of its own, on one bridge. They are containers of systemd-nspawn, and share
// the host's kernel and its /usr; what is in /usr and in the few files of /etc that
// programs need is the host's, all else is the machine's.
//
// A machine that reboots through logind ends its container with code 133 and is
// booted again, under another boot id, with its files as they were but /run empty.
// One that is powered off ends with 0 and stays off. [Machine.PowerCut] takes its
// link first and then kills all of it, so that nobody is told.
//
// # Isolation
//
// [Isolated] runs the test program once more as the first process of namespaces of
// its own: processes, mounts, network, control groups. All that a fleet is made of,
// bridge and cables, overlays and tmpfs, lives in there and goes when the program
// ends, however it ends; what remains is an empty control group, which the outer
// program removes, or the next one if that was killed too. The host's network is
// out of reach and sees nothing.
//
// # What a host must have
//
// Root, systemd-nspawn, dbus-daemon, ip, nsenter and setpriv, a kernel with bridges,
// veth pairs and overlayfs, and the unified hierarchy of control groups mounted
// anywhere: a host whose controllers are all in the old hierarchies will do, because
// systemd asks for none. systemd need not run there, nor must a machine be
// registered with it (--register=no, --keep-unit). Without a control group each,
// two machines would share one and neither would boot.
//
// A machine boots in about a second. [Machine.Exec] takes the right to set the
// clock from what it runs: the kernel and its clocks are shared with the host.
package machines
