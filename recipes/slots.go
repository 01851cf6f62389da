package recipes

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// slots is a set of the places of a semaphore, which are numbered from 0, as ranges in ascending order that do not touch.
type slots []slotRange

// slotRange is first to last, both of them in it.
type slotRange struct{ first, last int64 }

// lowest returns the n lowest numbers that are not in taken.
func lowest(taken slots, n int64) (free slots) {
	next := int64(0)
	for _, r := range append(slices.Clone(taken), slotRange{first: maxSlots, last: maxSlots}) {
		if take := min(n, r.first-next); take > 0 {
			free = append(free, slotRange{next, next + take - 1})
			n -= take
		}
		if next = r.last + 1; n == 0 {
			return free
		}
	}
	panic("recipes: no slot is free among " + strconv.Itoa(maxSlots))
}

// union joins sets.
func union(sets ...slots) (all slots) {
	sorted := slices.Concat(sets...)
	slices.SortFunc(sorted, func(a, b slotRange) int { return int(a.first - b.first) })
	for _, r := range sorted {
		if n := len(all); n > 0 && r.first <= all[n-1].last+1 {
			all[n-1].last = max(all[n-1].last, r.last)
			continue
		}
		all = append(all, r)
	}
	return all
}

func (s slots) count() (n int64) {
	for _, r := range s {
		n += r.last - r.first + 1
	}
	return n
}

// numbers yields every number in the set, in ascending order.
func (s slots) numbers() iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for _, r := range s {
			for n := r.first; n <= r.last; n++ {
				if !yield(n) {
					return
				}
			}
		}
	}
}

// String is the text form: "0-2,7".
func (s slots) String() string {
	parts := make([]string, len(s))
	for i, r := range s {
		if parts[i] = strconv.FormatInt(r.first, 10); r.last != r.first {
			parts[i] += "-" + strconv.FormatInt(r.last, 10)
		}
	}
	return strings.Join(parts, ",")
}

// parseSlots reads what String writes.
func parseSlots(text string) (s slots, err error) {
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, errFirst := strconv.ParseInt(from, 10, 64)
		last, errLast := strconv.ParseInt(to, 10, 64)
		if errFirst != nil || errLast != nil || first < 0 || last < first || last >= maxSlots {
			return nil, fmt.Errorf("recipes: slots %q", text)
		}
		s = append(s, slotRange{first, last})
	}
	return union(s), nil
}
