package peer

import (
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// maxEntries bounds the log entries of one message: an empty one takes two
// bytes on the wire and a hundred in memory.
const maxEntries = 1 << 18

// decodeMessage decodes a message that member from sent to member self, and
// refuses what raft would not survive or no member sends. Raft trusts its peers:
// what this cannot see, such as a commit index beyond the log, is still its end.
func decodeMessage(data []byte, from, self uint64) (*raftpb.Message, error) {
	if err := checkEntryCount(data); err != nil {
		return nil, err
	}
	m := new(raftpb.Message)
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, err
	}
	if err := checkMessage(m, from, self); err != nil {
		return nil, fmt.Errorf("%s: %w", m.GetType(), err)
	}
	if m.GetType() == raftpb.MsgTransferLeader {
		m.Term = nil // a follower that passes it on panics over a term
	}
	return m, nil
}

func checkMessage(m *raftpb.Message, from, self uint64) error {
	if _, known := raftpb.MessageType_name[int32(m.GetType())]; !known {
		return errors.New("is no type of message") // raft indexes arrays with it
	}
	switch t := m.GetType(); {
	case raft.IsLocalMsg(t) || t == raftpb.MsgForgetLeader:
		return errors.New("is never sent to another member")
	case m.GetTo() != self:
		return fmt.Errorf("is for member %x, this is %x", m.GetTo(), self)
	case len(m.GetResponses()) > 0:
		return errors.New("has responses for local storage")
	case m.GetFrom() != from && !isForwarded(t):
		return fmt.Errorf("is from member %x, on a stream of %x", m.GetFrom(), from)
	case m.GetFrom() == raft.None || raft.IsLocalMsgTarget(m.GetFrom()):
		return fmt.Errorf("is from %x, which is no member", m.GetFrom())
	case hasTerm(t) == (m.GetTerm() == 0):
		return fmt.Errorf("has the term %d", m.GetTerm())
	}
	return checkContent(m)
}

// isForwarded names the messages that a member passes on to the leader it
// knows with their From kept, so that it can be a third member.
func isForwarded(t raftpb.MessageType) bool {
	return t == raftpb.MsgProp || t == raftpb.MsgReadIndex || t == raftpb.MsgTransferLeader
}

// hasTerm: raft's send demands a term of every message but these two, which
// count in whatever term they arrive.
func hasTerm(t raftpb.MessageType) bool {
	return t != raftpb.MsgProp && t != raftpb.MsgReadIndex
}

func checkContent(m *raftpb.Message) error {
	switch m.GetType() {
	case raftpb.MsgApp:
		return checkAppend(m)
	case raftpb.MsgProp:
		return checkProposal(m)
	case raftpb.MsgReadIndex, raftpb.MsgReadIndexResp:
		if len(m.GetEntries()) != 1 {
			return fmt.Errorf("has %d entries, not one", len(m.GetEntries()))
		}
	case raftpb.MsgSnap:
		md := m.GetSnapshot().GetMetadata()
		if md.GetIndex() == 0 || md.GetTerm() == 0 || md.GetTerm() > m.GetTerm() || len(md.GetConfState().GetVoters()) == 0 {
			return fmt.Errorf("announces no usable state: %v", md)
		}
		if cs := md.GetConfState(); !slices.Contains(cs.GetVoters(), m.GetTo()) && !slices.Contains(cs.GetLearners(), m.GetTo()) {
			return fmt.Errorf("announces a state in which this member is none: %v", md) // a later one will do
		}
	}
	return nil
}

// checkAppend wants entries that follow the index without a gap, in terms that never fall.
func checkAppend(m *raftpb.Message) error {
	index, term := m.GetIndex(), m.GetLogTerm()
	for _, e := range m.GetEntries() {
		index++
		if e.GetIndex() != index || e.GetTerm() < term || e.GetTerm() > m.GetTerm() {
			return fmt.Errorf("entry %d of term %d where index %d of a term from %d to %d belongs",
				e.GetIndex(), e.GetTerm(), index, term, m.GetTerm())
		}
		term = e.GetTerm()
	}
	return nil
}

// checkProposal wants entries, and configuration changes that decode: the leader would panic.
func checkProposal(m *raftpb.Message) error {
	if len(m.GetEntries()) == 0 {
		return errors.New("has no entries")
	}
	for _, e := range m.GetEntries() {
		var err error
		switch e.GetType() {
		case raftpb.EntryConfChange:
			err = proto.Unmarshal(e.GetData(), new(raftpb.ConfChange))
		case raftpb.EntryConfChangeV2:
			err = proto.Unmarshal(e.GetData(), new(raftpb.ConfChangeV2))
		}
		if err != nil {
			return fmt.Errorf("configuration change: %w", err)
		}
	}
	return nil
}

// checkEntryCount counts entries before memory is spent on them.
func checkEntryCount(data []byte) error {
	const entriesField = 7 // raftpb.Message.entries
	count := 0
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if n = protowire.ConsumeFieldValue(field, kind, data); n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if field == entriesField {
			count++
		}
	}
	if count > maxEntries {
		return fmt.Errorf("has %d entries, more than %d", count, maxEntries)
	}
	return nil
}
