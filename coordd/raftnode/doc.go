// Package raftnode replicates requests: it drives a raft.RawNode with
// asynchronous storage writes and puts the state machine behind it.
//
// Four goroutines, all born in Start and ended by Stop, each the only owner of
// what it works on:
//
//	loop         the RawNode: ticks, peer messages, proposals, read rounds
//	logWriter    the write-ahead log: one write and one fdatasync for all
//	             appends that wait; then the entries are readable to raft
//	applier      the state machine: committed entries in order; answers waiters
//	checkpointer moves applied state to the backend and lets old log go
//
// They hand each other raft's own messages over unbounded queues whose length
// is bounded from outside: raft limits uncommitted and unapplied bytes, the
// proposer limits waiting requests, peers' messages beyond a bound are dropped.
package raftnode
