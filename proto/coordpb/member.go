package coordpb

import "go.etcd.io/etcd/api/v3/etcdserverpb"

// EtcdMembers returns records of members as etcd's API shows them.
func EtcdMembers(members []*Member) []*etcdserverpb.Member {
	shown := make([]*etcdserverpb.Member, len(members))
	for i, m := range members {
		shown[i] = &etcdserverpb.Member{
			ID:         m.GetId(),
			Name:       m.GetName(),
			PeerURLs:   m.GetPeerUrls(),
			ClientURLs: m.GetClientUrls(),
			IsLearner:  m.GetIsLearner(),
		}
	}
	return shown
}
