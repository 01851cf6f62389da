package main

import (
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// hexHeader and hexMember are what they are named after with IDs as strings in hexadecimal: JSON numbers lose their low
// digits in readers that keep them as floating point.
type hexHeader struct {
	ClusterID string `json:"cluster_id"`
	MemberID  string `json:"member_id"`
	Revision  int64  `json:"revision,omitempty"`
	RaftTerm  uint64 `json:"raft_term,omitempty"`
}

type hexMember struct {
	ID         string   `json:"ID"`
	Name       string   `json:"name,omitempty"`
	PeerURLs   []string `json:"peerURLs,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
	IsLearner  bool     `json:"isLearner,omitempty"`
}

// membersJSON is an answer about members with hexadecimal IDs; member may be nil.
func membersJSON(h *pb.ResponseHeader, member *pb.Member, members []*pb.Member) any {
	answer := struct {
		Header  hexHeader   `json:"header"`
		Member  *hexMember  `json:"member,omitempty"`
		Members []hexMember `json:"members"`
	}{Header: hexHeader{
		strconv.FormatUint(h.GetClusterId(), 16), strconv.FormatUint(h.GetMemberId(), 16), h.GetRevision(), h.GetRaftTerm(),
	}, Members: []hexMember{}}
	if member != nil {
		m := newHexMember(member)
		answer.Member = &m
	}
	for _, m := range members {
		answer.Members = append(answer.Members, newHexMember(m))
	}
	return answer
}

func newHexMember(m *pb.Member) hexMember {
	return hexMember{strconv.FormatUint(m.GetID(), 16), m.GetName(), m.GetPeerURLs(), m.GetClientURLs(), m.GetIsLearner()}
}
