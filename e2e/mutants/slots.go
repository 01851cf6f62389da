package main

// slots are defects of the reboot slots, put into package slots.
var slots = []mutant{
	{
		name: "slots/newcomers-unseen",
		what: "a grant does not notice that another machine was granted a slot since it looked",
		edits: []edit{{"locksmith/slots/queue.go", `	conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(g.allHolders()), "<", v.revision+1).WithPrefix())
`, ``}},
		pkg:  "./locksmith/slots",
		test: "TestGrantIsOfTheMoment",
	},
	{
		name:  "slots/own-terms-unseen",
		what:  "a grant does not notice that its group was paused, or its limit lowered, since it looked",
		edits: []edit{{"locksmith/slots/queue.go", `append(g.cluster.unchanged(v.cluster), g.unchanged(v.group)...)`, `g.cluster.unchanged(v.cluster)`}},
		pkg:   "./locksmith/slots",
		test:  "TestGrantIsOfTheMoment",
	},
	{
		name:  "slots/cluster-terms-unseen",
		what:  "a grant does not notice that the cluster was paused, or its limit lowered, since it looked",
		edits: []edit{{"locksmith/slots/queue.go", `append(g.cluster.unchanged(v.cluster), g.unchanged(v.group)...)`, `g.unchanged(v.group)`}},
		pkg:   "./locksmith/slots",
		test:  "TestGrantIsOfTheMoment",
	},
	{
		name: "slots/place-unseen",
		what: "a machine that has left the queue is granted a slot",
		edits: []edit{{"locksmith/slots/queue.go", `		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(g.queueKey(want)), "=", v.place))
`, ``}},
		pkg:  "./locksmith/slots",
		test: "TestGrantIsOfTheMoment",
	},
	{
		name: "slots/old-fence-writes",
		what: "who has lost a slot changes the record of its next possession",
		edits: []edit{{"locksmith/slots/slot.go", `err == nil && r.Fence != s.fence`, `false`}, {"locksmith/slots/slot.go", `		clientv3.Compare(clientv3.CreateRevision(key), "=", s.fence),
`, ``}, {"locksmith/slots/slot.go", `[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", s.fence)}`, `[]clientv3.Cmp{}`}},
		pkg:  "./locksmith/slots",
		test: "TestSlots",
	},
	{
		name:  "slots/two-members",
		what:  "two members of the store may reboot at the same time",
		edits: []edit{{"locksmith/slots/rules.go", `		if h.Member != "" {`, `		if h.Member == want.Member {`}},
		pkg:   "./locksmith/slots",
		test:  "TestTurn",
	},
	{
		name:  "slots/canaries-do-not-soak",
		what:  "the next stage follows as soon as a canary is back",
		edits: []edit{{"locksmith/slots/rules.go", `stage < want.Stage && at.After(begin)`, `false`}},
		pkg:   "./locksmith/slots",
		test:  "TestTurn",
	},
	{
		name:  "slots/priority-backwards",
		what:  "machines of low priority go first",
		edits: []edit{{"locksmith/slots/queue.go", `want.Stage, MaxPriority-want.Priority`, `want.Stage, want.Priority`}},
		pkg:   "./locksmith/slots",
		test:  "TestQueue",
	},
	{
		name:  "slots/failed-is-dead",
		what:  "the slot of a machine that failed its checks goes to the next one",
		edits: []edit{{"locksmith/slots/policy.go", `r.Failed != "", `, ``}},
		pkg:   "./locksmith/slots",
		test:  "TestQueue",
	},
	{
		name: "slots/dead-though-alive",
		what: "a machine that reports in the last moment loses its slot",
		edits: []edit{{"locksmith/slots/dead.go", `		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(g.agentKey(r.ID)), "=", 0))
`, `		_ = conditions
`}},
		pkg:  "./locksmith/slots",
		test: "TestDeadHolderComesBack",
	},
	{
		name: "slots/dead-though-moving",
		what: "a machine that enters its next phase in the last moment loses its slot",
		edits: []edit{{"locksmith/slots/dead.go", `		clientv3.Compare(clientv3.CreateRevision(g.holderKey(r.ID)), "=", r.Fence),
		clientv3.Compare(clientv3.ModRevision(g.holderKey(r.ID)), "<", v.revision+1))`, `		clientv3.Compare(clientv3.CreateRevision(g.holderKey(r.ID)), "=", r.Fence))`}},
		pkg:  "./locksmith/slots",
		test: "TestDeadHolderComesBack",
	},
	{
		name:  "slots/breaker-late",
		what:  "the circuit breaker pauses one failure too late",
		edits: []edit{{"locksmith/slots/standing.go", `s.Failures >= n`, `s.Failures > n`}},
		pkg:   "./locksmith/slots",
		test:  "TestQueue",
	},
	{
		name: "slots/failure-counted-twice",
		what: "a machine that fails again and again pauses the group by itself",
		edits: []edit{{"locksmith/slots/slot.go", `		if r.Failed == why {
			return true, nil
		}
		first := r.Failed == ""`, `		first := true`}},
		pkg:  "./locksmith/slots",
		test: "TestQueue",
	},
}
