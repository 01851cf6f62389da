package kvcore

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/coordd/coordd/kvcore/auth"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/index"
	"github.com/coordd/coordd/kvcore/lease"
)

// Keys of bucket meta, as etcd has them.
var (
	confStateKey        = []byte("confState")
	scheduledCompactKey = []byte("scheduledCompactRev")
	finishedCompactKey  = []byte("finishedCompactRev")
)

// loaded is what a backend says.
type loaded struct {
	tree      *index.Tree
	revision  int64
	compact   int64
	scheduled int64 // revision of the last physical compaction asked for
	finished  int64 // revision of the last physical compaction done
	applied   position
	leases    []lease.Lease
	attached  map[string]lease.ID
	members   *membership
	forced    uint64 // see Store.Force
	epochDue  uint64 // see epochDueKey
	confState *raftpb.ConfState
	auth      *auth.Table
	alarms    []*pb.AlarmMember
}

func load(b backend.Backend) (*loaded, error) {
	r := b.Reader()
	if r == nil {
		return nil, fmt.Errorf("kvcore: load: %w", backend.ErrClosed)
	}
	defer r.Release()
	st := &loaded{tree: index.New(), attached: map[string]lease.ID{}}
	st.applied.index, st.applied.term = r.Applied()
	for _, step := range []func(backend.Reader) error{
		st.loadCompaction, st.loadKeys, st.loadLeases, st.loadMembers, st.loadConfState, st.loadForced, st.loadEpochDue, st.loadAuth, st.loadAlarms,
	} {
		if err := step(r); err != nil {
			return nil, fmt.Errorf("kvcore: load: %w", err)
		}
	}
	return st, nil
}

func (st *loaded) loadCompaction(r backend.Reader) error {
	for _, m := range []struct {
		key []byte
		rev *int64
	}{{scheduledCompactKey, &st.scheduled}, {finishedCompactKey, &st.finished}} {
		*m.rev = -1
		if v := r.Get(backend.Meta, m.key); v != nil {
			rev, _, err := parseRevision(v)
			if err != nil {
				return fmt.Errorf("%s: %w", m.key, err)
			}
			*m.rev = rev.Main
		}
	}
	st.compact = max(st.scheduled, st.finished)
	return nil
}

func (st *loaded) loadKeys(r backend.Reader) (err error) {
	st.revision = max(1, st.compact)
	r.Ascend(backend.Key, nil, nil, func(k, v []byte) bool {
		err = st.loadRecord(k, v)
		return err == nil
	})
	return err
}

func (st *loaded) loadRecord(k, v []byte) error {
	rev, tombstone, err := parseRevision(k)
	if err != nil {
		return err
	}
	var kv mvccpb.KeyValue
	if err := decodeStored(&kv, v, tombstone); err != nil {
		return fmt.Errorf("revision %v: %w", rev, err)
	}
	st.tree.Restore(kv.Key, rev, index.Revision{Main: kv.CreateRevision}, kv.Version, tombstone)
	st.revision = max(st.revision, rev.Main)
	if kv.Lease != 0 && !tombstone {
		st.attached[string(kv.Key)] = lease.ID(kv.Lease)
	} else {
		delete(st.attached, string(kv.Key))
	}
	return nil
}

// decodeStored decodes a record that somebody else may have written: one without
// a key is damage, and would be the end of every member that applies a change of it.
func decodeStored(kv *mvccpb.KeyValue, v []byte, tombstone bool) error {
	if len(v) == 0 && !tombstone {
		kv.Version = 1 // the mark of a restore that moved the revision up: it counts in hashes
		return nil
	}
	err := decodeKeyValue(kv, v)
	if err == nil && len(kv.Key) == 0 {
		err = fmt.Errorf("%w: a record without a key", backend.ErrDamaged)
	}
	return err
}

func (st *loaded) loadLeases(r backend.Reader) (err error) {
	r.Ascend(backend.Lease, nil, nil, func(k, v []byte) bool {
		var l lease.Lease
		if l, err = decodeLease(v); err == nil {
			st.leases = append(st.leases, l)
		}
		return err == nil
	})
	return err
}

func (st *loaded) loadAuth(r backend.Reader) (err error) {
	st.auth, err = auth.Load(r)
	return err
}

func (st *loaded) loadConfState(r backend.Reader) error {
	v := r.Get(backend.Meta, confStateKey)
	if v == nil {
		return nil
	}
	cs, err := decodeConfState(v)
	if err != nil {
		return fmt.Errorf("confState: %w", err)
	}
	st.confState = cs
	return nil
}

// confStateJSON is how etcd writes a raft configuration.
type confStateJSON struct {
	Voters         []uint64 `json:"voters,omitempty"`
	Learners       []uint64 `json:"learners,omitempty"`
	VotersOutgoing []uint64 `json:"voters_outgoing,omitempty"`
	LearnersNext   []uint64 `json:"learners_next,omitempty"`
	AutoLeave      bool     `json:"auto_leave"`
}

func confStateChange(cs *raftpb.ConfState) change {
	value, err := json.Marshal(&confStateJSON{
		cs.GetVoters(), cs.GetLearners(), cs.GetVotersOutgoing(), cs.GetLearnersNext(), cs.GetAutoLeave(),
	})
	if err != nil {
		panic(fmt.Sprintf("kvcore: encode configuration %v: %v", cs, err))
	}
	return change{backend.Meta, confStateKey, value}
}

func decodeConfState(b []byte) (*raftpb.ConfState, error) {
	var j confStateJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, err
	}
	return &raftpb.ConfState{
		Voters: j.Voters, Learners: j.Learners, VotersOutgoing: j.VotersOutgoing, LearnersNext: j.LearnersNext,
		AutoLeave: &j.AutoLeave,
	}, nil
}

// Field numbers of etcd's leasepb.Lease.
const (
	fieldLeaseID           protowire.Number = 1
	fieldLeaseTTL          protowire.Number = 2
	fieldLeaseRemainingTTL protowire.Number = 3
)

func leaseKey(id int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }

func leaseChange(l lease.Lease) change {
	value := appendInt(appendInt([]byte{}, fieldLeaseID, int64(l.ID)), fieldLeaseTTL, l.TTLSeconds)
	return change{backend.Lease, leaseKey(int64(l.ID)), appendInt(value, fieldLeaseRemainingTTL, l.RemainingSeconds)}
}

func decodeLease(data []byte) (l lease.Lease, err error) {
	for b := data; len(b) > 0; {
		field, kind, n := protowire.ConsumeField(b)
		if n < 0 {
			return l, fmt.Errorf("lease %x: %w", data, protowire.ParseError(n))
		}
		_, _, tag := protowire.ConsumeTag(b)
		if kind == protowire.VarintType {
			v, _ := protowire.ConsumeVarint(b[tag:])
			switch field {
			case fieldLeaseID:
				l.ID = lease.ID(v)
			case fieldLeaseTTL:
				l.TTLSeconds = int64(v)
			case fieldLeaseRemainingTTL:
				l.RemainingSeconds = int64(v)
			}
		}
		b = b[n:]
	}
	return l, nil
}
