package recipes

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// EpochKey holds the cluster's epoch as a decimal number: how often its revisions went back, as they do when a backup is
// restored. Without the key the epoch is 0.
const EpochKey = "/coordd/epoch"

// ReadEpoch returns the cluster's epoch and the revision at which it was last changed, both 0 while there is no EpochKey.
func ReadEpoch(ctx context.Context, kv clientv3.KV) (number uint64, revision int64, err error) {
	resp, err := kv.Get(ctx, EpochKey)
	if err != nil {
		return 0, 0, fmt.Errorf("recipes: read epoch: %w", err)
	}
	if len(resp.Kvs) == 0 {
		return 0, 0, nil
	}
	if number, err = strconv.ParseUint(string(resp.Kvs[0].Value), 10, 64); err != nil {
		return 0, 0, fmt.Errorf("recipes: epoch in %s: %w", EpochKey, err)
	}
	return number, resp.Kvs[0].ModRevision, nil
}

// epoch is what a session knows of the cluster's epoch.
type epoch struct {
	number   uint64
	revision int64 // mod revision of EpochKey, 0 while there is no such key
	// denied says why the session may not read the epoch, and so take nothing that has a token.
	denied error
}

// readEpoch reads the epoch for a session. Locks in etcd's layout need no permission for it.
func readEpoch(ctx context.Context, client *clientv3.Client) (epoch, error) {
	number, revision, err := ReadEpoch(ctx, client)
	if errors.Is(err, rpctypes.ErrPermissionDenied) {
		return epoch{denied: fmt.Errorf("recipes: the user needs the permission to read %s: %w", EpochKey, err)}, nil
	}
	return epoch{number: number, revision: revision}, err
}

// unchanged is true in a transaction while the epoch is the session's.
func (e epoch) unchanged() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(EpochKey), "=", e.revision)
}
