package member

import (
	"testing"

	"go.etcd.io/raft/v3"
)

func TestReservedIDsAreReplaced(t *testing.T) {
	for _, id := range []uint64{0, raft.LocalAppendThread, raft.LocalApplyThread} {
		if got := usable(id); got != 1 {
			t.Errorf("%x becomes %x", id, got)
		}
	}
	if got := usable(raft.LocalApplyThread - 1); got != raft.LocalApplyThread-1 {
		t.Errorf("an ordinary id becomes %x", got)
	}
}
