// Package slots keeps the reboot slots of groups of machines in any store that
// speaks the etcd v3 API.
//
// A slot is durable: no lease stands behind it, because a lease would run out
// while its machine reboots. A machine that took a slot keeps it until it, or an
// operator, gives it back. So a machine that does not come back stops the
// rollout instead of letting it run on.
//
// The store holds one key for each holder and one for each group's limit:
//
//	<prefix>/groups/<group>/config           {"max":1}
//	<prefix>/groups/<group>/holders/<id>     {"id":…,"phase":"held",…}
//
// Group and id are escaped as in a URL query, so that no name reaches into
// another's keys. There is no counter: the slots in use are the holder keys that
// exist, and nothing can leak.
//
// The create revision of a holder key is the fence of that possession. Every
// change of a record compares it in its own transaction, so whoever has lost a
// slot, even if the same machine has taken it anew since, changes nothing.
//
// Every change is a loop of three steps: read the present state, decide, and
// commit under the condition that what was decided upon still stands. When the
// answer to a commit is lost, the loop simply reads again: its own key says
// whether the commit took place. All operations go on through the loss of
// members until their context ends.
package slots
