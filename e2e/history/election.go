package history

// Election judges an election: who has the leader's key leads.
type Election struct {
	Path string // below which candidates and leader stand
}

// Check returns every second leader, every leader out of turn except by a transfer, and
// who stands or leads for ever.
func (e Election) Check(events []Event) []string {
	var wrong findings
	l := newLine(e.Path)
	l.anyone = true
	for _, changes := range revisions(events) {
		for _, id := range l.follow(changes, &wrong) {
			if len(l.holding) > 1 {
				wrong.add(changes[0].Revision, "%s leads beside others: %s", id, list(l.holding))
			}
		}
	}
	return append(wrong, l.left()...)
}
