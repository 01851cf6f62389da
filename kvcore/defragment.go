package kvcore

import (
	"context"
	"fmt"
)

// Defragment gives back to the system what the backend takes and does not use,
// while reads, Apply and Flush go on. It fails with backend.ErrBusy while another
// runs, or with the context's error. The file of the backend is another one
// afterwards: nobody else may put one in its place meanwhile. Close waits for it,
// so end the context before.
func (s *Store) Defragment(ctx context.Context, progress func(done, total int64)) error {
	g := s.view.Load().backend
	if !g.acquire() {
		return ErrClosed
	}
	defer g.release()
	if err := g.Defragment(ctx, progress); err != nil {
		return fmt.Errorf("kvcore: %w", err)
	}
	return nil
}
