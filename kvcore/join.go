package kvcore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
)

// forcedKey, in bucket meta, holds the place up to which changes of the
// configuration count for nothing: 8 bytes big-endian. See Force.
var forcedKey = []byte("coorddForced")

// Join makes the first write to the store of a member that joins a cluster:
// whom it has to talk to until the leader sends it the store. It has applied
// nothing and has no configuration. It is durable when Join returns.
func (s *Store) Join(members []*coordpb.Member) error {
	if applied, _ := s.Applied(); applied != 0 || len(s.Members()) > 0 {
		return errors.New("kvcore: join: the store is not new")
	}
	s.mu.Lock()
	for _, m := range members {
		s.putMember(proto.CloneOf(m))
	}
	s.mu.Unlock()
	_, err := s.Flush()
	return err
}

// Force makes self the only member, a voter, and all others removed ones, as
// one durable write that leaves Applied where it is. Changes of the
// configuration up to index last, the end of the log, which other members have
// proposed, are refused when they are applied. The epoch is due then: what was
// acknowledged may be missing, and so revisions may have gone back.
func (s *Store) Force(self *coordpb.Member, last uint64) error {
	s.mu.Lock()
	for _, m := range s.Members() {
		if m.Id != self.Id {
			s.removeMember(m.Id)
		}
	}
	s.readmit(self)
	s.setConfState(&raftpb.ConfState{Voters: []uint64{self.Id}, AutoLeave: new(false)})
	s.forced.Store(last)
	s.queue(change{backend.Meta, forcedKey, binary.BigEndian.AppendUint64(nil, last)})
	s.epochDue.Store(last)
	s.queue(epochDueChange(last))
	s.mu.Unlock()
	_, err := s.Flush()
	return err
}

// readmit makes one a voter, even if it was removed.
func (s *Store) readmit(one *coordpb.Member) {
	one = proto.CloneOf(one)
	one.IsLearner = false
	s.queue(change{backend.MembersRemoved, memberKey(one.Id), nil})
	m := s.members.Load().next()
	delete(m.removed, one.Id)
	s.setMembership(m)
	s.putMember(one)
}

func (st *loaded) loadForced(r backend.Reader) error {
	if v := r.Get(backend.Meta, forcedKey); v != nil {
		if len(v) != 8 {
			return fmt.Errorf("%s: %d bytes, not 8", forcedKey, len(v))
		}
		st.forced = binary.BigEndian.Uint64(v)
	}
	return nil
}
