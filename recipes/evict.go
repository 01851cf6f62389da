package recipes

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Evict takes what an attempt has, or its place in the queue, away for good, in one commit, for those who must go on when
// a holder does not. Whoever had it learns so by the end of its Hold.Context, as soon as the news reach it, and what it
// writes until then only a resource that compares tokens refuses. Of a Delayed place the rest of the delay is waived. The
// error is ErrKeyDeleted if what was seen has gone meanwhile. Nothing is repeated: after any other error look again.
func Evict(ctx context.Context, kv clientv3.KV, p Place) error {
	path, dir, attempt, ok := splitKey(p.Key)
	if !ok {
		return fmt.Errorf("recipes: %q is not the key of a place", p.Key)
	}
	ops := deletesOf(path, dir, attempt, p.Holder.Item)
	if p.Lease != clientv3.NoLease { // a creation that comes once more must not bring it back
		ops = append(ops, clientv3.OpPut(path+abandonedDir+attempt, "", clientv3.WithLease(p.Lease)))
	}
	resp, err := kv.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(p.Key), "=", p.Revision)).Then(ops...).Commit()
	if errors.Is(err, rpctypes.ErrLeaseNotFound) || err == nil && !resp.Succeeded {
		err = ErrKeyDeleted
	}
	if err != nil {
		return fmt.Errorf("recipes: evict %s: %w", p.Key, err)
	}
	return nil
}

// splitKey takes the key of a place apart.
func splitKey(key string) (path, dir, attempt string, ok bool) {
	if len(key) < 2*attemptBytes || !isAttemptID(key[len(key)-2*attemptBytes:]) {
		return "", "", "", false
	}
	above, attempt := key[:len(key)-2*attemptBytes], key[len(key)-2*attemptBytes:]
	for _, dir := range []string{writersDir, readersDir, holdersDir, queueDir} {
		if path, ok := strings.CutSuffix(above, dir); ok {
			return path, dir, attempt, true
		}
	}
	return "", "", "", false
}

// deletesOf are for the key of a place, with what stands below it and what lives and ends with it: of a lock the key in
// the other mode, of a queue's item the claim.
func deletesOf(path, dir, attempt, item string) (ops []clientv3.Op) {
	keys := []string{path + dir + attempt}
	switch {
	case dir == writersDir || dir == readersDir:
		keys = []string{path + writersDir + attempt, path + readersDir + attempt}
	case dir == holdersDir && item != "":
		keys = append(keys, path+claimsDir+item)
	}
	for _, key := range keys {
		ops = append(ops, clientv3.OpDelete(key, clientv3.WithPrefix()))
	}
	return ops
}
