package recipes

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// In a lock's queue whoever is first owns it, and nothing has to be written for that. Where there is more to decide, how
// much of a semaphore is free, say, or who is to lead next, the first in the queue is granted what it asks for by a
// transaction: that takes its key out of the queue and puts one among the holders, whose create revision is the
// ownership and rises from grant to grant. Who comes to an empty queue is granted at once.

// arbiter decides when the first in the queue is granted what it asks for.
type arbiter interface {
	// reads are what decide has to know, read in one snapshot.
	reads() []clientv3.Op
	// decide returns what the grant writes, nil while there is to wait. It may set what is to be read next time and return
	// errReadMore.
	decide(read []*pb.ResponseOp) (*grant, error)
	// freed is the range of keys, from the first to below the second, in which a change may end the wait.
	freed() (from, to string)
}

// grant is what is written beside the holder's key.
type grant struct {
	only   []clientv3.Cmp // what must not have changed since it was decided
	puts   []clientv3.Op
	value  string   // of the holder's key
	beside []string // further keys of the holder, of no other attempt
}

// petition is one attempt to be granted something.
type petition struct {
	arbiter
	session *Session
	what    string
	path    string
	value   string // while it waits
	about   string
	delayed bool

	waiting *entry // the key in the queue
	holding *entry // the key among the holders
}

func (p *petition) begin(place placement) {
	attempt, named := place.newAttempt(), place.attempt != ""
	mark, holder := p.path+abandonedDir+attempt, p.path+holdersDir+attempt
	p.waiting = p.session.begin(&entry{
		what: p.what, path: p.path, line: p.path + queueDir, key: p.path + queueDir + attempt, mark: mark, value: p.value, about: p.about,
		named: named,
		also:  []string{holder}, // who gives up may be granted it in that moment, by somebody else
	})
	p.holding = p.session.begin(&entry{
		what: p.what, path: p.path, key: holder, mark: mark, value: p.value, about: p.about, delayed: p.delayed, named: named,
	})
}

// acquire returns when the petition is granted: p.holding is what is held then. After an error p is given up.
func (p *petition) acquire(ctx context.Context, place placement, onlyIfFree bool) (err error) {
	if err := errors.Join(p.session.epoch.denied, p.session.Valid(), ctx.Err()); err != nil {
		return fmt.Errorf("recipes: %s %s: %w", p.what, p.path, err)
	}
	p.begin(place)
	ctx, stop := join(ctx, p.session.ctx)
	defer stop()
	if place.attempt != "" { // it may have been granted before
		err = p.appointed(ctx)
	}
	if p.holding.revision == 0 && (err == nil || errors.Is(err, ErrKeyDeleted)) {
		err = p.atOnce(ctx)
	}
	if errors.Is(err, ErrLocked) && !onlyIfFree {
		err = p.inTurn(ctx) // what asked to be granted at once is refused while somebody waits, so to the end of this
	}
	if err == nil {
		p.waiting.cancel(ErrUnlocked)
		p.holding.unanswered += p.waiting.unanswered // the place in the queue must not come back either
		p.holding.beginWatch(p.holding.revision)
		err = errors.Join(p.session.Valid(), ctx.Err())
	}
	if err != nil {
		p.abandon()
		return fmt.Errorf("recipes: %s %s: %w", p.what, p.path, err)
	}
	return nil
}

func (p *petition) abandon() {
	p.waiting.abandon() // first: what is granted to whom waits is not granted after it
	p.holding.abandon()
}

// atOnce is granted if nobody waits and there is enough, else the error is ErrLocked.
func (p *petition) atOnce(ctx context.Context) error {
	nobody := clientv3.Compare(clientv3.CreateRevision(p.path+queueDir).WithPrefix(), "=", 0)
	for {
		var read []*pb.ResponseOp
		err := p.session.retry(ctx, func(ctx context.Context) error {
			resp, err := p.session.client.Txn(ctx).If(nobody).Then(p.reads()...).Commit()
			if err == nil && !resp.Succeeded {
				err = ErrLocked
			}
			if err == nil {
				read = resp.Responses
			}
			return err
		})
		if err != nil {
			return err
		}
		if granted, err := p.try(ctx, read, nobody); granted || err != nil {
			return err
		}
	}
}

// try writes the grant that was decided on what was read. It reports false if something has changed since, and ErrLocked
// if there is to wait.
func (p *petition) try(ctx context.Context, read []*pb.ResponseOp, only clientv3.Cmp, ops ...clientv3.Op) (granted bool, err error) {
	g, err := p.decide(read)
	if errors.Is(err, errReadMore) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if g == nil {
		return false, ErrLocked
	}
	p.holding.value, p.holding.beside = g.value, g.beside
	if p.holding.unanswered == 0 {
		p.holding.also = nil
	}
	for _, key := range g.beside { // any of them may be granted
		p.holding.alsoRemove(key)
	}
	_, _, err = p.holding.create(ctx, append(g.only, only), append(g.puts, ops...)...)
	return p.holding.revision != 0, err
}

// inTurn waits in the queue.
func (p *petition) inTurn(ctx context.Context) error {
	err := p.stand(ctx)
	if !errors.Is(err, ErrKeyDeleted) {
		return err
	}
	// Out of the queue, but perhaps by a grant: of a try whose answer was lost, or by somebody else.
	return p.appointed(ctx)
}

func (p *petition) stand(ctx context.Context) error {
	ungranted := clientv3.Compare(clientv3.CreateRevision(p.holding.key), "=", 0)
	created, before, err := p.waiting.create(ctx, []clientv3.Cmp{ungranted}, p.waiting.getLast())
	if err != nil {
		return err
	}
	if p.waiting.revision == 0 {
		return p.waiting.lost()
	}
	inQueue, stop := join(ctx, p.waiting.ctx)
	defer stop()
	ahead := p.waiting.nextOf(before)
	if !created {
		if ahead, err = p.waiting.ahead(inQueue); err != nil {
			return err
		}
	}
	if err := p.waiting.wait(inQueue, ahead); err != nil {
		return err
	}
	return p.asFirst(inQueue, ctx)
}

// asFirst waits, as the first in the queue, until there is enough. The watch starts at the present and a read follows it,
// as in awaitGone. What was sent must not end with the place in the queue, which a grant takes away, so it has the
// context beyond.
func (p *petition) asFirst(ctx, beyond context.Context) error {
	p.waiting.beginWatch(p.waiting.revision)
	for {
		if err := p.review(ctx, beyond); !errors.Is(err, ErrLocked) {
			return err
		}
		from, to := p.freed()
		for resp := range p.session.watch(ctx, from, clientv3.WithRange(to)) {
			if !resp.Created && len(resp.Events) == 0 {
				continue
			}
			if err := p.review(ctx, beyond); !errors.Is(err, ErrLocked) {
				return err
			}
		}
		if !sleep(ctx, rewatchPause) {
			return context.Cause(ctx)
		}
	}
}

// review looks whether there is enough, and takes it.
func (p *petition) review(ctx, beyond context.Context) error {
	leave := clientv3.OpDelete(p.waiting.key, clientv3.WithPrefix())
	for {
		read, err := p.waiting.readAll(ctx, p.reads()...)
		if err != nil {
			return err
		}
		if granted, err := p.try(beyond, read.Responses, p.waiting.guard(), leave); granted || err != nil {
			return err
		}
	}
}

// appointed looks whether the holder's key is there, with the session's lease, in the session's epoch.
func (p *petition) appointed(ctx context.Context) error {
	h := p.holding
	return p.session.retry(ctx, func(ctx context.Context) error {
		resp, err := p.session.client.Txn(ctx).Then(clientv3.OpGet(h.key), clientv3.OpGet(EpochKey)).Commit()
		if err != nil {
			return err
		}
		if err := p.session.sameEpoch(resp, 1); err != nil {
			return err
		}
		found := first(resp)
		switch {
		case found == nil:
			return h.lost()
		case found.Lease != int64(p.session.lease):
			h.unanswered, p.waiting.unanswered = 0, 0 // what has the name is not to be removed
			return ErrAttemptTaken
		}
		h.revision, h.value, h.cluster = found.CreateRevision, string(found.Value), resp.Header.ClusterId
		h.answer.Store(resp.Header)
		return nil
	})
}
