package backend

import (
	"bytes"
	"errors"
	"testing"
	"testing/iotest"
)

// TestDamagedMemoryStore: each changed byte and each cut is noticed.
func TestDamagedMemoryStore(t *testing.T) {
	b := NewMemory()
	batch := b.Begin(3, 1)
	batch.Put(Key, []byte("a"), []byte("value"))
	batch.Put(Cluster, []byte("b"), nil)
	mustCommit(t, b, batch)
	sound := dump(t, b)
	for i := range sound {
		if _, err := RestoreMemory(bytes.NewReader(sound[:i])); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut after %d bytes: %v", i, err)
		}
		flipped := bytes.Clone(sound)
		flipped[i] ^= 0x80
		if _, err := RestoreMemory(bytes.NewReader(flipped)); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	if _, err := RestoreMemory(bytes.NewReader(append(sound, 0))); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte too many: %v", err)
	}
	if _, err := RestoreMemory(iotest.ErrReader(errors.ErrUnsupported)); !errors.Is(err, errors.ErrUnsupported) || errors.Is(err, ErrDamaged) {
		t.Errorf("failing reader: %v", err)
	}
}
