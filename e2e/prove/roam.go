package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/e2e/lincheck"
	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/fence"
)

const (
	roamTTLSeconds = 3
	roamersEach    = 3 // in a worker
	roamLimit      = 3 // of the semaphore, at first
	sessionMarks   = "/prove/sessions/"
	visitsDir      = "/prove/visits/"
)

// target is something that roamers acquire.
type target struct {
	Kind kind
	Name string
}

const rwMutex kind = "read-write lock"

var targets = []target{{mutex, "m0"}, {mutex, "m1"}, {rwMutex, "r0"}, {semaphore, "s0"}, {election, "e0"}}

func (t target) path() string {
	switch t.Kind {
	case semaphore:
		return recipes.DefaultSemaphorePrefix + "/" + t.Name
	case election:
		return recipes.DefaultElectionPrefix + "/" + t.Name
	}
	return recipes.DefaultLockPrefix + "/" + t.Name
}

func (t target) visits() string { return visitsDir + t.Name }

// crowd is the roamers of a worker: they acquire one thing after the other until they
// are told to stop.
type crowd struct {
	client   *clientv3.Client
	resource resourceClient
	diary    *diary
	options  recipes.SessionOptions

	stop    context.CancelFunc
	settled chan struct{} // closed when all roamers have given back what they had
	once    sync.Once
}

// start lets the roamers go. They share a session, and get a new one when it is lost.
func (c *crowd) start() {
	c.settled = make(chan struct{})
	roaming, stop := context.WithCancel(context.Background())
	c.stop = stop
	go func() {
		for {
			c.session(roaming)
		}
	}()
}

// settle stops the roamers and returns when they have given back what they had.
func (c *crowd) settle() {
	c.stop()
	<-c.settled
}

// session is one session's life. It goes on when the roamers have settled, so that what
// they leave behind cannot go away with it.
func (c *crowd) session(roaming context.Context) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := recipes.NewSession(ctx, c.client, &c.options)
	if err != nil {
		return
	}
	defer s.Close()
	mark := fmt.Sprintf("%s%016x", sessionMarks, int64(s.Lease()))
	if _, err := c.client.Put(ctx, mark, "", clientv3.WithLease(s.Lease())); err != nil {
		return
	}
	var roamers sync.WaitGroup
	for range roamersEach {
		roamers.Go(func() {
			for roaming.Err() == nil && s.Valid() == nil {
				r := roamer{c, s, targets[rand.N(len(targets))]}
				r.stay(roaming)
				pause(roaming, rand.N(80*time.Millisecond))
			}
		})
	}
	roamers.Wait()
	if roaming.Err() != nil {
		c.once.Do(func() { close(c.settled) })
		<-s.Context().Done()
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// roamer is somebody on one stay.
type roamer struct {
	*crowd
	session *recipes.Session
	target  target
}

// stay acquires something, uses it and gives it back.
func (r roamer) stay(roaming context.Context) {
	ctx, cancel := roaming, context.CancelFunc(func() {})
	if rand.N(5) == 0 { // one who gives up soon
		ctx, cancel = context.WithTimeout(roaming, rand.N(200*time.Millisecond))
	}
	defer cancel()
	switch r.target.Kind {
	case mutex:
		if rand.N(6) == 0 {
			r.both(ctx)
			return
		}
		m := recipes.NewMutex(r.session, r.target.Name, nil)
		r.exclusive(ctx, pick(m.Lock, m.TryLock))
	case rwMutex:
		r.readOrWrite(ctx)
	case semaphore:
		r.slots(ctx)
	case election:
		r.lead(ctx)
	}
}

// pick mostly waits.
func pick[F any](wait, try F) F {
	if rand.N(4) == 0 {
		return try
	}
	return wait
}

type acquireFunc func(context.Context) (*recipes.Hold, error)

// acquire acquires and writes it down, with what else there is to say.
func (r roamer) acquire(ctx context.Context, acquire acquireFunc, more lincheck.Op) *recipes.Hold {
	called := now()
	hold, err := acquire(ctx)
	if err != nil {
		return nil
	}
	op := more
	op.Call, op.Return, op.Do, op.Who, op.Token = called, now(), lincheck.Acquire, hold.Key(), hold.Token().Revision()
	r.diary.write(line{Target: r.target, Op: &op})
	return hold
}

func (r roamer) release(who string, release func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	op := lincheck.Op{Call: now(), Do: lincheck.Release, Who: who}
	if release(ctx) != nil {
		return // it was lost, or will be; the judge knows by the missing line
	}
	op.Return = now()
	r.diary.write(line{Target: r.target, Op: &op})
}

func (r roamer) exclusive(ctx context.Context, acquire acquireFunc) {
	if hold := r.acquire(ctx, acquire, lincheck.Op{}); hold != nil {
		r.visit(hold, false)
		r.release(hold.Key(), hold.Unlock)
	}
}

// both locks the mutexes together: they come in the order of their names.
func (r roamer) both(ctx context.Context) {
	called := now()
	holds, err := recipes.LockAll(ctx, recipes.NewMutex(r.session, targets[1].Name, nil), recipes.NewMutex(r.session, targets[0].Name, nil))
	if err != nil {
		return
	}
	returned := now()
	for i, hold := range holds {
		r.diary.write(line{Target: targets[i], Op: &lincheck.Op{
			Call: called, Return: returned, Do: lincheck.Acquire, Who: hold.Key(), Token: hold.Token().Revision(),
		}})
	}
	for i, hold := range holds {
		of := roamer{r.crowd, r.session, targets[i]}
		of.visit(hold, false)
		of.release(hold.Key(), hold.Unlock)
	}
}

// visit says so in the store, guarded, and uses the resource in between.
func (r roamer) visit(h *recipes.Hold, shared bool) (said bool) {
	if !r.say(h, "enter") {
		return false
	}
	r.use(h, h.Token(), shared)
	return r.say(h, "leave")
}

func (r roamer) say(h *recipes.Hold, action string) (said bool) {
	ctx, cancel := context.WithTimeout(h.Context(), 5*time.Second)
	defer cancel()
	r.believe(h)
	resp, err := r.client.Txn(ctx).If(h.Guard()).Then(clientv3.OpPut(r.target.visits(), action+" "+h.Key())).Commit()
	return err == nil && resp.Succeeded
}

// holder is what a roamer can be: recipes.Hold or recipes.Leadership.
type holder interface {
	Key() string
	Valid() error
	Verify(context.Context) error
}

func (r roamer) believe(h holder) {
	at := now()
	if h.Valid() == nil {
		r.diary.write(line{Target: r.target, Who: h.Key(), Believed: at})
	}
}

// use raises the number by one, or as a reader looks at it twice.
func (r roamer) use(h holder, token fence.Token, shared bool) {
	r.believe(h)
	if _, ok := r.access(h, token, "advance", 0); !ok {
		return
	}
	number, ok := r.access(h, token, "read", 0)
	if !ok {
		return
	}
	pause(context.Background(), rand.N(15*time.Millisecond))
	if !shared {
		r.access(h, token, "write", number+1)
		return
	}
	if again, ok := r.access(h, token, "read", 0); ok && again != number {
		r.complain("%s read %d and then %d", h.Key(), number, again)
	}
}

// access uses the resource. A refusal is right only if the holder has been overtaken.
func (r roamer) access(h holder, token fence.Token, do string, value int64) (got int64, ok bool) {
	answer, err := r.resource.do(context.Background(), access{Do: do, Policy: marked, Name: r.target.Name, Token: token.String(), Value: value})
	if err != nil {
		r.complain("%v", err)
		return 0, false
	}
	if answer.Refused {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if h.Verify(ctx) == nil {
			r.complain("%s holds and was refused to %s with %s", h.Key(), do, token)
		}
	}
	return answer.Value, !answer.Refused
}

func (r roamer) complain(format string, args ...any) {
	r.diary.write(line{Target: r.target, Complaint: fmt.Sprintf(format, args...)})
}

// readOrWrite also turns writing into reading and, where it can, reading into writing.
func (r roamer) readOrWrite(ctx context.Context) {
	m := recipes.NewRWMutex(r.session, r.target.Name, nil)
	if rand.N(3) > 0 {
		hold := r.acquire(ctx, pick(m.RLock, m.TryRLock), lincheck.Op{Shared: true})
		if hold == nil {
			return
		}
		if !r.visit(hold, true) || rand.N(3) > 0 {
			r.release(hold.Key(), hold.Unlock)
			return
		}
		r.upgrade(m, hold)
		return
	}
	hold := r.acquire(ctx, pick(m.Lock, m.TryLock), lincheck.Op{})
	if hold == nil {
		return
	}
	if !r.visit(hold, false) || rand.N(2) > 0 {
		r.release(hold.Key(), hold.Unlock)
		return
	}
	r.downgrade(m, hold)
}

func (r roamer) downgrade(m *recipes.RWMutex, writing *recipes.Hold) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	op := lincheck.Op{Call: now(), Do: lincheck.Transfer, Who: writing.Key()}
	reading, err := m.Downgrade(ctx, writing)
	if err != nil {
		return
	}
	op.Return, op.To = now(), reading.Key()
	r.diary.write(line{Target: r.target, Op: &op})
	r.visit(reading, true)
	r.release(reading.Key(), reading.Unlock)
}

// upgrade is a release and an acquisition with nobody in between.
func (r roamer) upgrade(m *recipes.RWMutex, reading *recipes.Hold) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	called := now()
	writing, err := m.TryUpgrade(ctx, reading)
	if errors.Is(err, recipes.ErrLocked) {
		r.release(reading.Key(), reading.Unlock)
		return
	}
	if err != nil {
		return
	}
	returned := now()
	r.diary.write(line{Target: r.target, Op: &lincheck.Op{Call: called, Return: returned, Do: lincheck.Release, Who: reading.Key()}})
	r.diary.write(line{Target: r.target, Op: &lincheck.Op{
		Call: called, Return: returned, Do: lincheck.Acquire, Who: writing.Key(), Token: writing.Token().Revision(),
	}})
	r.visit(writing, false)
	r.release(writing.Key(), writing.Unlock)
}

// slots uses every slot that it got.
func (r roamer) slots(ctx context.Context) {
	m := recipes.NewSemaphore(r.session, r.target.Name, &recipes.SemaphoreOptions{Limit: roamLimit})
	weight := 1 + rand.Int64N(2)
	acquire := pick(m.Acquire, m.TryAcquire)
	hold := r.acquire(ctx, func(ctx context.Context) (*recipes.Hold, error) { return acquire(ctx, weight) }, lincheck.Op{Weight: weight})
	if hold == nil {
		return
	}
	for token := range hold.Tokens() {
		r.use(hold, token, false)
	}
	r.release(hold.Key(), hold.Unlock)
}
