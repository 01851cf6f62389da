package blocker

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Member is the name, in the store's cluster, of the member that goes down with
// this machine, "" if none does. setting is MemberAuto, MemberNone, or the name
// itself, which the store must know. A member without a name is called by its id.
func Member(ctx context.Context, store *clientv3.Client, setting string) (name string, err error) {
	if setting == MemberNone {
		return "", nil
	}
	response, err := store.MemberList(ctx)
	if err != nil {
		return "", fmt.Errorf("blocker: list the members of the store: %w", err)
	}
	ours, err := (&quorum{member: setting}).ours(ctx, response.Members)
	if err != nil {
		return "", fmt.Errorf("blocker: %w", err)
	}
	for _, m := range response.Members {
		if ours[m.ID] && !m.IsLearner {
			if m.Name == "" {
				return fmt.Sprintf("%x", m.ID), nil
			}
			return m.Name, nil
		}
	}
	return "", nil
}
