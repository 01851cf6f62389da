package recipes

import "testing"

// A lock that nobody else wants costs one commit to take and one to give back, on either store.
func TestUncontendedPairIsTwoCommits(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		m := f.mutex(f.session, "one")
		const pairs = 20
		before := f.revision()
		for range pairs {
			f.unlock(f.lock(m))
		}
		if commits := f.revision() - before; commits != 2*pairs {
			f.Errorf("%d uncontended locks and unlocks took %d commits, want %d", pairs, commits, 2*pairs)
		}
	})
}
