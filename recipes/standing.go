package recipes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes/fence"
)

// Standing is what a token is worth, by the store.
type Standing int

// The standings.
const (
	Stale        Standing = iota // what it was granted has ended, or it never was granted
	Current                      // it is that of a holder
	OtherCluster                 // the store is another cluster
	OtherEpoch                   // the store's revisions went back since, as when a backup is restored
)

// ErrWrongToken is the error of a token that cannot stand for what it is said to: of no lock, semaphore or election, or not
// of the name given.
var ErrWrongToken = errors.New("recipes: no token of that")

// Claim is an acquisition of which the token is known and nothing else, as to a resource that is shown it, or to a program
// that acts for its holder. It is safe for concurrent use.
type Claim struct {
	client *clientv3.Client
	token  fence.Fields
	path   string
	key    string
	line   string // what the keys begin with that were to go before it; "" where the key is the grant
}

// NewClaim takes up a token of a lock, a semaphore or an election below a default prefix. The name is needed only where the
// token has its digest, as for those that are long, and may be "" otherwise. The error is ErrWrongToken.
func NewClaim(client *clientv3.Client, token fence.Token, name string) (*Claim, error) {
	c := &Claim{client: client, token: token.Fields()}
	var ok bool
	if c.path, ok = pathOfToken(c.token, name); !ok {
		return nil, fmt.Errorf("%w: resource %s, name %q", ErrWrongToken, c.token.Resource, name)
	}
	slash := strings.LastIndexByte(c.token.Key, '/') + 1
	if !isAttemptID(c.token.Key[slash:]) {
		return nil, fmt.Errorf("%w: key %s", ErrWrongToken, c.token.Key)
	}
	c.key = c.path + "/" + c.token.Key
	switch "/" + c.token.Key[:slash] {
	case writersDir:
		c.line = c.path + queueDir
	case readersDir:
		c.line = c.path + writersDir
	case holdersDir:
	default:
		return nil, fmt.Errorf("%w: key %s", ErrWrongToken, c.token.Key)
	}
	return c, nil
}

// pathOfToken finds the path of which the token has the canonical form.
func pathOfToken(t fence.Fields, name string) (path string, ok bool) {
	for _, prefix := range []string{DefaultLockPrefix, DefaultSemaphorePrefix, DefaultElectionPrefix} {
		if name == "" && strings.HasPrefix(t.Resource, prefix+"/") && !strings.Contains(t.Resource[len(prefix)+1:], "/") {
			return t.Resource, true
		}
		place, err := newPlacement(prefix, name, "", "")
		if err != nil {
			continue
		}
		whole := t
		whole.Resource = place.path
		if canonical, err := fence.New(whole); err == nil && canonical.Fields().Resource == t.Resource {
			return place.path, true
		}
	}
	return "", false
}

// Token is the token of who holds a lock, an office or slots of a semaphore, then that of the lowest, in a cluster and an
// epoch; false for the others.
func (p Place) Token(cluster, epoch uint64) (fence.Token, bool) {
	below := max(strings.LastIndex(p.Key, queueDir), strings.LastIndex(p.Key, holdersDir))
	if p.State != Holding || below < 0 {
		return fence.Token{}, false
	}
	fields := fence.Fields{
		Cluster: cluster, Epoch: epoch, Mode: fence.Exclusive, Resource: p.Key[:below], Revision: p.Revision, Key: p.Key[below+1:],
	}
	if p.Shared {
		fields.Mode = fence.Shared
	}
	if taken, err := parseSlots(p.Holder.Slots); err == nil {
		fields.Slot = strconv.FormatInt(taken[0].first, 10)
	}
	token, err := fence.New(fields)
	return token, err == nil
}

// Standing asks the store, linearizably, what the token is worth. lease is the holder's, where it is Current.
func (c *Claim) Standing(ctx context.Context) (s Standing, lease clientv3.LeaseID, err error) {
	ops := []clientv3.Op{clientv3.OpGet(c.key), clientv3.OpGet(EpochKey)}
	if c.line != "" {
		earlier := append(clientv3.WithLastCreate(), clientv3.WithMaxCreateRev(c.token.Revision-1), clientv3.WithKeysOnly())
		ops = append(ops, clientv3.OpGet(c.line, earlier...))
	}
	resp, err := c.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return Stale, 0, fmt.Errorf("recipes: standing of a token of %s: %w", c.path, err)
	}
	kvs := func(i int) []*mvccpb.KeyValue { return resp.Responses[i].GetResponseRange().GetKvs() }
	switch {
	case resp.Header.ClusterId != c.token.Cluster:
		return OtherCluster, 0, nil
	case !c.isEpoch(kvs(1)):
		return OtherEpoch, 0, nil
	case len(kvs(0)) == 0 || kvs(0)[0].CreateRevision != c.token.Revision || !c.hasSlot(kvs(0)[0]):
		return Stale, 0, nil
	case c.line != "" && len(kvs(2)) > 0:
		return Stale, 0, nil
	}
	return Current, clientv3.LeaseID(kvs(0)[0].Lease), nil
}

func (c *Claim) isEpoch(kvs []*mvccpb.KeyValue) bool {
	if len(kvs) == 0 {
		return c.token.Epoch == 0
	}
	return strconv.FormatUint(c.token.Epoch, 10) == string(kvs[0].Value)
}

// hasSlot reports whether a semaphore's holder has the token's slot.
func (c *Claim) hasSlot(kv *mvccpb.KeyValue) bool {
	if c.token.Slot == "" {
		return true
	}
	var who Holder
	if err := json.Unmarshal(kv.Value, &who); err != nil {
		return false
	}
	held, err := parseSlots(who.Slots)
	slot, numberErr := strconv.ParseInt(c.token.Slot, 10, 64)
	return err == nil && numberErr == nil && slices.ContainsFunc(held, func(r slotRange) bool { return r.first <= slot && slot <= r.last })
}

// Release gives up what the token is of, on the holder's behalf, and reports whether it held until now. The acquisition's
// attempt cannot be taken again, and its holder sees that it was given up: Hold.GivenUp.
func (c *Claim) Release(ctx context.Context) (held bool, err error) {
	standing, lease, err := c.Standing(ctx)
	if err != nil || standing != Current {
		return false, err
	}
	session := AttachSession(ctx, c.client, lease)
	defer session.Close()
	e := session.begin(&entry{path: c.path, key: c.key, revision: c.token.Revision})
	e.mark = c.path + abandonedDir + e.attempt()
	if c.line == c.path+queueDir {
		e.also = []string{c.path + readersDir + e.attempt()} // of a writer of an RWMutex
	}
	resp, err := c.client.Txn(ctx).If(e.guard()).Then(append(e.deletes(), e.putMark())...).Commit()
	if err != nil {
		return false, fmt.Errorf("recipes: release by a token of %s: %w", c.path, err)
	}
	return resp.Succeeded, nil
}

// AskToRelease asks the holder to release, as Session.AskToRelease does, and tells by whom and why. The error is
// ErrKeyDeleted if the hold has ended.
func (c *Claim) AskToRelease(ctx context.Context, by Holder) error {
	standing, lease, err := c.Standing(ctx)
	if err != nil {
		return err
	}
	gone := fmt.Errorf("recipes: ask %s to release: %w", c.key, ErrKeyDeleted)
	if standing != Current {
		return gone
	}
	held := clientv3.Compare(clientv3.CreateRevision(c.key), "=", c.token.Revision)
	resp, err := c.client.Txn(ctx).If(held).Then(clientv3.OpPut(c.key+askSuffix, by.String(), clientv3.WithLease(lease))).Commit()
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound) || err == nil && !resp.Succeeded:
		return gone
	case err != nil:
		return fmt.Errorf("recipes: ask %s to release: %w", c.key, err)
	}
	return nil
}

// Proclaim replaces the value of the leader whose token it is. The error is a *LostError if that one leads no more.
func (c *Claim) Proclaim(ctx context.Context, value string) error {
	l, err := c.leadership(ctx)
	if err != nil {
		return err
	}
	return l.Proclaim(ctx, value)
}

// Transfer hands the leadership of the leader whose token it is to the candidate who stands under an attempt, as
// Leadership.Transfer does. Where nobody stands there, it returns ErrNoCandidate and changes nothing; that one leaves at
// the same moment is the exception.
func (c *Claim) Transfer(ctx context.Context, attempt string) error {
	l, err := c.leadership(ctx)
	if err != nil {
		return err
	}
	candidate := c.path + queueDir + attempt
	resp, err := c.client.Get(ctx, candidate, clientv3.WithCountOnly())
	switch {
	case err != nil:
		return fmt.Errorf("recipes: look for candidate %s: %w", candidate, err)
	case resp.Count == 0:
		return fmt.Errorf("recipes: transfer in %s to %q: %w", c.path, attempt, ErrNoCandidate)
	}
	return l.Transfer(ctx, candidate)
}

func (c *Claim) leadership(ctx context.Context) (*Leadership, error) {
	if !strings.HasPrefix(c.path, DefaultElectionPrefix+"/") {
		return nil, fmt.Errorf("%w: %s is no election", ErrWrongToken, c.path)
	}
	standing, lease, err := c.Standing(ctx)
	if err != nil {
		return nil, err
	}
	if standing != Current {
		return nil, &LostError{What: "election " + c.path, Err: ErrKeyDeleted}
	}
	e := Election{placement: placement{path: c.path}, session: AttachSession(ctx, c.client, lease), leaders: c.path + holdersDir}
	return e.Resume(c.key, c.token.Revision), nil
}

// GivenUp reports, of a hold that has ended, whether it was given up for its holder: by Claim.Release or a transfer.
func (h *Hold) GivenUp(ctx context.Context) (bool, error) {
	e := h.entry
	resp, err := e.session.client.Get(ctx, e.path+abandonedDir+e.attempt(), clientv3.WithCountOnly())
	if err != nil {
		return false, fmt.Errorf("recipes: how the hold of %s ended: %w", e.path, err)
	}
	return resp.Count > 0, nil
}

// Hold is the hold on the office.
func (l *Leadership) Hold() *Hold { return l.hold }
