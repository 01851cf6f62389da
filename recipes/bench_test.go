package recipes

import (
	"sync"
	"testing"
)

// Two contenders of two sessions hand one lock back and forth; one operation is one acquisition.
func BenchmarkHandoff(b *testing.B) {
	endpoint := startServer(b)
	var mutexes []*Mutex
	for range 2 {
		s := openSession(b, dial(b, endpoint), 60)
		mutexes = append(mutexes, NewMutex(s, "one", &MutexOptions{Prefix: "/" + b.Name()}))
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, m := range mutexes {
		wg.Go(func() {
			for n := i; n < b.N; n += len(mutexes) {
				h, err := m.Lock(b.Context())
				if err == nil {
					err = h.Unlock(b.Context())
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkUncontended(b *testing.B) {
	m := NewMutex(openSession(b, dial(b, startServer(b)), 60), "one", &MutexOptions{Prefix: "/" + b.Name()})
	for b.Loop() {
		h, err := m.Lock(b.Context())
		if err == nil {
			err = h.Unlock(b.Context())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValid(b *testing.B) {
	m := NewMutex(openSession(b, dial(b, startServer(b)), 60), "one", &MutexOptions{Prefix: "/" + b.Name()})
	h, err := m.Lock(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := h.Valid(); err != nil {
			b.Fatal(err)
		}
	}
}
