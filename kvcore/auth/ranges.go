package auth

import (
	"cmp"
	"slices"
)

// keyRange is the keys of [start, end); an empty end is no bound.
type keyRange struct{ start, end string }

// rangeOf returns the range that a key and a range end name, as in the API: no
// end means the key alone, "\x00" all keys from it on.
func rangeOf(key, rangeEnd []byte) keyRange {
	switch {
	case len(rangeEnd) == 0:
		return keyRange{string(key), string(key) + "\x00"}
	case isUnbounded(rangeEnd):
		return keyRange{start: string(key)}
	}
	return keyRange{string(key), string(rangeEnd)}
}

func isUnbounded(rangeEnd []byte) bool { return len(rangeEnd) == 1 && rangeEnd[0] == 0 }

// reaches tells whether an end is at or behind another.
func reaches(end, other string) bool { return end == "" || other != "" && end >= other }

// ranges is a set of keys: sorted ranges that neither overlap nor touch.
type ranges []keyRange

// merge makes a set of ranges in any order.
func merge(all []keyRange) ranges {
	slices.SortFunc(all, func(a, b keyRange) int { return cmp.Compare(a.start, b.start) })
	var merged ranges
	for _, r := range all {
		last := len(merged) - 1
		switch {
		case r.end != "" && r.end <= r.start:
			// holds no key
		case last < 0 || !reaches(merged[last].end, r.start):
			merged = append(merged, r)
		case reaches(r.end, merged[last].end):
			merged[last].end = r.end
		}
	}
	return merged
}

// covers tells whether all keys of r are in the set. Of a range that holds no
// key it looks at where that begins.
func (s ranges) covers(r keyRange) bool {
	i, found := slices.BinarySearchFunc(s, r.start, func(e keyRange, start string) int { return cmp.Compare(e.start, start) })
	if !found {
		i-- // the last one that begins before
	}
	return i >= 0 && (s[i].end == "" || r.start < s[i].end) && reaches(s[i].end, r.end)
}
