// Package recipes holds coordination over an etcd v3 store: sessions, fenced locks and elections, for coordd and for etcd
// alike.
//
// A Session is a lease that its process keeps alive. Its validity is counted on the local clock from the moment the last
// acknowledged keepalive was sent, so it always ends before the store can give what it holds to somebody else. A Mutex
// is a name. Lock returns a Hold: one acquisition, with a context that ends when ownership does, a guard for transactions
// in the same store, and a fence.Token for resources outside of it. An Election is a lock with a value that everybody can
// observe; Campaign returns a Leadership, which is held like a lock.
//
// Three recipes hold programs back: a Barrier is a gate that one closes and opens for all, a DoubleBarrier lets a number of
// parties begin and end each round together, and a Latch opens when each of a number of operations was done.
//
// No local check can prove that a write still lands in time: between the check and the write the process may stop for
// as long as it likes. Let the resource compare tokens, or put Hold.Guard into the transaction that writes.
//
// # Keys
//
// A lock lives under <prefix>/<escaped name>, in which every byte of the name other than A-Z a-z 0-9 . _ - is written as
// %XX, so that no lock's range holds another lock's keys:
//
//	…/q/w/<attempt>  a writer or the holder of a Mutex, value Holder as JSON; it holds the lock when nothing older is in …/q/
//	…/q/r/<attempt>  a reader, which holds the lock when nothing older is in …/q/w/; also a writer's, to go on reading with
//	…/x/<attempt>    an attempt that was given up, of which a creation may still be on its way
//
// A semaphore, an election and a queue have grants. The oldest in the queue is granted what it asks for by a transaction that
// puts another key, whose create revision is the token's:
//
//	…/q/<attempt>              who waits
//	…/h/<attempt>              who holds, leads or has claimed an item
//	…/limit, …/grants          of a semaphore: the limit; what every grant puts
//	…/items/<item>, …/last     of a queue: an item; the number of the youngest
//	…/claims/<item>/<claim>    of a queue: that the item is claimed
//
// Below a key there may be /a, who asks for the release, /d, the lock delay with a lease of its own, and /m, who it is whose
// key has another value. All but limit, grants, items and last carry the session's lease. An attempt is a random 128-bit
// id, never used twice.
//
// Elections, and locks with MutexOptions.EtcdLayout, stand where etcd's concurrency package has them, and exclude those:
//
//	<name>/<lease in hexadecimal>-<attempt>  a candidate or the leader, value what it proclaims
//
// Barriers, double barriers and latches have names as locks have, below prefixes of their own. Only what is marked with a
// star carries a lease:
//
//	…/closed                 while a barrier is closed, value who closed it; a star with BarrierOptions.OpensWithSession
//	…/round                  a double barrier's round that gathers, value the number of parties
//	…/g/<round>/m/<attempt>  a party that is in it (*)
//	…/g/<round>/outcome      ready or broken, until the last party has left
//	…/count                  a latch, value its count
//	…/d/<operation>          an operation that was done
package recipes
