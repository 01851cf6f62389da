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

// DefaultQueuePrefix is the default of QueueOptions.Prefix.
const DefaultQueuePrefix = "/coordd/queues"

// QueueOptions are a queue's options; a zero field means its default.
type QueueOptions struct {
	// Prefix is where the queue's keys live, by default DefaultQueuePrefix; see MutexOptions.Prefix.
	Prefix string
	// Reason is shown to those who look at who has claimed items, at most MaxReasonBytes.
	Reason string
}

// Defaults fills the zero fields.
func (o *QueueOptions) Defaults() {
	if o.Prefix == "" {
		o.Prefix = DefaultQueuePrefix
	}
}

// Validate names the first field that is out of range.
func (o *QueueOptions) Validate() error { return validPlacement(o.Prefix, o.Reason, "") }

// Queue names a queue of items, first in, first out. An item is claimed by one consumer at a time, and goes when that
// acknowledges it; if the consumer dies or gives it back, it is delivered again, before all younger ones. So each item is
// worked on at least once, and a token tells a consumer that was overtaken. A Queue holds no state and is safe for
// concurrent use.
type Queue struct {
	placement
	session *Session
	err     error
}

// NewQueue names the queue; nil options mean defaults. A name is 1 to MaxNameBytes of any bytes. An invalid name or option
// is the error of the first use.
func NewQueue(s *Session, name string, o *QueueOptions) *Queue {
	var options QueueOptions
	if o != nil {
		options = *o
	}
	options.Defaults()
	p, err := newPlacement(options.Prefix, name, options.Reason, "")
	return &Queue{placement: p, session: s, err: errors.Join(options.Validate(), err)}
}

// The keys of a queue. Items are numbered as they come, so that the order of their keys is theirs; the number of the
// youngest is the value of lastKey. A claim stands beside its holder's key, below the name of the item, under a name of its
// own: so who removes a claim that is gone removes nobody else's.
const (
	itemsDir  = "/items/"
	claimsDir = "/claims/"
	lastKey   = "/last"
)

// ErrNotQueue is the error of using a path where something else stands.
var ErrNotQueue = errors.New("recipes: not a queue")

// ErrInDoubt is the error of Queue.Put when the item may have been put, and claimed and acknowledged since, or may not.
var ErrInDoubt = errors.New("recipes: it is not known whether the item was put")

// Put puts an item of at most MaxValueBytes at the end, with one read and one commit, and returns its name in the queue. It
// repeats requests that fail for the moment until ctx ends, and puts the item once. After ErrInDoubt, and when ctx ends, it
// may have been put.
func (q *Queue) Put(ctx context.Context, value []byte) (item string, err error) {
	if q.err != nil {
		return "", q.err
	}
	put := &itemPut{Queue: q, attempt: newAttemptID(), value: string(value)}
	if err := q.session.checkValue(put.value); err != nil {
		return "", err
	}
	err = q.session.perform(ctx, "put in queue "+q.path, func(ctx context.Context) error { return q.session.retry(ctx, put.try) })
	if err != nil {
		return "", err
	}
	return put.item, nil
}

// itemPut is one Put.
type itemPut struct {
	*Queue
	attempt string
	value   string
	item    string
	// doubt says that item may be put by a transaction sent when lastKey was of the revision doubted.
	doubt   bool
	doubted int64
}

func (p *itemPut) try(ctx context.Context) error {
	for {
		last, revision, err := p.last(ctx)
		if err != nil {
			return err
		}
		if p.doubt && revision != p.doubted {
			if put, err := p.settle(ctx); put || err != nil {
				return err
			}
		}
		p.item = fmt.Sprintf("%020d-%s", last+1, p.attempt)
		resp, err := p.session.client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(p.path+lastKey), "=", revision)).
			Then(clientv3.OpPut(p.path+lastKey, strconv.FormatUint(last+1, 10)), clientv3.OpPut(p.path+itemsDir+p.item, p.value)).
			Commit()
		switch {
		case err != nil:
			if !refused(err) {
				p.doubt, p.doubted = true, revision
			}
			return err
		case resp.Succeeded:
			return nil
		}
	}
}

// settle finds out whether the item in doubt was put: of its number there is one.
func (p *itemPut) settle(ctx context.Context) (put bool, err error) {
	number, _, _ := strings.Cut(p.item, "-")
	resp, err := p.session.client.Get(ctx, p.path+itemsDir+number+"-", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	switch {
	case err != nil:
		return false, err
	case len(resp.Kvs) == 0:
		return false, ErrInDoubt
	}
	p.doubt = false
	return string(resp.Kvs[0].Key) == p.path+itemsDir+p.item, nil
}

// last reads the number of the youngest item.
func (q *Queue) last(ctx context.Context) (number uint64, revision int64, err error) {
	resp, err := q.session.client.Get(ctx, q.path+lastKey)
	if err != nil || len(resp.Kvs) == 0 {
		return 0, 0, err
	}
	if number, err = strconv.ParseUint(string(resp.Kvs[0].Value), 10, 63); err != nil {
		return 0, 0, fmt.Errorf("%w: %s is %q", ErrNotQueue, resp.Kvs[0].Key, resp.Kvs[0].Value)
	}
	return number, resp.Kvs[0].ModRevision, nil
}

// Len counts the items that are not acknowledged.
func (q *Queue) Len(ctx context.Context) (items int64, err error) {
	if q.err != nil {
		return 0, q.err
	}
	err = q.session.retry(ctx, func(ctx context.Context) error {
		resp, err := q.session.client.Get(ctx, q.path+itemsDir, clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil {
			items = resp.Count
		}
		return err
	})
	return items, err
}

// Delivery is an item that a consumer has claimed. It is safe for concurrent use.
type Delivery struct {
	*Hold
	queue *Queue

	// Item is the item's name in the queue.
	Item  string
	Value []byte
	// Claims is how often the item was claimed, 1 the first time.
	Claims int64
}

// Claim waits for an item that nobody has claimed and claims the oldest, until ctx ends. It takes one commit if no other
// consumer waits and two otherwise. As to errors and interruptions it is like Mutex.Lock. Unlock gives the item back, to be
// delivered again at once.
func (q *Queue) Claim(ctx context.Context) (*Delivery, error) { return q.claim(ctx, false) }

// TryClaim claims the oldest item, and returns ErrLocked if none is unclaimed or another consumer waits.
func (q *Queue) TryClaim(ctx context.Context) (*Delivery, error) { return q.claim(ctx, true) }

func (q *Queue) claim(ctx context.Context, onlyIfThere bool) (*Delivery, error) {
	if q.err != nil {
		return nil, q.err
	}
	who := q.session.holder(q.reason)
	claims := &itemArbiter{Queue: q, who: who, claim: newAttemptID(), limit: firstItems}
	p := &petition{
		arbiter: claims, session: q.session, what: "queue", path: q.path, value: who.String(), delayed: true,
	}
	if err := p.acquire(ctx, q.placement, onlyIfThere); err != nil {
		return nil, err
	}
	var granted Holder
	_ = json.Unmarshal([]byte(p.holding.value), &granted) // written by this package, under a name of its own
	p.holding.alsoRemove(claims.claimOf(granted.Item))
	d := &Delivery{Hold: newHold(p.holding, fence.Exclusive, p.holding.revision), queue: q, Item: granted.Item}
	d.token = d.slotToken(granted.Item)
	if err := d.fetch(ctx); err != nil {
		p.abandon()
		return nil, fmt.Errorf("recipes: queue %s: %w", q.path, err)
	}
	return d, nil
}

// fetch reads the item, which stays as it is while it is claimed.
func (d *Delivery) fetch(ctx context.Context) error {
	resp, err := d.entry.readAll(ctx, clientv3.OpGet(d.queue.path+itemsDir+d.Item))
	if err != nil {
		return err
	}
	item := first(resp)
	if item == nil {
		return fmt.Errorf("item %s: %w", d.Item, ErrKeyDeleted)
	}
	d.Value, d.Claims = item.Value, item.Version-1
	return nil
}

// Ack takes the item out of the queue for good; from the call on the claim is over, whatever it returns. A *LostError means
// that the claim had ended before and the item is delivered again. Any other error means that the store did not confirm
// until ctx ended: the item is delivered again unless it did.
func (d *Delivery) Ack(ctx context.Context) error {
	if err := d.end(); err != nil {
		return err
	}
	e, item := d.entry, d.queue.path+itemsDir+d.Item
	ctx, stop := join(ctx, e.session.ctx)
	defer stop()
	tries := 0
	err := e.session.retry(ctx, func(ctx context.Context) error {
		tries++
		resp, err := e.session.client.Txn(ctx).If(e.guard()).
			Then(append(e.ends(), clientv3.OpDelete(item))...).
			Else(clientv3.OpGet(item, clientv3.WithKeysOnly())).Commit()
		switch {
		case err != nil || resp.Succeeded:
			return err
		case tries > 1 && first(resp) == nil: // by a try whose answer was lost, or by another consumer: it is done
			return nil
		}
		return e.lost()
	})
	if err != nil {
		e.abandon()
		return fmt.Errorf("recipes: queue %s: acknowledge %s: %w", d.queue.path, d.Item, err)
	}
	return nil
}

// firstItems is how many items a consumer looks at first to find one that is not claimed.
const firstItems = 16

// itemArbiter grants the oldest item that nobody has claimed.
type itemArbiter struct {
	*Queue
	who   Holder
	claim string // the name of its claims
	limit int64
}

func (a *itemArbiter) reads() []clientv3.Op {
	return []clientv3.Op{
		clientv3.OpGet(a.path+itemsDir, clientv3.WithPrefix(), clientv3.WithLimit(a.limit), clientv3.WithKeysOnly()),
		clientv3.OpGet(a.path+claimsDir, clientv3.WithPrefix(), clientv3.WithKeysOnly()),
	}
}

// freed covers the claims and, behind them, the items.
func (a *itemArbiter) freed() (from, to string) {
	return a.path + claimsDir, clientv3.GetPrefixRangeEnd(a.path + itemsDir)
}

func (a *itemArbiter) decide(read []*pb.ResponseOp) (*grant, error) {
	items := read[0].GetResponseRange()
	claimed := make(map[string]bool)
	for _, kv := range read[1].GetResponseRange().GetKvs() {
		item, _, _ := strings.Cut(string(kv.Key[len(a.path+claimsDir):]), "/")
		claimed[item] = true
	}
	for _, kv := range items.GetKvs() {
		if item := string(kv.Key[len(a.path+itemsDir):]); !claimed[item] {
			return a.grant(item, kv), nil
		}
	}
	if items.GetMore() {
		a.limit = int64(len(claimed)) + firstItems
		return nil, errReadMore
	}
	return nil, nil
}

// grant claims the item. Putting it again with its value counts the claims, as its version.
func (a *itemArbiter) grant(item string, kv *mvccpb.KeyValue) *grant {
	who := a.who
	who.Item = item
	return &grant{
		only: []clientv3.Cmp{
			clientv3.Compare(clientv3.ModRevision(string(kv.Key)), "=", kv.ModRevision),
			clientv3.Compare(clientv3.CreateRevision(a.path+claimsDir+item+"/").WithPrefix(), "=", 0),
		},
		puts:   []clientv3.Op{clientv3.OpPut(string(kv.Key), "", clientv3.WithIgnoreValue())},
		value:  who.String(),
		beside: []string{a.claimOf(item)},
	}
}

func (a *itemArbiter) claimOf(item string) string { return a.path + claimsDir + item + "/" + a.claim }
