package recipes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes/fence"
)

// Bounds and defaults of SemaphoreOptions.
const (
	DefaultSemaphorePrefix = "/coordd/semaphores"
	MaxLimit               = maxSlots
)

const maxSlots = 1 << 30

// SemaphoreOptions are a semaphore's options; a zero field means its default.
type SemaphoreOptions struct {
	// Prefix is where the semaphore's keys live, by default DefaultSemaphorePrefix; see MutexOptions.Prefix.
	Prefix string
	// Reason is shown to those who look at who holds the semaphore, at most MaxReasonBytes.
	Reason string
	// Attempt names the acquisition; see MutexOptions.Attempt.
	Attempt string
	// Limit, 1 to MaxLimit, is given to a semaphore that has no limit yet. The limit that is in the store counts; without
	// either, acquisitions return ErrNoLimit.
	Limit int64
}

// Defaults fills the zero fields.
func (o *SemaphoreOptions) Defaults() {
	if o.Prefix == "" {
		o.Prefix = DefaultSemaphorePrefix
	}
}

// Validate names the first field that is out of range.
func (o *SemaphoreOptions) Validate() error {
	if o.Limit < 0 || o.Limit > MaxLimit {
		return fmt.Errorf("recipes: semaphore limit %d is not within 1 to %d", o.Limit, MaxLimit)
	}
	return validPlacement(o.Prefix, o.Reason, o.Attempt)
}

// Semaphore names a fenced, weighted, first-come-first-served semaphore. Its limit stands in the store and can be changed
// at any time. What is used is the sum of the holders that are there, so nothing leaks when one crashes. It holds no state
// and is safe for concurrent use.
//
// The limit is a number of slots, and a holder of weight w has w of them, the lowest that are free. Holders of different
// slots are all legitimate, so resources compare tokens by slot: each of at most limit slots has one valid holder.
type Semaphore struct {
	placement
	session *Session
	limit   int64
	err     error
}

// NewSemaphore names the semaphore; nil options mean defaults. A name is 1 to MaxNameBytes of any bytes. An invalid name or
// option is the error of the first use.
func NewSemaphore(s *Session, name string, o *SemaphoreOptions) *Semaphore {
	var options SemaphoreOptions
	if o != nil {
		options = *o
	}
	options.Defaults()
	p, err := newPlacement(options.Prefix, name, options.Reason, options.Attempt)
	return &Semaphore{placement: p, session: s, limit: options.Limit, err: errors.Join(options.Validate(), err)}
}

// Acquire waits for weight, 1 to the limit, until ctx ends. It takes one commit when nobody waits and enough is free, and
// two otherwise. A weight above the limit is ErrWeightExceedsLimit, also when the limit is lowered while it is first. As
// to errors and interruptions it is like Mutex.Lock.
func (s *Semaphore) Acquire(ctx context.Context, weight int64) (*Hold, error) {
	return s.acquire(ctx, weight, false)
}

// TryAcquire takes weight if nobody waits and enough is free, and returns ErrLocked otherwise, having written nothing.
func (s *Semaphore) TryAcquire(ctx context.Context, weight int64) (*Hold, error) {
	return s.acquire(ctx, weight, true)
}

// Do runs f while it holds weight, as Mutex.Do does.
func (s *Semaphore) Do(ctx context.Context, weight int64, f func(context.Context, fence.Token) error) error {
	return do(ctx, func(ctx context.Context) (*Hold, error) { return s.Acquire(ctx, weight) }, f)
}

func (s *Semaphore) acquire(ctx context.Context, weight int64, onlyIfFree bool) (*Hold, error) {
	if s.err != nil {
		return nil, s.err
	}
	if weight < 1 {
		return nil, fmt.Errorf("recipes: semaphore %s: weight %d is below 1", s.path, weight)
	}
	who := s.session.holder(s.reason)
	who.Weight = weight
	p := &petition{
		arbiter: &slotArbiter{s, who}, session: s.session, what: "semaphore", path: s.path, value: who.String(), delayed: true,
	}
	if err := p.acquire(ctx, s.placement, onlyIfFree); err != nil {
		return nil, err
	}
	var granted Holder
	_ = json.Unmarshal([]byte(p.holding.value), &granted) // written by this package, under a name of its own
	taken, err := parseSlots(granted.Slots)
	if err != nil {
		p.abandon()
		return nil, fmt.Errorf("recipes: semaphore %s: holder %s: %w", s.path, p.holding.key, err)
	}
	return newSlotHold(p.holding, taken), nil
}

// Limit returns the limit, or ErrNoLimit.
func (s *Semaphore) Limit(ctx context.Context) (limit int64, err error) {
	if s.err != nil {
		return 0, s.err
	}
	var resp *clientv3.GetResponse
	err = s.session.retry(ctx, func(ctx context.Context) (err error) {
		resp, err = s.session.client.Get(ctx, s.path+limitKey)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("recipes: semaphore %s: %w", s.path, err)
	}
	limit, _, err = parseLimit(resp.Kvs)
	return limit, err
}

// SetLimit sets the limit, 0 to MaxLimit. A higher one lets those who wait in at once. A lower one revokes nothing: nobody
// is let in until enough have left. With 0 nobody is.
func (s *Semaphore) SetLimit(ctx context.Context, limit int64) error {
	if s.err != nil {
		return s.err
	}
	if limit < 0 || limit > MaxLimit {
		return fmt.Errorf("recipes: semaphore limit %d is not within 0 to %d", limit, MaxLimit)
	}
	return s.session.perform(ctx, "limit of semaphore "+s.path, func(ctx context.Context) error {
		return s.session.retry(ctx, func(ctx context.Context) error { return s.replaceLimit(ctx, limit) })
	})
}

// replaceLimit puts the limit over the one it has read, so that a try cannot come late over another limit.
func (s *Semaphore) replaceLimit(ctx context.Context, limit int64) error {
	key := s.path + limitKey
	for {
		old, err := s.session.client.Get(ctx, key, clientv3.WithKeysOnly())
		if err != nil {
			return err
		}
		var revision int64
		for _, kv := range old.Kvs {
			revision = kv.ModRevision
		}
		resp, err := s.session.client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
			Then(clientv3.OpPut(key, strconv.FormatInt(limit, 10))).Commit()
		if err != nil || resp.Succeeded {
			return err
		}
	}
}

const (
	limitKey = "/limit"
	// grantsKey is put by every grant, so that two never rest on the same reading of the holders.
	grantsKey = "/grants"
)

// slotArbiter grants slots of a semaphore.
type slotArbiter struct {
	*Semaphore
	who Holder
}

func (a *slotArbiter) reads() []clientv3.Op {
	return []clientv3.Op{
		clientv3.OpGet(a.path + limitKey), clientv3.OpGet(a.path + grantsKey), clientv3.OpGet(a.path+holdersDir, clientv3.WithPrefix()),
	}
}

// freed covers the holders and, behind them, the limit.
func (a *slotArbiter) freed() (from, to string) {
	return a.path + holdersDir, a.path + limitKey + "\x00"
}

func (a *slotArbiter) decide(read []*pb.ResponseOp) (*grant, error) {
	kvs := func(i int) []*mvccpb.KeyValue { return read[i].GetResponseRange().GetKvs() }
	var g grant
	limit, limitRevision, err := parseLimit(kvs(0))
	if errors.Is(err, ErrNoLimit) && a.limit > 0 {
		limit, err = a.limit, nil
		g.puts = append(g.puts, clientv3.OpPut(a.path+limitKey, strconv.FormatInt(limit, 10)))
	}
	if err != nil {
		return nil, err
	}
	if a.who.Weight > limit {
		return nil, fmt.Errorf("%w: %d of %d", ErrWeightExceedsLimit, a.who.Weight, limit)
	}
	taken, err := takenSlots(a.path, kvs(2))
	if err != nil {
		return nil, err
	}
	if taken.count()+a.who.Weight > limit {
		return nil, nil
	}
	var grants int64
	for _, kv := range kvs(1) {
		grants = kv.ModRevision
	}
	who := a.who
	who.Slots = lowest(taken, who.Weight).String()
	g.value = who.String()
	g.puts = append(g.puts, clientv3.OpPut(a.path+grantsKey, ""))
	g.only = []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(a.path+limitKey), "=", limitRevision),
		clientv3.Compare(clientv3.ModRevision(a.path+grantsKey), "=", grants),
	}
	return &g, nil
}

func parseLimit(kvs []*mvccpb.KeyValue) (limit, revision int64, err error) {
	if len(kvs) == 0 {
		return 0, 0, ErrNoLimit
	}
	limit, err = strconv.ParseInt(string(kvs[0].Value), 10, 64)
	if err != nil || limit < 0 || limit > MaxLimit {
		return 0, 0, fmt.Errorf("recipes: semaphore limit %q in %s is no number from 0 to %d", kvs[0].Value, kvs[0].Key, MaxLimit)
	}
	return limit, kvs[0].ModRevision, nil
}

// takenSlots is what the holders have, also those of whom only the lock delay is left.
func takenSlots(path string, holders []*mvccpb.KeyValue) (slots, error) {
	taken := make([]slots, 0, len(holders))
	for _, kv := range holders {
		if strings.HasSuffix(string(kv.Key), askSuffix) {
			continue
		}
		var who Holder
		err := json.Unmarshal(kv.Value, &who)
		if err != nil {
			return nil, fmt.Errorf("recipes: semaphore %s: %s is no holder: %w", path, kv.Key, err)
		}
		has, err := parseSlots(who.Slots)
		if err != nil {
			return nil, fmt.Errorf("recipes: semaphore %s: holder %s: %w", path, kv.Key, err)
		}
		taken = append(taken, has)
	}
	return union(taken...), nil
}
