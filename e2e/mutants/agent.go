package main

// agents are defects of the reboot agent, put into package agent.
var agents = []mutant{
	{
		name: "agent/slot-not-looked-at",
		what: "the machine reboots though an operator has given its slot back in the last moment",
		edits: []edit{{"locksmith/agent/reboot.go", `	if a.slot != nil {
		err := a.inStore(ctx, func(ctx context.Context) error {
			_, err := a.slot.Verify(ctx)`, `	if false {
		err := a.inStore(ctx, func(ctx context.Context) error {
			_, err := a.slot.Verify(ctx)`}},
		pkg:  "./locksmith/agent",
		test: "TestExplore",
	},
	{
		name:  "agent/no-last-look",
		what:  "wish, window and blockers are not looked at again after the programs before the reboot",
		edits: []edit{{"locksmith/agent/reboot.go", `	if !a.looked {`, `	if false {`}},
		pkg:   "./locksmith/agent",
		test:  "TestExplore",
	},
	{
		name:  "agent/restart-is-return",
		what:  "a restart of the agent alone counts as a return of the machine",
		edits: []edit{{"locksmith/agent/start.go", `	if r.BootID != a.bootID {`, `	if r.BootID != a.bootID || r.Phase == slots.Rebooting {`}},
		pkg:   "./locksmith/agent",
		test:  "TestExplore",
	},
	{
		name:  "agent/uncertain-is-no",
		what:  "the slot is given back while the machine may be going down",
		edits: []edit{{"locksmith/agent/reboot.go", `	case errors.Is(err, login1.ErrUncertain):`, `	case false && errors.Is(err, login1.ErrUncertain):`}},
		pkg:   "./locksmith/agent",
		test:  "TestExplore",
	},
	{
		name:  "agent/sick-is-well",
		what:  "the slot is given back before the health checks pass",
		edits: []edit{{"locksmith/agent/verify.go", `	case v.State == health.Healthy:`, `	case v.State != health.Failed:`}},
		pkg:   "./locksmith/agent",
		test:  "TestExplore",
	},
	{
		name: "agent/left-drained",
		what: "a machine that stays up is not put to work again",
		edits: []edit{{"locksmith/agent/reboot.go", `	if a.begun {
		running`, `	if false {
		running`}},
		pkg:  "./locksmith/agent",
		test: "TestExplore",
	},
	{
		name:  "agent/silent-reboot",
		what:  "the machine goes down before its record says so",
		edits: []edit{{"locksmith/agent/reboot.go", `a.record(ctx, now, slots.Rebooting)`, `a.record(ctx, now, slots.Draining)`}},
		pkg:   "./locksmith/agent",
		test:  "TestExplore",
	},
}
