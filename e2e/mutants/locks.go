package main

// locks are defects of lock libraries, as those that docs/TESTING.md numbers, put into package recipes.
var locks = []mutant{
	{
		name: "locks/D1-place-by-lease",
		what: "the attempts of one session share a place in the queue",
		edits: []edit{{"recipes/lock.go", `	id := l.newAttempt()
	e := &entry{`, `	id := fmt.Sprintf("%x", int64(l.session.lease))
	e := &entry{`}},
		pkg:  "./recipes",
		test: "TestD1TwoLocksOfOneSessionExcludeEachOther",
	},
	{
		name: "locks/D2-trylock-enters",
		what: "a TryLock that loses has been in the queue",
		edits: []edit{
			{"recipes/entry.go", `	if onlyIfFree {
`, `	if false {
`},
			{"recipes/entry.go", `	case created:
		return e.nextOf(before), nil
`, `	case created && onlyIfFree && before != nil:
		return nil, ErrLocked
	case created:
		return e.nextOf(before), nil
`},
		},
		pkg:  "./recipes",
		test: "TestD2LosingTryLockDisturbsNobody",
	},
	{
		name: "locks/D2-owner-by-name",
		what: "a key that somebody else made anew is taken for the own one",
		edits: []edit{{"recipes/entry.go", `clientv3.Compare(clientv3.CreateRevision(e.key), "=", e.revision)`,
			`clientv3.Compare(clientv3.CreateRevision(e.key), ">", 0)`}},
		pkg:  "./recipes",
		test: "TestD2RecreatedKeyIsNotOwned",
	},
	{
		name: "locks/D3-unseen-end",
		what: "a waiter looks at who is ahead, never at its own key",
		edits: []edit{
			{"recipes/own.go", `e.session.spawn(func() { e.watchOwn(known) })`, ``},
			{"recipes/entry.go", `.If(e.guard()).Then(ops...)`, `.Then(ops...)`},
		},
		pkg:  "./recipes",
		test: "TestD3WaiterWithoutEntryIsNoOwner",
	},
	{
		name:  "locks/D3-two-snapshots",
		what:  "that nobody is ahead is read without comparing that the own key is there",
		edits: []edit{{"recipes/entry.go", `.If(e.guard()).Then(ops...)`, `.Then(ops...)`}},
		pkg:   "./recipes",
		test:  "TestElectionHasNoPhantomLeaderWithoutWatch",
	},
	{
		name: "locks/D4-unseen-end",
		what: "a writer looks at who is ahead, never at its own key",
		edits: []edit{
			{"recipes/own.go", `e.session.spawn(func() { e.watchOwn(known) })`, ``},
			{"recipes/entry.go", `.If(e.guard()).Then(ops...)`, `.Then(ops...)`},
		},
		pkg:  "./recipes",
		test: "TestD4DeadSessionsWriterIsNotLetIn",
	},
	{
		name:  "locks/D4-not-told",
		what:  "a holder is not told that its key was deleted",
		edits: []edit{{"recipes/own.go", `e.session.spawn(func() { e.watchOwn(known) })`, ``}},
		pkg:   "./recipes",
		test:  "TestD4WriterWhoseKeyIsDeletedHasLost",
	},
	{
		name: "locks/D5-watch-is-believed",
		what: "a watch that ended is taken for the end of the one ahead",
		edits: []edit{{"recipes/entry.go", `		if ahead, err = e.ahead(ctx); err != nil {
			return err
		}`, `		return nil`}},
		pkg:  "./recipes",
		test: "TestD5BrokenWatchIsNeverSuccess",
	},
	{
		name: "locks/D5-barrier-without-watch",
		what: "whoever waits at a barrier passes when the watch ends",
		edits: []edit{{"recipes/follow.go", `	return false, nil
}

// after`, `	return true, nil
}

// after`}},
		pkg:  "./recipes",
		test: "TestD5BarrierWaitWithBrokenWatches",
	},
	{
		name: "locks/D6-asked-once",
		what: "a place whose request was not answered is neither asked for again nor given up",
		edits: []edit{
			{"recipes/entry.go", `	err = e.session.retry(ctx, func(ctx context.Context) error {
		e.unanswered++`, `	err = e.session.try(ctx, func(ctx context.Context) error {
		e.unanswered++`},
			{"recipes/entry.go", `	if err != nil {
		e.abandon()
`, `	if err != nil {
`},
		},
		pkg:  "./recipes",
		test: "TestD6LostReplyOfEnqueue",
	},
	{
		name: "locks/D6-orphan",
		what: "a place whose owner has gone is not given up",
		edits: []edit{{"recipes/entry.go", `	if err != nil {
		e.abandon()
`, `	if err != nil {
`}},
		pkg:  "./recipes",
		test: "TestD6CancelledLockLeavesNoOrphan",
	},
	{
		name:  "locks/D6-no-mark",
		what:  "an enqueue that was delayed is done after its place was given up",
		edits: []edit{{"recipes/entry.go", `clientv3.Compare(clientv3.CreateRevision(e.mark), "=", 0), `, ``}},
		pkg:   "./recipes",
		test:  "TestD6DelayedEnqueueCannotFollowItsCleanUp",
	},
	{
		name: "locks/D6-no-janitor",
		what: "a place whose removal was not confirmed is forgotten",
		edits: []edit{{"recipes/janitor.go", `	j.entries[e] = struct{}{}
`, ``}},
		pkg:  "./recipes",
		test: "TestD6JanitorRemovesWhatTheCallerCouldNot",
	},
	{
		name:  "locks/D7-name-within-a-name",
		what:  "a name is taken for a path",
		edits: []edit{{"recipes/names.go", `prefix + "/" + escape(name)`, `prefix + "/" + name`}},
		pkg:   "./recipes",
		test:  "TestD7NoNameIsAnothersPrefix",
	},
	{
		name: "locks/D8-from-the-answer",
		what: "validity is counted from when the answer came",
		edits: []edit{{"recipes/keepalive.go", `!s.extend(sent, ttlSeconds)`, `!s.extend(s.now(), ttlSeconds)`},
			{"recipes/keepalive.go", `		sent := s.now()
`, ``}},
		pkg:  "./recipes",
		test: "TestD8ValidityCountsFromTheSending",
	},
	{
		name:  "locks/D8-no-clock",
		what:  "validity ends when a timer says so, not when the time has come",
		edits: []edit{{"recipes/session.go", `s.ctx.Err() == nil && int64(s.now()) < s.deadline.Load()`, `s.ctx.Err() == nil`}},
		pkg:   "./recipes",
		test:  "TestD8ValidityCountsFromTheSending",
	},
	{
		name:  "locks/D8-no-drift",
		what:  "the store's clock is taken to run no faster than the own one",
		edits: []edit{{"recipes/keepalive.go", `ttl*(1-s.options.MaxDrift)`, `ttl`}},
		pkg:   "./recipes",
		test:  "TestD8ValidityCountsFromTheSending",
	},
	{
		name:  "locks/D3-gone-with-the-holder",
		what:  "a waiter sees that the one ahead has gone, and not that itself has",
		edits: []edit{{"recipes/entry.go", `		case mentions(resp.Events, e.key):`, `		case false:`}},
		pkg:   "./recipes",
		test:  "TestWaiterDeletedWithTheHolderHasLost",
	},
	{
		name:  "locks/watch-from-now",
		what:  "on a prompt store what happened before the watch began is missed",
		edits: []edit{{"recipes/entry.go", `clientv3.WithRev(p.seen+1)`, `clientv3.WithRev(0)`}},
		pkg:   "./recipes",
		test:  "TestReleaseBeforeTheWatchIsSeen",
	},
	{
		name: "locks/rw-writer-beside-readers",
		what: "a writer waits for writers alone",
		edits: []edit{{"recipes/lock.go", `l.newEntry(queueDir, writersDir, readersDir)`,
			`l.newEntry(writersDir, writersDir, readersDir)`}},
		pkg:  "./recipes",
		test: "TestReadersShareAndWritersExclude",
	},
	{
		name: "locks/rw-reader-beside-mutex",
		what: "a reader waits for nobody",
		edits: []edit{{"recipes/lock.go", `l.newEntry(writersDir, readersDir, writersDir)`,
			`l.newEntry("/nobody/", readersDir, writersDir)`}},
		pkg:  "./recipes",
		test: "TestMutexAndRWMutexOfANameExclude",
	},
	{
		name: "locks/rw-upgrade-beside-readers",
		what: "a reader becomes the writer beside another reader",
		edits: []edit{{"recipes/rwmutex.go", `e.session.epoch.unchanged(), clientv3.Compare(clientv3.CreateRevision(queue).WithPrefix(), "=", e.revision)).`,
			`e.session.epoch.unchanged()).`}},
		pkg:  "./recipes",
		test: "TestTryUpgrade",
	},
	{
		name:  "locks/rw-token-of-downgrade",
		what:  "who was a writer reads with the token of the reader it was before",
		edits: []edit{{"recipes/rwmutex.go", `fence.Shared, h.granted)`, `fence.Shared, r.revision)`}},
		pkg:   "./recipes",
		test:  "TestTryUpgrade",
	},
	{
		name:  "locks/semaphore-over-its-limit",
		what:  "what is asked for is not counted",
		edits: []edit{{"recipes/semaphore.go", `taken.count()+a.who.Weight > limit`, `taken.count() >= limit`}},
		pkg:   "./recipes",
		test:  "TestSemaphoreGrantsNoMoreThanIsLeft",
	},
	{
		name: "locks/semaphore-out-of-turn",
		what: "who comes takes what is free although others wait for it",
		edits: []edit{{"recipes/grant.go", `clientv3.Compare(clientv3.CreateRevision(p.path+queueDir).WithPrefix(), "=", 0)`,
			`clientv3.Compare(clientv3.CreateRevision(p.path+queueDir), "=", 0)`}},
		pkg:  "./recipes",
		test: "TestSemaphoreGrantsNobodyOutOfTurn",
	},
	{
		name: "locks/semaphore-stale-limit",
		what: "who waits does not look when the limit changes",
		edits: []edit{{"recipes/semaphore.go", `return a.path + holdersDir, a.path + limitKey + "\x00"`,
			`return a.path + holdersDir, clientv3.GetPrefixRangeEnd(a.path + holdersDir)`}},
		pkg:  "./recipes",
		test: "TestSemaphoreLimitChanges",
	},
	{
		name: "locks/semaphore-one-reading",
		what: "two grants rest on the same reading of the holders",
		edits: []edit{{"recipes/semaphore.go", `clientv3.Compare(clientv3.ModRevision(a.path+grantsKey), "=", grants)`,
			`clientv3.Compare(clientv3.ModRevision(a.path+grantsKey), ">", grants-1)`}},
		pkg:  "./recipes",
		test: "TestSemaphoreGrantRestsOnWhatIs",
	},
	{
		name: "locks/semaphore-limit-of-before",
		what: "a grant rests on a limit that has been lowered since",
		edits: []edit{{"recipes/semaphore.go", `clientv3.Compare(clientv3.ModRevision(a.path+limitKey), "=", limitRevision)`,
			`clientv3.Compare(clientv3.ModRevision(a.path+limitKey), ">", limitRevision-1)`}},
		pkg:  "./recipes",
		test: "TestSemaphoreGrantRestsOnWhatIs",
	},
	{
		name:  "locks/another-epoch",
		what:  "a session goes on after a backup was restored",
		edits: []edit{{"recipes/entry.go", `, e.session.epoch.unchanged())`, `)`}},
		pkg:   "./recipes",
		test:  "TestChangedEpochEndsSessions",
	},
	{
		name:  "locks/no-delay",
		what:  "what a session with a lock delay held is free when its lease has ended",
		edits: []edit{{"recipes/entry.go", `if e.delayed && `, `if false && `}},
		pkg:   "./recipes",
		test:  "TestLockDelay",
	},
	{
		name: "locks/semaphore-without-delay",
		what: "a holder of whom the lock delay is left is not counted",
		edits: []edit{{"recipes/semaphore.go", `strings.HasSuffix(string(kv.Key), askSuffix)`,
			`strings.HasSuffix(string(kv.Key), askSuffix) || strings.HasSuffix(string(kv.Key), delaySuffix)`}},
		pkg:  "./recipes",
		test: "TestSlotsAreDelayed",
	},
	{
		name:  "locks/election-two-leaders",
		what:  "a leader is elected because there was none a moment ago",
		edits: []edit{{"recipes/election.go", `only: []clientv3.Cmp{vacant}`, `only: []clientv3.Cmp{vacant}[:0]`}},
		pkg:   "./recipes",
		test:  "TestElectionGrantRestsOnWhatIs",
	},
	{
		name: "locks/election-token-of-the-place",
		what: "a leader's token is that of its place in the queue, which others can lead before",
		edits: []edit{{"recipes/election.go", `newHold(p.holding, fence.Exclusive, p.holding.revision)`,
			`newHold(p.holding, fence.Exclusive, max(1, p.waiting.revision))`}},
		pkg:  "./recipes",
		test: "TestTransfer",
	},
}
