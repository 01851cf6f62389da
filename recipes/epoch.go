package recipes

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// EpochKey is the key of the store's epoch, in decimal; without the key it is 0. The epoch is part of every token. It must
// rise whenever the store's revisions may have gone back, as after a restore of a backup, because tokens of two epochs are
// not compared by revision. A restored or forced coordd cluster raises it before it lets a client write; for other stores
// BumpEpoch does, before any client comes back.
const EpochKey = "/coordd/epoch"

// ReadEpoch reads the epoch, linearizably, and the mod revision of its key, 0 where there is none: a transaction that
// compares that one commits only while the epoch is the one that was read. A value that is no epoch is an error.
func ReadEpoch(ctx context.Context, kv clientv3.KV) (epoch uint64, modRevision int64, err error) {
	found, err := getEpoch(ctx, kv)
	return found.number, found.revision, err
}

func getEpoch(ctx context.Context, kv clientv3.KV) (epoch, error) {
	resp, err := kv.Get(ctx, EpochKey)
	if err != nil {
		return epoch{}, fmt.Errorf("recipes: read the epoch: %w", err)
	}
	if len(resp.Kvs) == 0 {
		return epoch{seen: resp.Header.Revision}, nil
	}
	found := resp.Kvs[0]
	number, err := strconv.ParseUint(string(found.Value), 10, 64)
	if err != nil {
		return epoch{}, fmt.Errorf("recipes: the value of %s is %.40q, not an epoch, which is a decimal number of 64 bits", EpochKey, found.Value)
	}
	return epoch{number: number, revision: found.ModRevision, seen: resp.Header.Revision}, nil
}

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

// epoch is what a session knows of the store's epoch.
type epoch struct {
	number   uint64
	revision int64 // mod revision of EpochKey, 0 while there is no such key
	seen     int64 // the store's revision when it was read
	// denied says why the session may not read the epoch, and so take nothing that has a token.
	denied error
}

// readEpoch reads the epoch for a session. Locks in etcd's layout need no permission for it.
func readEpoch(ctx context.Context, client *clientv3.Client) (epoch, error) {
	read, err := getEpoch(ctx, client)
	if errors.Is(err, rpctypes.ErrPermissionDenied) {
		return epoch{denied: fmt.Errorf("recipes: the user needs the permission to read %s: %w", EpochKey, err)}, nil
	}
	return read, err
}

// unchanged is true in a transaction while the epoch is the session's.
func (e epoch) unchanged() clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(EpochKey), "=", e.revision)
}

// promptAnswer is how soon after its creation a watch that starts at a past revision tells on a prompt store how far it is.
// On others that comes with the ticks of some interval. To take one for the other costs time, and nothing else.
const promptAnswer = 50 * time.Millisecond

// watchEpoch ends the session when the epoch changes; what it misses, the next acquisition sees. The watch also keeps the
// stream open that all of the session's watches share and that would otherwise come and go with each. The first one starts
// where the epoch was read and learns in that way whether the store is prompt.
func (s *Session) watchEpoch() {
	if s.epoch.denied != nil {
		return
	}
	opts := []clientv3.OpOption{clientv3.WithRev(s.epoch.seen), clientv3.WithProgressNotify()}
	for first := true; first || sleep(s.ctx, time.Second); first, opts = false, nil {
		var created time.Time
		for resp := range s.watch(s.ctx, EpochKey, opts...) {
			switch {
			case resp.Created:
				created = time.Now()
			case resp.IsProgressNotify() && time.Since(created) < promptAnswer:
				s.prompt.Store(true)
			case slices.ContainsFunc(resp.Events, s.epoch.isNews):
				s.end(ErrEpochChanged)
				return
			}
		}
	}
}

// isNews is false for the change that was read.
func (e epoch) isNews(event *clientv3.Event) bool { return event.Kv.ModRevision != e.seen }
