package lincheck

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Mutex is a lock that one has at a time, with tokens that rise.
func Mutex() Model {
	type state struct {
		holder string
		newest int64
	}
	return model(state{}, func(s state, op Op) (state, bool) {
		switch op.Do {
		case Acquire:
			return state{op.Who, op.Token}, s.holder == "" && op.Token > s.newest
		case Release:
			return state{"", s.newest}, s.holder == op.Who
		}
		return s, false
	})
}

// RWMutex is a lock that one writer or any number of readers have. A token is above those
// of all writers before, a writer's also above those of all readers.
func RWMutex() Model {
	type state struct {
		writer              string
		readers             set
		newest, newestWrite int64
	}
	return model(state{}, func(s state, op Op) (state, bool) {
		switch {
		case op.Do == Acquire && op.Shared:
			s.readers = s.readers.with(op.Who, 0)
			ok := s.writer == "" && op.Token > s.newestWrite
			s.newest = max(s.newest, op.Token)
			return s, ok
		case op.Do == Acquire:
			ok := s.writer == "" && s.readers == "" && op.Token > s.newest
			s.writer, s.newest, s.newestWrite = op.Who, op.Token, op.Token
			return s, ok
		case op.Do == Release && s.writer == op.Who:
			s.writer = ""
			return s, true
		case op.Do == Release:
			without, ok := s.readers.without(op.Who)
			s.readers = without
			return s, ok
		case op.Do == Transfer: // a writer becomes a reader and keeps its token
			ok := s.writer == op.Who
			s.writer, s.readers = "", s.readers.with(op.To, 0)
			return s, ok
		}
		return s, false
	})
}

// Semaphore is one whose weights never exceed the limit when something is granted.
func Semaphore(limit int64) Model {
	type state struct {
		limit   int64
		holders set
	}
	return model(state{limit: limit}, func(s state, op Op) (state, bool) {
		switch op.Do {
		case Acquire:
			s.holders = s.holders.with(op.Who, op.Weight)
			return s, s.holders.sum() <= s.limit
		case Release:
			without, ok := s.holders.without(op.Who)
			s.holders = without
			return s, ok
		case SetLimit:
			s.limit = op.Weight
			return s, true
		}
		return s, false
	})
}

// Election is an office of one leader at a time, with tokens that rise, which a leader
// may hand to a successor: Transfer, and then the successor's Acquire.
func Election() Model {
	type state struct {
		leader    string
		appointed bool // and does not know it yet
		newest    int64
	}
	return model(state{}, func(s state, op Op) (state, bool) {
		switch op.Do {
		case Acquire:
			ok := s.leader == "" || s.appointed && s.leader == op.Who
			return state{leader: op.Who, newest: max(s.newest, op.Token)}, ok && (op.Token > s.newest || op.Token == 0)
		case Release:
			return state{newest: s.newest}, s.leader == op.Who
		case Transfer:
			return state{leader: op.To, appointed: true, newest: s.newest}, s.leader == op.Who && !s.appointed
		case Leader:
			return s, s.leader == op.To
		}
		return s, false
	})
}

// Register is a number behind a high-water mark: an access passes if no token above its
// own was admitted, a reader's if none of a writer was.
func Register() Model {
	type state struct{ newest, newestWrite, value int64 }
	return model(state{}, func(s state, op Op) (state, bool) {
		stale := op.Token < s.newestWrite || !op.Shared && op.Token < s.newest
		if stale || op.Refused {
			return s, stale && op.Refused
		}
		s.newest = max(s.newest, op.Token)
		if !op.Shared {
			s.newestWrite = max(s.newestWrite, op.Token)
		}
		switch op.Do {
		case Advance:
			return s, true
		case Read:
			return s, op.Value == s.value
		case Write:
			s.value = op.Value
			return s, !op.Shared
		}
		return s, false
	})
}

// set is names with weights, as sorted text, so that == compares sets: "a=1,b=2".
type set string

func (s set) entries() []string {
	if s == "" {
		return nil
	}
	return strings.Split(string(s), ",")
}

func (s set) with(name string, weight int64) set {
	entries := append(s.entries(), fmt.Sprintf("%s=%d", name, weight))
	slices.Sort(entries)
	return set(strings.Join(entries, ","))
}

func (s set) without(name string) (rest set, found bool) {
	entries := s.entries()
	i := slices.IndexFunc(entries, func(e string) bool { return strings.HasPrefix(e, name+"=") })
	if i < 0 {
		return s, false
	}
	return set(strings.Join(slices.Delete(entries, i, i+1), ",")), true
}

func (s set) sum() (sum int64) {
	for _, e := range s.entries() {
		_, weight, _ := strings.Cut(e, "=")
		n, err := strconv.ParseInt(weight, 10, 64)
		if err != nil {
			panic("lincheck: no weight in " + e)
		}
		sum += n
	}
	return sum
}
