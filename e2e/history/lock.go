package history

import (
	"maps"
	"slices"
	"strings"
)

// Lock judges a mutex or a read-write lock. Its holders say what they do by putting
// "enter <key>" and later "leave <key>", with the key that they hold it by, into the
// key Visits.
type Lock struct {
	Queue  string // what the keys of all in the queue begin with
	Visits string
	// Guarded says that the store admits a visit's writes only while the holder's key
	// is there. Then a visit also ends with the key; else only by "leave".
	Guarded bool
}

// Check returns every violation of exclusion, of first come, first served, and of the
// rise of tokens from each grant to the next that conflicts with it, and who is in the
// queue for ever.
func (l Lock) Check(events []Event) []string {
	r := lockReplay{Lock: l, queue: map[string]int64{}, inside: map[string]int64{}}
	for _, ev := range events {
		switch {
		case strings.HasPrefix(ev.Key, l.Queue):
			r.change(ev)
		case ev.Key == l.Visits && !ev.Deleted:
			r.visit(ev)
		}
	}
	if len(r.queue) > 0 {
		r.wrong = append(r.wrong, "in the queue for ever: "+list(r.queue))
	}
	return r.wrong
}

func (l Lock) shared(key string) bool { return strings.HasPrefix(key, l.Queue+"r/") }

// conflict tells whether two keys exclude each other: not those of two readers, nor those
// of one attempt, which has one in each mode when it writes.
func (l Lock) conflict(a, b string) bool {
	name := func(key string) string {
		key = strings.TrimSuffix(key, "/d") // its delay
		return key[strings.LastIndexByte(key, '/')+1:]
	}
	return !(l.shared(a) && l.shared(b)) && name(a) != name(b)
}

type lockReplay struct {
	Lock
	wrong  findings
	queue  map[string]int64 // create revisions of the live keys
	inside map[string]int64 // of those who visit

	newest, newestWrite int64 // tokens of visits so far
}

// change follows the queue. Lock delays hold it as their attempts did; what else stands
// below an attempt's key does not.
func (r *lockReplay) change(ev Event) {
	below := strings.Split(strings.TrimPrefix(ev.Key, r.Queue), "/")
	if len(below) > 2 && below[2] != "d" {
		return
	}
	if !ev.Deleted {
		r.queue[ev.Key] = ev.Created
		return
	}
	delete(r.queue, ev.Key)
	if r.Guarded {
		delete(r.inside, ev.Key)
	}
}

func (r *lockReplay) visit(ev Event) {
	action, key, _ := strings.Cut(ev.Value, " ")
	token, queued := r.queue[key]
	if !queued {
		r.wrong.add(ev.Revision, "%s by %s, which is not in the queue", action, key)
	} else if before := r.before(key, token); len(before) > 0 {
		r.wrong.add(ev.Revision, "%s by %s, which is not first: %s", action, key, list(before))
	}
	switch action {
	case "enter":
		r.enter(ev.Revision, key, token)
	case "leave":
		if _, ok := r.inside[key]; !ok {
			r.wrong.add(ev.Revision, "%s leaves and is not inside: %s", key, list(r.inside))
		}
		delete(r.inside, key)
	}
}

// before is who comes before key: for a reader, the writers.
func (r *lockReplay) before(key string, token int64) map[string]int64 {
	before := map[string]int64{}
	for other, created := range r.queue {
		if created < token && r.conflict(key, other) {
			before[other] = created
		}
	}
	return before
}

func (r *lockReplay) enter(revision int64, key string, token int64) {
	for other := range r.inside {
		if r.conflict(key, other) {
			r.wrong.add(revision, "%s enters beside %s", key, other)
		}
	}
	atLeast := r.newest
	if r.shared(key) {
		atLeast = r.newestWrite
	}
	// A writer that became a reader keeps its token.
	if token < atLeast || token == atLeast && !r.shared(key) {
		r.wrong.add(revision, "token %d of %s after %d", token, key, atLeast)
	}
	r.inside[key] = token
	r.newest = max(r.newest, token)
	if !r.shared(key) {
		r.newestWrite = max(r.newestWrite, token)
	}
}

func list(keys map[string]int64) string {
	return strings.Join(slices.Sorted(maps.Keys(keys)), ", ")
}
