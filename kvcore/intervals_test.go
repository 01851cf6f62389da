package kvcore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestIntervalsFindWhatContainsAKey(t *testing.T) {
	type plain struct {
		start, end string
		id         uint64
	}
	random := rand.New(rand.NewPCG(1, 1))
	var s intervals[uint64]
	var all []plain
	for step := range uint64(3000) {
		if len(all) > 0 && random.IntN(5) < 2 {
			i := random.IntN(len(all))
			s.remove(all[i].start, all[i].id)
			all = slices.Delete(all, i, i+1)
		} else {
			p := plain{start: fmt.Sprintf("%02d", random.IntN(50)), id: step}
			if random.IntN(4) > 0 {
				p.end = fmt.Sprintf("%02d", random.IntN(50))
			}
			s.insert(p.start, p.end, p.id, p.id)
			all = append(all, p)
		}
		key := fmt.Sprintf("%02d", random.IntN(50))
		var got, want []uint64
		s.stab([]byte(key), func(id uint64) { got = append(got, id) })
		for _, p := range all {
			if p.start <= key && (p.end == "" || key < p.end) {
				want = append(want, p.id)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("step %d: %s is in %v, want %v", step, key, got, want)
		}
	}
}
