package history

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Semaphore judges a semaphore: what the holders' keys say is what they were granted.
type Semaphore struct {
	Path string // below which queue, holders and limit stand
}

// Check returns every grant beyond the limit or of a slot that somebody has, every
// grant out of turn, and who waits or holds for ever.
func (s Semaphore) Check(events []Event) []string {
	r := semaphoreReplay{line: newLine(s.Path), slots: map[string][]slotRange{}}
	for _, changes := range revisions(events) {
		r.revision(changes)
	}
	r.wrong = append(r.wrong, r.line.left()...)
	return r.wrong
}

type semaphoreReplay struct {
	wrong findings
	line  *line
	limit int64
	slots map[string][]slotRange // of the live holders
}

func (r *semaphoreReplay) revision(changes []Event) {
	for _, ev := range changes {
		id, holder := attempt(ev.Key, r.line.path+"/h/")
		switch {
		case ev.Key == r.line.path+"/limit" && !ev.Deleted:
			r.setLimit(ev)
		case holder && ev.Deleted:
			delete(r.slots, id)
		case holder:
			var holder struct{ Slots string }
			err := json.Unmarshal([]byte(ev.Value), &holder)
			if err == nil {
				r.slots[id], err = parseSlots(holder.Slots)
			}
			if err != nil {
				r.wrong.add(ev.Revision, "%s holds %q: %v", id, ev.Value, err)
			}
		}
	}
	for _, id := range r.line.follow(changes, &r.wrong) {
		r.granted(changes[0].Revision, id)
	}
}

func (r *semaphoreReplay) setLimit(ev Event) {
	limit, err := strconv.ParseInt(ev.Value, 10, 64)
	if err != nil {
		r.wrong.add(ev.Revision, "limit: %v", err)
	}
	r.limit = limit
}

func (r *semaphoreReplay) granted(revision int64, id string) {
	sum := int64(0)
	for other, slots := range r.slots {
		sum += count(slots)
		if other != id && overlap(slots, r.slots[id]) {
			r.wrong.add(revision, "%s is granted slots %v, and %s has %v", id, r.slots[id], other, slots)
		}
	}
	if sum > r.limit {
		r.wrong.add(revision, "%s is granted slots %v, which makes %d of %d", id, r.slots[id], sum, r.limit)
	}
}

// slotRange is the slots from first to last, both of them in it.
type slotRange struct{ first, last int64 }

// parseSlots reads what a holder has, as "0-2,7".
func parseSlots(text string) (slots []slotRange, err error) {
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, errFirst := strconv.ParseInt(from, 10, 64)
		last, errLast := strconv.ParseInt(to, 10, 64)
		if errFirst != nil || errLast != nil || last < first {
			return nil, fmt.Errorf("no slots: %q", text)
		}
		slots = append(slots, slotRange{first, last})
	}
	return slots, nil
}

func count(slots []slotRange) (n int64) {
	for _, s := range slots {
		n += s.last - s.first + 1
	}
	return n
}

func overlap(a, b []slotRange) bool {
	for _, x := range a {
		for _, y := range b {
			if x.first <= y.last && y.first <= x.last {
				return true
			}
		}
	}
	return false
}
