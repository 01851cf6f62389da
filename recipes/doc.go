// Package recipes holds coordination over an etcd v3 store, for coordd and for etcd alike: locks, semaphores,
// elections, barriers, latches and queues, which survive lost answers, changes of leaders and dead holders, and say
// when what is held is lost. docs/RECIPES.md says for each what it guarantees and what not, what it costs, and when to
// use which.
//
// A Session is a lease that its process keeps alive. Its validity is counted on the local clock from the moment the
// last acknowledged keepalive was sent, so it always ends before the store can give what it holds to somebody else. Run
// begins anew with another session when one is lost.
//
// What is acquired is a Hold: one acquisition, with a context that ends when ownership does, a guard for transactions
// in the same store, and a fence.Token for resources outside of it.
//
//   - A Mutex has one holder, an RWMutex one writer or many readers, a Semaphore holders up to its limit. LockAll takes
//     several mutexes.
//   - An Election is a lock with a value that everybody can observe; its Leadership can be transferred.
//   - A Queue delivers each item to one consumer at a time until that acknowledges it.
//
// Three recipes hold programs back: a Barrier is a gate that one closes and opens for all, a DoubleBarrier lets a
// number of parties begin and end each round together, and a Latch opens when each of a number of operations was done.
//
// Values that name something, as Mutex or Queue, hold no state and are safe for concurrent use, as are sessions and
// what is acquired. What is only read, as with Places or Leader, needs a session that has begun, not one that lives. A
// context without end lets a call wait for as long as the session lives.
//
// No local check can prove that a write still lands in time: between the check and the write the process may stop for
// as long as it likes. Let the resource compare tokens, or put Hold.Guard into the transaction that writes.
//
// # Where it comes from
//
// Sequencers, which a lock service hands out and resources check, and the lock delay are of Burrows, "The Chubby lock
// service for loosely-coupled distributed systems" (OSDI 2006, §2.4). Kleppmann, "How to do distributed locking"
// (2016), calls them fencing tokens and shows the paused holder. The queue in which each watches only the one ahead,
// the read-write lock and the double barrier are recipes of Hunt and others, "ZooKeeper: Wait-free coordination for
// Internet-scale systems" (USENIX ATC 2010, §2.4), with create revisions in the place of sequential nodes; that a
// party's death before all are in breaks a double barrier for all is ours. That a lease's holder reckons with less time
// than its grantor, by the message's way and the drift of clocks, is Gray and Cheriton's, "Leases" (SOSP 1989).
//
// # Keys
//
// What has a name lives under <prefix>/<escaped name>, in which every byte of the name other than A-Z a-z 0-9 . _ - is
// written as %XX, so that no name's range holds another name's keys. An attempt is a 128-bit id that begins with the
// time, never used twice. What is marked with a star carries the session's lease.
//
// Of a lock, value Holder as JSON; the oldest by create revision holds it:
//
//	…/q/w/<attempt>  who writes or waits to: of a Mutex or an RWMutex (*)
//	…/q/r/<attempt>  who reads or waits to; and the place of a writer of an RWMutex that may go on as a reader (*)
//
// Of a semaphore, an election and a queue, where the first in the queue is granted what it waits for; the create
// revision of the holder's key is the token's:
//
//	…/q/<attempt>               who waits, value Holder as JSON, of an election what it would proclaim (*)
//	…/h/<attempt>               who holds, with the same value, which has a semaphore's slots and a queue's item (*)
//	…/limit                     a semaphore's limit, a decimal number
//	…/grants                    put by each grant of a semaphore
//	…/items/<number>-<attempt>  an item of a queue
//	…/claims/<item>/<claim>     that the item is claimed, value Holder as JSON (*)
//	…/last                      the number of a queue's youngest item
//
// Beside these:
//
//	…/x/<attempt>  an abandoned attempt whose request may still be on its way (*)
//	<key>/m        who a candidate or a leader is, value Holder as JSON (*)
//	<key>/a        who asks the holder to release, value Holder as JSON (*)
//	<key>/d        the lock delay of what is held, with the lease of that
//
// Of barriers, double barriers and latches:
//
//	…/closed                 while a barrier is closed, value who closed it; a star with BarrierOptions.OpensWithSession
//	…/round                  a double barrier's round that gathers, value the number of parties
//	…/g/<round>/m/<attempt>  a party that is in it (*)
//	…/g/<round>/outcome      ready or broken, until the last party has left
//	…/count                  a latch, value its count
//	…/d/<operation>          an operation that was done
//
// Locks and elections in etcd's layout (MutexOptions.EtcdLayout, ElectionOptions.EtcdLayout) stand where etcd's
// concurrency package has them, and exclude those:
//
//	<name>/<lease in hexadecimal>-<attempt>  who waits or holds, value the reason or what is proclaimed (*)
//
// EpochKey is the store's epoch, of all of them.
package recipes
