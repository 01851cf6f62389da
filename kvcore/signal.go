package kvcore

import "sync"

// signal tells everyone who waits that something has happened. The zero value
// is ready.
type signal struct {
	mu sync.Mutex
	c  chan struct{} // nil while nobody waits
}

// wait returns a channel that the next notify closes.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *signal) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}
