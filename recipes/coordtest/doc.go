// Package coordtest is a coordd in memory for tests: no socket, no file, no other process. A test starts a server, makes
// clients, and does to them what networks and machines do: Partition, Break, DropReplies, Pause, ExpireLease.
//
// The server is a real member of a cluster of one, its services and its state machine are coordd's own, and the clients
// are etcd's, over connections that are memory. What is left out are the disk, so that a server cannot be started
// again, and other members, so that there are no elections of raft.
//
// In a bubble of testing/synctest all of it lives by the bubble's clock: a test waits a minute for a lease to run out and
// takes milliseconds; an hour of a session that holds a lock takes less than a second. synctest.Wait returns when
// everybody waits, for a timer or for somebody else: requests that nothing holds up are done by then. Start the server and
// make the clients within the bubble, and let everything end there: close sessions, and wait for what the test has started,
// in tb.Cleanup or before.
//
// Outside of bubbles it works as well, at the pace of the machine's clock.
//
// A client's process cannot be stopped by a test that runs in the same one. What others see of one that is stopped
// is a Partition; what it does itself when it goes on, after its lease has ended, is up to its checks: Hold.Valid,
// Guard and the token.
//
// The package lets watches of etcd's client run in bubbles by taking a channel away from that client that belongs to the
// whole program. A test binary that imports it differs from the program in that.
package coordtest
