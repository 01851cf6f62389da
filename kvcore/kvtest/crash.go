package kvtest

import (
	"bytes"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
)

// CrashMemory is the Crasher of a store over a backend in memory.
func CrashMemory(s *kvcore.Store) (backend.Backend, error) {
	b, err := copyMemory(s)
	if err != nil {
		return nil, err
	}
	return b, s.Close()
}

// CrashBolt returns the Crasher of a store over the bolt file at path.
func CrashBolt(path string) Crasher {
	return func(s *kvcore.Store) (backend.Backend, error) {
		if err := s.Close(); err != nil {
			return nil, err
		}
		return backend.OpenBolt(path)
	}
}

func copyMemory(s *kvcore.Store) (backend.Backend, error) {
	snapshot, err := s.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	var b bytes.Buffer
	if _, err := snapshot.WriteTo(&b); err != nil {
		return nil, err
	}
	return backend.RestoreMemory(&b)
}
