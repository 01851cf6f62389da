// Package slots keeps the reboot slots of groups of machines in any store that
// speaks the etcd v3 API.
//
// A slot is durable: no lease stands behind it, because a lease would run out
// while its machine reboots. A machine that took a slot keeps it until it, or an
// operator, gives it back. So a machine that does not come back stops the
// rollout instead of letting it run on, unless the group's policy says otherwise.
//
//	<prefix>/slots/cluster/policy             {"max":3,"zones":1}      of all groups together
//	<prefix>/slots/cluster/standing           {"pause":{…}}
//	<prefix>/slots/groups/<group>/policy      {"max":1,"breaker":3}    what the operator wants
//	<prefix>/slots/groups/<group>/standing    {"failures":1}           what has come of it
//	<prefix>/slots/holders/<group>/<id>       {"id":…,"phase":"held"}  a [Record]
//	<prefix>/queue/<group>/<rank>/<id>        {…,"phase":"waiting"}    with the lease of the machine's agent
//	<prefix>/agents/<group>/<id>              {"state":"idle",…}       a [Status], with that lease too
//	<prefix>/history/<group>/<time>-…         {"event":"granted",…}    an [Event]
//
// Group and id are escaped as in a URL query, so that no name reaches into
// another's keys. There is no counter: the slots in use are the holder keys that
// exist, and nothing can leak.
//
// The create revision of a holder key is the fence of that possession. Every
// change of a record compares it in its own transaction, so whoever has lost a
// slot, even if the same machine has taken it anew since, changes nothing.
//
// A grant is one transaction over all groups: it compares that both policies and
// standings are those that were judged by, and that nobody anywhere has been
// granted a slot since. See [Rules] for what is judged.
//
// Every change is a loop of three steps: read the present state, decide, and
// commit under the condition that what was decided upon still stands. When the
// answer to a commit is lost, the loop simply reads again: its own key says
// whether the commit took place. All operations go on through the loss of
// members until their context ends.
package slots
