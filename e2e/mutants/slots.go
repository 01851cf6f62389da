package main

// slots are defects of the reboot slots, put into package slots.
var slots = []mutant{
	{
		name: "slots/newcomers-unseen",
		what: "a grant does not notice that another machine was granted a slot since it looked",
		edits: []edit{{"locksmith/slots/acquire.go", `	conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(g.allHolders()), "<", v.revision+1).WithPrefix())
`, ``}},
		pkg:  "./locksmith/slots",
		test: "TestGrantIsOfTheMoment",
	},
	{
		name:  "slots/own-terms-unseen",
		what:  "a grant does not notice that its group was paused, or its limit lowered, since it looked",
		edits: []edit{{"locksmith/slots/acquire.go", `append(g.cluster.unchanged(v.cluster), g.unchanged(v.group)...)`, `g.cluster.unchanged(v.cluster)`}},
		pkg:   "./locksmith/slots",
		test:  "TestGrantIsOfTheMoment",
	},
	{
		name:  "slots/cluster-terms-unseen",
		what:  "a grant does not notice that the cluster was paused, or its limit lowered, since it looked",
		edits: []edit{{"locksmith/slots/acquire.go", `append(g.cluster.unchanged(v.cluster), g.unchanged(v.group)...)`, `g.unchanged(v.group)`}},
		pkg:   "./locksmith/slots",
		test:  "TestGrantIsOfTheMoment",
	},
	{
		name: "slots/place-unseen",
		what: "a machine that has left the queue is granted a slot",
		edits: []edit{{"locksmith/slots/acquire.go", `		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(g.queueKey(want)), "=", v.place))
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
	{
		name:  "slots/holder-elsewhere",
		what:  "a holder that does not say what its key says counts where it says",
		edits: []edit{{"locksmith/slots/record.go", `if r.ID != id || r.Group != group {`, `if false {`}},
		pkg:   "./locksmith/slots",
		test:  "TestDamagedStops",
	},
	{
		name: "slots/newer-limits-passed-over",
		what: "a limit that this version does not know is passed over",
		edits: []edit{{"locksmith/slots/stored.go", `	d.DisallowUnknownFields()
`, ``}},
		pkg:  "./locksmith/slots",
		test: "TestDamagedStops",
	},
	{
		name:  "slots/place-left-over",
		what:  "a machine that holds a slot goes before the others once more",
		edits: []edit{{"locksmith/slots/rules.go", `		known[h.machine()] = true`, `		_ = h`}},
		pkg:   "./locksmith/slots",
		test:  "TestPlaceLeftOver",
	},
	{
		name:  "slots/place-outlives-slot",
		what:  "a place in the queue that came late outlives the slot",
		edits: []edit{{"locksmith/slots/slot.go", `if r.TakenBy == TakenByAgent { // a place`, `if false { // a place`}},
		pkg:   "./locksmith/slots",
		test:  "TestReleaseLeavesNoPlace",
	},
	{
		name:  "slots/resumed-twice",
		what:  "a resume of which the answer was lost ends a pause that was made since",
		edits: []edit{{"locksmith/slots/scope.go", `if t.unknown { // a second time`, `if false { // a second time`}},
		pkg:   "./locksmith/slots",
		test:  "TestLostAnswerIsNotSaidTwice",
	},
	{
		name:  "slots/phases-wake-all",
		what:  "everybody who waits reads the group after each phase of whoever reboots",
		edits: []edit{{"locksmith/slots/watch.go", `!slices.ContainsFunc(resp.Events, g.makesRoom)`, `slices.Contains(resp.Events, nil)`}},
		pkg:   "./locksmith/slots",
		test:  "TestWatchWakesForRoom",
	},
	{
		name:  "slots/clocks-order-history",
		what:  "the history is in the order of the machines' clocks",
		edits: []edit{{"locksmith/slots/history.go", `clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend)`, `clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)`}},
		pkg:   "./locksmith/slots",
		test:  "TestHistoryOfWrongClocks",
	},
	{
		name:  "slots/compacted-snapshot",
		what:  "a plan fails when the store was compacted while it was read",
		edits: []edit{{"locksmith/slots/fleet.go", `if errors.Is(err, rpctypes.ErrCompacted) {`, `if errors.Is(err, rpctypes.ErrFutureRev) {`}},
		pkg:   "./locksmith/slots",
		test:  "TestSnapshotCompacted",
	},
	{
		name:  "slots/zones-of-the-cluster-unjudged",
		what:  "the limits of zones of all groups together are not asked",
		edits: []edit{{"locksmith/slots/rules.go", `	return r.Cluster.refusesZone("cluster", holders, want.Zone)`, `	return r.Group.refusesZone("cluster", own, want.Zone)`}},
		pkg:   "./locksmith/slots",
		test:  "TestTurnOracle",
	},
}
