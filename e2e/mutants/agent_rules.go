package main

// agentRules are defects of the reboot agent that the rules by name find, put into package agent.
var agentRules = []mutant{
	{
		name: "agent-rules/slot-unverified",
		what: "the machine reboots though its slot was given to another in the last moment",
		edits: []edit{{"locksmith/agent/reboot.go", `if errors.Is(err, slots.ErrNotHeld) {
			a.retire(now, BackingOff, err)
			return 0, nil
		}`, `if errors.Is(err, slots.ErrNotHeld) {
			err = nil
		}`}},
		pkg:  "./locksmith/agent",
		test: "TestRules",
	},
	{
		name:  "agent-rules/window-not-looked-at-last",
		what:  "the machine reboots though its window has closed while it looked at all else",
		edits: []edit{{"locksmith/agent/reboot.go", `if why := a.closed(now); why != "" {`, `if why := a.closed(now); false {`}},
		pkg:   "./locksmith/agent",
		test:  "TestRules",
	},
	{
		name: "agent-rules/no-last-look",
		what: "the machine reboots without another look at the wish, the blockers and those who are logged in",
		edits: []edit{{"locksmith/agent/reboot.go", `	if !a.looked {
		ready,`, `	if false {
		ready,`}},
		pkg:  "./locksmith/agent",
		test: "TestRules",
	},
	{
		name: "agent-rules/wish-not-looked-at",
		what: "a machine that has a slot reboots though the wish is gone",
		edits: []edit{{"locksmith/agent/wait.go", `	if a.wish == "" {
		return Idle, []string{notWanted}, nil
	}
	if a.spent`, `	if a.wish == "" && a.slot == nil {
		return Idle, []string{notWanted}, nil
	}
	if a.spent`}},
		pkg:  "./locksmith/agent",
		test: "TestRules",
	},
	{
		name: "agent-rules/blockers-not-looked-at",
		what: "a machine that has a slot reboots though something blocks it",
		edits: []edit{{"locksmith/agent/wait.go", `	if len(why) > 0 {
		return Blocked`, `	if len(why) > 0 && a.slot == nil {
		return Blocked`}},
		pkg:  "./locksmith/agent",
		test: "TestRules",
	},
	{
		name: "agent-rules/stays-in-queue",
		what: "a machine that may not reboot keeps its place, and others waiting",
		edits: []edit{{"locksmith/agent/wait.go", `		if err := a.leave(ctx); err != nil {
			return 0, err
		}
		a.become(next`, `		a.become(next`}},
		pkg:  "./locksmith/agent",
		test: "TestRules",
	},
	{
		name:  "agent-rules/unknown-wish-is-none",
		what:  "a trigger that cannot tell keeps the machine in the queue",
		edits: []edit{{"locksmith/agent/wait.go", `		return Blocked, []string{"cannot tell whether`, `		return Queued, []string{"cannot tell whether`}},
		pkg:   "./locksmith/agent",
		test:  "TestRules",
	},
	{
		name:  "agent-rules/refusal-keeps-slot",
		what:  "logind's refusal is taken for an uncertain answer",
		edits: []edit{{"locksmith/agent/reboot.go", `case errors.Is(err, login1.ErrUncertain):`, `case true || errors.Is(err, login1.ErrUncertain):`}},
		pkg:   "./locksmith/agent",
		test:  "TestRules",
	},
	{
		name:  "agent-rules/uncertain-loses-slot",
		what:  "an uncertain answer is taken for a refusal",
		edits: []edit{{"locksmith/agent/reboot.go", `case errors.Is(err, login1.ErrUncertain):`, `case false && errors.Is(err, login1.ErrUncertain):`}},
		pkg:   "./locksmith/agent",
		test:  "TestRules",
	},
	{
		name:  "agent-rules/shutdown-outlasted",
		what:  "the slot is given back while a shutdown is under way",
		edits: []edit{{"locksmith/agent/reboot.go", `if down || now.Before(a.until) {`, `if down && false || now.Before(a.until) {`}},
		pkg:   "./locksmith/agent",
		test:  "TestRules",
	},
	{
		name: "agent-rules/goes-unrecorded",
		what: "the machine goes before its record says so",
		edits: []edit{{"locksmith/agent/reboot.go", `	if ok, err := a.record(ctx, now, slots.Rebooting); !ok {
		return err
	}
`, ``}},
		pkg:  "./locksmith/agent",
		test: "TestRules",
	},
	{
		name:  "agent-rules/not-undrained",
		what:  "a machine that stays up after it was drained is left so",
		edits: []edit{{"locksmith/agent/reboot.go", `	if a.begun {`, `	if false {`}},
		pkg:   "./locksmith/agent",
		test:  "TestRules",
	},
	{
		name: "agent-rules/resumed-not-undrained",
		what: "a restarted agent that gives up leaves its machine drained",
		edits: []edit{{"locksmith/agent/start.go", `	case r.Phase == slots.Rebooting:
		a.beginAttempt()
		a.begun = true
`, `	case r.Phase == slots.Rebooting:
		a.beginAttempt()
`}},
		pkg:  "./locksmith/agent",
		test: "TestCrashPoints",
	},
	{
		name: "agent-rules/boot-not-compared",
		what: "a machine that was booted is taken for one whose agent was restarted",
		edits: []edit{{"locksmith/agent/start.go", `if r.BootID != a.bootID {
		if err`, `if false {
		if err`}},
		pkg:  "./locksmith/agent",
		test: "TestRules",
	},
	{
		name: "agent-rules/restart-is-return",
		what: "a restart of the agent is taken for a return",
		edits: []edit{{"locksmith/agent/start.go", `if r.BootID != a.bootID {
		if err`, `if true {
		if err`}},
		pkg:  "./locksmith/agent",
		test: "TestRules",
	},
	{
		name:  "agent-rules/released-sick",
		what:  "the slot is given back before the machine is healthy",
		edits: []edit{{"locksmith/agent/verify.go", `case v.State == health.Healthy:`, `case v.State != health.Failed:`}},
		pkg:   "./locksmith/agent",
		test:  "TestRules",
	},
	{
		name:  "agent-rules/failure-untold",
		what:  "a return that failed is not recorded",
		edits: []edit{{"locksmith/agent/verify.go", `return a.slot.Fail(ctx, why, now)`, `return nil`}},
		pkg:   "./locksmith/agent",
		test:  "TestRules",
	},
	{
		name: "agent-rules/after-unheeded",
		what: "programs after the reboot may fail",
		edits: []edit{{"locksmith/agent/verify.go", `	if err != nil {
		v = a.watch`, `	if false {
		v = a.watch`}},
		pkg:  "./locksmith/agent",
		test: "TestRules",
	},
	{
		name: "agent-rules/foreign-slot-used",
		what: "the agent reboots with the slot that an operator holds",
		edits: []edit{{"locksmith/agent/wait.go", `	case r.TakenBy != slots.TakenByAgent:
		why =`, `	case false:
		why =`}},
		pkg:  "./locksmith/agent",
		test: "TestRules",
	},
	{
		name: "agent-rules/cloned-slot-used",
		what: "the agent reboots with the slot of another machine with its id",
		edits: []edit{{"locksmith/agent/wait.go", `	case r.BootID != a.bootID:
		why =`, `	case false:
		why =`}},
		pkg:  "./locksmith/agent",
		test: "TestRules",
	},
	{
		name:  "agent-rules/foreign-slot-released",
		what:  "the agent gives back the slot that an operator holds",
		edits: []edit{{"locksmith/agent/start.go", `	if a.isForeign(r) {`, `	if false {`}},
		pkg:   "./locksmith/agent",
		test:  "TestRules",
	},
	{
		name:  "agent-rules/unwarned",
		what:  "people are not warned",
		edits: []edit{{"locksmith/agent/reboot.go", `	case n.Warn:`, `	case false:`}},
		pkg:   "./locksmith/agent",
		test:  "TestRules",
	},
	{
		name:  "agent-rules/no-grace",
		what:  "people who were warned have no time",
		edits: []edit{{"locksmith/agent/reboot.go", `return idle == 0, idle, nil`, `return true, 0, nil`}},
		pkg:   "./locksmith/agent",
		test:  "TestRules",
	},
	{
		name: "agent-rules/unheard-at-the-end",
		what: "an agent that is told to end stays in the queue",
		edits: []edit{{"locksmith/agent/run.go", `	defer a.end()
`, ``}},
		pkg:  "./locksmith/agent",
		test: "TestRunEndsInQueue",
	},
	{
		name:  "agent-rules/asleep-in-queue",
		what:  "a waiting machine does not notice that a slot is free",
		edits: []edit{{"locksmith/agent/run.go", `group.follow(ctx, a.state == Queued)`, `group.follow(ctx, false)`}},
		pkg:   "./locksmith/agent",
		test:  "TestRunWakesForASlot",
	},
	{
		name: "agent-rules/out-of-queue-unheeded",
		what: "a machine that has lost its place waits for ever",
		edits: []edit{{"locksmith/agent/wait.go", `the key away
		a.queued = false
`, `the key away
`}},
		pkg:  "./locksmith/agent",
		test: "TestRules",
	},
	{
		name:  "agent-rules/soft-reboot-uncounted",
		what:  "a soft reboot is taken for a restart of the agent",
		edits: []edit{{"locksmith/agent/host.go", `	if soft > 0 {`, `	if false {`}},
		pkg:   "./locksmith/agent",
		test:  "TestSoftReboots",
	},
}
