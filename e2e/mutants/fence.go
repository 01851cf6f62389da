package main

// fences are defects of fencing, put into package fence.
var fences = []mutant{
	{
		name:  "fence/reader-after-reader",
		what:  "a reader is refused because a later reader was admitted",
		edits: []edit{{"recipes/fence/mark.go", `notBefore(t, m.write) && !tie`, `notBefore(t, m.all) && !tie`}},
		pkg:   "./recipes/fence",
		test:  "TestMarkAdmits",
	},
	{
		name:  "fence/writer-after-reader",
		what:  "a writer is admitted although a later reader was",
		edits: []edit{{"recipes/fence/mark.go", `return notBefore(t, m.all)`, `return notBefore(t, m.write)`}},
		pkg:   "./recipes/fence",
		test:  "TestMarkAdmits",
	},
	{
		name:  "fence/tie",
		what:  "two acquisitions of one revision are both admitted",
		edits: []edit{{"recipes/fence/mark.go", ` && t.Attempt() == seen.Attempt()`, ``}},
		pkg:   "./recipes/fence",
		test:  "TestMarkAdmits",
	},
	{
		name:  "fence/no-epoch",
		what:  "a token is compared with one of before a backup was restored",
		edits: []edit{{"recipes/fence/mark.go", `m.IsZero() || t.epoch > m.all.epoch`, `m.IsZero()`}},
		pkg:   "./recipes/fence",
		test:  "TestMarkStartsAnewWithTheEpoch",
	},
	{
		name:  "fence/epoch-of-before",
		what:  "a token of before a backup was restored is admitted",
		edits: []edit{{"recipes/fence/mark.go", `t.epoch < m.all.epoch || `, ``}},
		pkg:   "./recipes/fence",
		test:  "TestMarkStartsAnewWithTheEpoch",
	},
	{
		name: "fence/one-mark-for-all-slots",
		what: "holders of different slots overtake each other",
		edits: []edit{{"recipes/fence/guard.go", `g.slots[slot] = &guarded{}`, `g.slots[slot] = g.slots[g.scope.Slots()[0]]
		if g.slots[slot] == nil {
			g.slots[slot] = &guarded{}
		}`}},
		pkg:  "./recipes/fence",
		test: "TestSlotsAreFencedApart",
	},
	{
		name:  "fence/advance-only-asks",
		what:  "a new holder reads while the one before can still write",
		edits: []edit{{"recipes/fence/guard.go", `return g.Do(t, func() error { return nil })`, `return g.Check(t)`}},
		pkg:   "./recipes/fence",
		test:  "TestAdvanceBeforeTheFirstRead",
	},
	{
		name: "fence/mark-of-success",
		what: "the mark is raised only when the write succeeds",
		edits: []edit{{"recipes/fence/guard.go", `	slot.mark = mark
	return f()`, `	if err := f(); err != nil {
		return err
	}
	slot.mark = mark
	return nil`}},
		pkg:  "./recipes/fence",
		test: "TestDoKeepsTheMarkWhenTheFunctionFails",
	},
}
