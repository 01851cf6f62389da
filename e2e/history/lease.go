package history

import "strings"

// Leases judges that nothing is granted on a lease that has ended. Each session marks
// its lease by a key of its own below Marks, attached to it: with the lease the key is
// deleted, and the history shows when.
type Leases struct{ Marks string }

// Check returns every key that was put with a lease which had ended, and every one that
// outlived its lease. Leases without a mark are not judged.
func (l Leases) Check(events []Event) []string {
	var wrong findings
	ended := map[int64]bool{}
	leaseOf := map[string]int64{} // of the live keys
	for _, changes := range revisions(events) {
		for _, ev := range changes {
			lease := leaseOf[ev.Key]
			switch delete(leaseOf, ev.Key); {
			case ev.Deleted && strings.HasPrefix(ev.Key, l.Marks):
				ended[lease] = true
			case !ev.Deleted && ended[ev.Lease]:
				wrong.add(ev.Revision, "%s is put with lease %016x, which has ended", ev.Key, ev.Lease)
			case !ev.Deleted && ev.Lease != 0:
				leaseOf[ev.Key] = ev.Lease
			}
		}
		for key, lease := range leaseOf {
			if ended[lease] {
				wrong.add(changes[0].Revision, "%s outlives lease %016x", key, lease)
				delete(leaseOf, key)
			}
		}
	}
	return wrong
}
