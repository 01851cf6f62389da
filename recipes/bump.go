package recipes

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// BumpEpoch raises the epoch and returns it: the Unix time in microseconds, or one more than before where that is not more.
// So two clusters that are restored from one backup have different epochs. After an error it may have been raised all the
// same, which does no harm. Sessions that began before keep the old epoch in their tokens.
func BumpEpoch(ctx context.Context, kv clientv3.KV) (uint64, error) {
	for {
		old, modRevision, err := ReadEpoch(ctx, kv)
		if err != nil {
			return 0, err
		}
		if old == math.MaxUint64 {
			return 0, fmt.Errorf("recipes: epoch %d is the last there is: put a lower one that was never in use into %s", old, EpochKey)
		}
		epoch := max(old+1, uint64(max(time.Now().UnixMicro(), 0)))
		resp, err := kv.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(EpochKey), "=", modRevision)).
			Then(clientv3.OpPut(EpochKey, strconv.FormatUint(epoch, 10))).
			Commit()
		if err != nil {
			return 0, fmt.Errorf("recipes: raise the epoch: %w", err)
		}
		if resp.Succeeded {
			return epoch, nil
		}
	}
}
