package recipes

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// State says what an attempt has.
type State string

// The states of a Place.
const (
	Holding State = "holding"
	Waiting State = "waiting"
	Delayed State = "delayed" // it is gone, and the lock delay keeps from others what it had
)

// Place is an attempt as others see it: who holds a lock, a semaphore, an office or an item, or waits for it.
type Place struct {
	Key      string           `json:"key"`
	Revision int64            `json:"revision"` // create revision of Key, 0 if Delayed: then it has gone
	Lease    clientv3.LeaseID `json:"lease"`
	State    State            `json:"state"`
	Shared   bool             `json:"shared,omitempty"` // of a lock: to read
	Holder   Holder           `json:"holder"`
	Value    string           `json:"value,omitempty"`    // of an election: what is proclaimed
	AskedBy  *Holder          `json:"asked_by,omitempty"` // who asks the holder to release
	order    int64
}

// Listing is what stands below one name.
type Listing struct {
	Name   string  `json:"name"`
	Limit  *int64  `json:"limit,omitempty"` // of a semaphore that has one
	Places []Place `json:"places"`          // who holds first, then who waits, in the order of their turns
}

// Places returns who holds the lock and who waits for it, in the order of their turns, as of one revision.
func (l *lock) Places(ctx context.Context) ([]Place, error) {
	if l.etcdLayout && l.err == nil {
		return nil, errors.New("recipes: there are no places in etcd's layout")
	}
	return placesOf(ctx, l.session, l.path, l.err)
}

// Places returns who holds slots and who waits for some, in the order of their turns, as of one revision.
func (s *Semaphore) Places(ctx context.Context) ([]Place, error) {
	return placesOf(ctx, s.session, s.path, s.err)
}

// Places returns who leads and who stands, in the order of their turns, as of one revision.
func (e *Election) Places(ctx context.Context) ([]Place, error) {
	if e.etcdLayout && e.err == nil {
		return nil, errors.New("recipes: there are no places in etcd's layout")
	}
	return placesOf(ctx, e.session, e.path, e.err)
}

// Places returns who has claimed items and who waits for some, in the order of their turns, as of one revision.
func (q *Queue) Places(ctx context.Context) ([]Place, error) {
	return placesOf(ctx, q.session, q.path, q.err)
}

func placesOf(ctx context.Context, s *Session, path string, err error) ([]Place, error) {
	if err != nil {
		return nil, err
	}
	var kvs []*mvccpb.KeyValue
	err = s.retry(ctx, func(ctx context.Context) error {
		// The holders, and behind them the queue.
		resp, err := s.client.Get(ctx, path+holdersDir, clientv3.WithRange(clientv3.GetPrefixRangeEnd(path+queueDir)))
		if err == nil {
			kvs = resp.Kvs
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("recipes: places of %s: %w", path, err)
	}
	return arrange(path, kvs), nil
}

// listPage bounds the keys of one answer of List.
const listPage = 1000

// List yields what stands below a prefix, as DefaultLockPrefix or DefaultSemaphorePrefix, by name and as of one revision.
func List(ctx context.Context, kv clientv3.KV, prefix string) (all []Listing, err error) {
	from, to := prefix+"/", clientv3.GetPrefixRangeEnd(prefix+"/")
	var kvs []*mvccpb.KeyValue
	opts := []clientv3.OpOption{clientv3.WithRange(to), clientv3.WithLimit(listPage)}
	at := int64(0) // the revision of the first page
	for more := true; more; {
		resp, err := kv.Get(ctx, from, opts...)
		if err != nil {
			return nil, fmt.Errorf("recipes: list %s: %w", prefix, err)
		}
		kvs, more = append(kvs, resp.Kvs...), resp.More
		if more {
			from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
			at = cmp.Or(at, resp.Header.Revision) // that of a later page's answer is the present
			opts = append(opts[:2:2], clientv3.WithRev(at))
		}
	}
	for len(kvs) > 0 {
		name, _, _ := strings.Cut(string(kvs[0].Key[len(prefix)+1:]), "/")
		path := prefix + "/" + name + "/"
		n := slices.IndexFunc(kvs, func(kv *mvccpb.KeyValue) bool { return !strings.HasPrefix(string(kv.Key), path) })
		if n < 0 {
			n = len(kvs)
		}
		if n == 0 {
			kvs = kvs[1:] // a key without a name, of somebody else
			continue
		}
		all = append(all, listing(prefix+"/"+name, name, kvs[:n]))
		kvs = kvs[n:]
	}
	return all, nil
}

func listing(path, escaped string, kvs []*mvccpb.KeyValue) Listing {
	l := Listing{Name: escaped, Places: arrange(path, kvs)}
	if name, err := url.PathUnescape(escaped); err == nil {
		l.Name = name
	}
	for _, kv := range kvs {
		if string(kv.Key) == path+limitKey {
			if limit, _, err := parseLimit([]*mvccpb.KeyValue{kv}); err == nil {
				l.Limit = &limit
			}
		}
	}
	return l
}

// arrange makes places of the keys below a path.
func arrange(path string, kvs []*mvccpb.KeyValue) []Place {
	attempts := make(map[string]*Place)
	for _, kv := range kvs {
		dir, attempt, suffix, ok := parseKey(string(kv.Key[len(path):]))
		if !ok {
			continue
		}
		p := attempts[attempt]
		if p == nil {
			p = &Place{State: Delayed, Shared: true, order: kv.CreateRevision}
			attempts[attempt] = p
		}
		p.add(dir, suffix, kv)
	}
	places := make([]Place, 0, len(attempts))
	for _, p := range attempts {
		places = append(places, *p)
	}
	slices.SortFunc(places, func(a, b Place) int { return cmp.Compare(a.order, b.order) })
	letIn(places)
	slices.SortStableFunc(places, func(a, b Place) int { return cmp.Compare(rank(a), rank(b)) })
	return places
}

// parseKey takes apart what follows a path: a directory, an attempt and what stands below it.
func parseKey(rest string) (dir, attempt, suffix string, ok bool) {
	for _, dir := range []string{writersDir, readersDir, holdersDir, queueDir} {
		below, found := strings.CutPrefix(rest, dir)
		if !found {
			continue
		}
		if len(below) < 2*attemptBytes || !isAttemptID(below[:2*attemptBytes]) {
			return "", "", "", false
		}
		return dir, below[:2*attemptBytes], below[2*attemptBytes:], true
	}
	return "", "", "", false
}

// add takes in one of the attempt's keys.
func (p *Place) add(dir, suffix string, kv *mvccpb.KeyValue) {
	p.order = min(p.order, kv.CreateRevision)
	if dir != readersDir {
		p.Shared = false
	}
	switch suffix {
	case aboutSuffix:
		_ = json.Unmarshal(kv.Value, &p.Holder)
	case askSuffix:
		p.AskedBy = new(Holder)
		_ = json.Unmarshal(kv.Value, p.AskedBy)
	case delaySuffix:
		_ = json.Unmarshal(kv.Value, &p.Holder)
		if p.State == Delayed {
			p.Key = strings.TrimSuffix(string(kv.Key), delaySuffix)
		}
	case "":
		if p.Key != "" && dir == readersDir {
			return // of a writer, whose other key counts
		}
		p.Key, p.Revision, p.Lease = string(kv.Key), kv.CreateRevision, clientv3.LeaseID(kv.Lease)
		if p.State = Waiting; dir == holdersDir {
			p.State = Holding
		}
		if json.Unmarshal(kv.Value, &p.Holder) != nil || p.Holder.Host == "" {
			p.Value = string(kv.Value)
		}
	}
}

// letIn gives those of a lock's queue, in their order, the state they have by their place. Others have theirs already.
func letIn(places []Place) {
	readersOnly := true
	for i := range places {
		p := &places[i]
		if p.State == Waiting && isOfLock(p.Key) && (i == 0 || p.Shared && readersOnly) {
			p.State = Holding
		}
		readersOnly = readersOnly && p.Shared
	}
}

func isOfLock(key string) bool {
	return strings.Contains(key, writersDir) || strings.Contains(key, readersDir)
}

// rank sorts who waits behind who holds.
func rank(p Place) int {
	if p.State == Waiting {
		return 1
	}
	return 0
}

// AskToRelease asks whoever is at a place to release what it holds: Hold.ReleaseAsked tells it, and by whom and why. It is
// up to the holder. reason has at most MaxReasonBytes. The error is ErrKeyDeleted if the holder has gone meanwhile.
func (s *Session) AskToRelease(ctx context.Context, p Place, reason string) error {
	switch {
	case p.State != Holding || p.Revision < 1:
		return fmt.Errorf("recipes: %s holds nothing", strconv.Quote(p.Key))
	case len(reason) > MaxReasonBytes:
		return fmt.Errorf("recipes: reason has %d bytes, at most %d", len(reason), MaxReasonBytes)
	}
	who := s.holder(reason).String()
	ask := func(ctx context.Context) error {
		resp, err := s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(p.Key), "=", p.Revision)).
			Then(clientv3.OpPut(p.Key+askSuffix, who, clientv3.WithLease(p.Lease))).Commit()
		if errors.Is(err, rpctypes.ErrLeaseNotFound) || err == nil && !resp.Succeeded {
			return ErrKeyDeleted
		}
		return err
	}
	return s.perform(ctx, "ask "+p.Key+" to release", func(ctx context.Context) error { return s.retry(ctx, ask) })
}
