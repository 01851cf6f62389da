package index

// summary aggregates the keys of a subtree. The zero value is that of no
// keys. Revisions are main revisions.
type summary struct {
	live                 int64 // keys that are not deleted
	stale                int64 // keys with anything a compaction might forget
	minCreate, maxCreate int64 // over live keys; 0 if there are none
	minModify, maxModify int64
}

// merge returns the summary of the keys of both.
func (s summary) merge(o summary) summary {
	o.stale += s.stale
	switch {
	case s.live == 0:
		return o
	case o.live == 0:
		s.stale = o.stale
		return s
	}
	return summary{
		live:      s.live + o.live,
		stale:     o.stale,
		minCreate: min(s.minCreate, o.minCreate),
		maxCreate: max(s.maxCreate, o.maxCreate),
		minModify: min(s.minModify, o.minModify),
		maxModify: max(s.maxModify, o.maxModify),
	}
}

// replace returns the summary after one of the keys changed from before to
// after. It cannot if before held an extreme that after does not: ok is
// false, and the summary must be computed anew.
func (s summary) replace(before, after summary) (_ summary, ok bool) {
	s.stale += after.stale - before.stale
	s.live -= before.live
	if before.live > 0 && s.live > 0 {
		if after.live == 0 && s.touches(before) {
			return s, false
		}
		if after.live > 0 && s.shrinks(before, after) {
			return s, false
		}
	}
	after.stale = 0
	return s.merge(after), true
}

// touches reports whether key holds one of the extremes.
func (s summary) touches(key summary) bool {
	return key.minCreate == s.minCreate || key.maxCreate == s.maxCreate ||
		key.minModify == s.minModify || key.maxModify == s.maxModify
}

// shrinks reports whether an extreme held by before lies beyond after.
func (s summary) shrinks(before, after summary) bool {
	return before.minCreate == s.minCreate && after.minCreate > s.minCreate ||
		before.maxCreate == s.maxCreate && after.maxCreate < s.maxCreate ||
		before.minModify == s.minModify && after.minModify > s.minModify ||
		before.maxModify == s.maxModify && after.maxModify < s.maxModify
}

// settle carries a change of the slot last located up to the root.
func (t *Tree) settle(before, after summary) {
	for i := len(t.path) - 2; i >= 0; i-- {
		at := t.path[i]
		kid := &at.node.kids[at.slot]
		was := kid.summary
		var ok bool
		if kid.summary, ok = was.replace(before, after); !ok {
			kid.summary = kid.node.summarize()
		}
	}
	var ok bool
	if t.total, ok = t.total.replace(before, after); !ok {
		t.total = t.root.summarize()
	}
}
