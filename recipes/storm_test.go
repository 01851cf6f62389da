package recipes_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/coordtest"
	"github.com/coordd/coordd/recipes/fence"
)

// A storm is a number of programs that take and give back the same things, while answers are lost, requests arrive late
// and twice, callers lose patience, lines are cut, and leases end. What must hold all the same: no two that exclude each
// other are in at a time, by their own clocks; a resource that compares tokens refuses nobody who is in; nothing is left
// when all have gone, while the sessions that had it live on.

const (
	stormTTL      = 6 // s
	stormPrograms = 3
	stormWorkers  = 2 // of one session
	stormRounds   = 12
)

// storm is one run. All of it is in a bubble.
type storm struct {
	*testing.T
	server   *coordtest.Server
	calm     *coordtest.Client // sees everything as it is
	over     atomic.Bool       // nothing is lost or late any more
	late     sync.WaitGroup    // requests that are under way for longer than their callers thought
	programs [stormPrograms]*program
	room     room
}

type program struct {
	*storm
	client *coordtest.Client

	mu      sync.Mutex
	random  *rand.Rand       // guarded by mu
	session *recipes.Session // guarded by mu
	revoked *recipes.Session // the last of which the lease was taken away, which it may not know yet; guarded by mu
	rounds  int              // begun, guarded by mu
}

func (p *program) dice(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.random.IntN(n)
}

func (p *program) upTo(most time.Duration) time.Duration { return time.Duration(p.dice(int(most))) }

// stormKV loses answers, and delivers requests late and again. A request that was answered is not delivered again.
type stormKV struct {
	clientv3.KV
	*program
}

func (kv stormKV) Txn(ctx context.Context) clientv3.Txn { return &stormTxn{kv: kv, ctx: ctx} }

type stormTxn struct {
	kv     stormKV
	ctx    context.Context
	only   []clientv3.Cmp
	yes    []clientv3.Op
	orElse []clientv3.Op
}

func (t *stormTxn) If(only ...clientv3.Cmp) clientv3.Txn { t.only = append(t.only, only...); return t }
func (t *stormTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.yes = append(t.yes, ops...); return t }
func (t *stormTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	t.orElse = append(t.orElse, ops...)
	return t
}
func (t *stormTxn) send(ctx context.Context) (*clientv3.TxnResponse, error) {
	return t.kv.KV.Txn(ctx).If(t.only...).Then(t.yes...).Else(t.orElse...).Commit()
}

func (t *stormTxn) Commit() (*clientv3.TxnResponse, error) {
	lost := status.Error(codes.Unavailable, "lost in the storm")
	fate := t.kv.dice(12)
	if t.kv.over.Load() {
		return t.send(t.ctx)
	}
	switch fate {
	case 0:
		_, _ = t.send(t.ctx)
		return nil, lost
	case 1:
		t.sendLate()
		return nil, lost
	case 2:
		_, _ = t.send(t.ctx)
		t.sendLate()
		return nil, lost
	case 3:
		time.Sleep(t.kv.upTo(time.Second))
	}
	return t.send(t.ctx)
}

func (t *stormTxn) sendLate() {
	t.kv.late.Go(func() {
		time.Sleep(t.kv.upTo(20 * time.Second))
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, _ = t.send(ctx)
	})
}

// room is where those are who were let in, by what they were let in to: a lock, a slot, an item.
type room struct {
	mu     sync.Mutex
	inside map[string][]*visit
	marks  map[string]*marks
	visits int // that were in for all they could know
}

type visit struct {
	*program
	session *recipes.Session
	token   fence.Token
	valid   func() error
}

// marks are what a resource remembers that serves readers and writers.
type marks struct{ write, all int64 }

// counts says that the visitor is in for all it can know. Whose lease was taken away, not by its time, cannot know.
func (v *visit) counts() bool {
	v.mu.Lock()
	revoked := v.revoked == v.session
	v.mu.Unlock()
	return !revoked && v.valid() == nil
}

func (r *room) enter(v *visit, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	exclusive, revision := v.token.Fields().Mode == fence.Exclusive, v.token.Revision()
	m := r.marks[what]
	if m == nil {
		m = new(marks)
		r.marks[what] = m
	}
	if v.counts() {
		r.visits++
		for _, o := range r.inside[what] {
			if (exclusive || o.token.Fields().Mode == fence.Exclusive) && o.counts() {
				v.Errorf("%q: %s is in beside %s", what, v.token, o.token)
			}
		}
		if revision < m.write || exclusive && revision < m.all {
			v.Errorf("%q: %s is refused after %+v", what, v.token, *m)
		}
	}
	if m.all = max(m.all, revision); exclusive {
		m.write = max(m.write, revision)
	}
	r.inside[what] = append(r.inside[what], v)
}

func (r *room) leave(v *visit, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, o := range r.inside[what] {
		if o == v {
			r.inside[what] = append(r.inside[what][:i:i], r.inside[what][i+1:]...)
		}
	}
}

// stay is in for a while with each token.
func (p *program) stay(s *recipes.Session, valid func() error, tokens ...fence.Token) {
	visits := make([]*visit, len(tokens))
	for i, token := range tokens {
		visits[i] = &visit{p, s, token, valid}
		p.room.enter(visits[i], token.Fields().Slot)
	}
	time.Sleep(p.upTo(2 * time.Second))
	for i, token := range tokens {
		p.room.leave(visits[i], token.Fields().Slot)
	}
}

// expected says that err can be of the storm.
func expected(err error) bool {
	for _, e := range []error{recipes.ErrLost, recipes.ErrLocked, recipes.ErrUnlocked, recipes.ErrNoCandidate, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return err == nil
}

// kind is what a storm goes over. work takes, is in, and gives back; its error is of the taking.
type kind struct {
	work   func(ctx context.Context, p *program, s *recipes.Session) error
	prefix string
	dirs   []string // where nothing may be left
	delay  time.Duration
}

// run is the life of a program: sessions, and in each workers.
func (p *program) run(ctx context.Context, k kind, working *sync.WaitGroup) {
	options := &recipes.SessionOptions{TTLSeconds: stormTTL, LockDelay: k.delay}
	err := recipes.Run(ctx, p.client.Client, options, func(ctx context.Context, s *recipes.Session) error {
		p.mu.Lock()
		p.session = s
		p.mu.Unlock()
		var workers sync.WaitGroup
		for range stormWorkers {
			workers.Go(func() { p.work(ctx, k, s, working) })
		}
		workers.Wait()
		<-ctx.Done() // and holds nothing any more
		return context.Cause(ctx)
	})
	if !expected(err) {
		p.Errorf("run: %v", err)
	}
}

// work does rounds until there are no more to do.
func (p *program) work(ctx context.Context, k kind, s *recipes.Session, working *sync.WaitGroup) {
	for s.Valid() == nil {
		p.mu.Lock()
		more := p.rounds < stormRounds
		p.rounds++
		p.mu.Unlock()
		if !more {
			return
		}
		patience, cancel := context.WithTimeout(ctx, p.upTo(20*time.Second))
		if err := k.work(patience, p, s); !expected(err) {
			p.Errorf("work: %v", err)
		}
		cancel()
		working.Done()
	}
}

// blow cuts lines and takes leases away until ctx ends.
func (w *storm) blow(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		time.Sleep(time.Duration(random.IntN(int(10 * time.Second))))
		p := w.programs[random.IntN(stormPrograms)]
		switch random.IntN(4) {
		case 0:
			p.mu.Lock()
			p.revoked = p.session
			session := p.session
			p.mu.Unlock()
			if session != nil {
				_, _ = w.calm.Revoke(context.Background(), session.Lease()) // unless it is gone
			}
		case 1:
			p.client.Partition()
			time.Sleep(time.Duration(random.IntN(int(2 * stormTTL * time.Second))))
			p.client.Heal()
		default:
			p.client.Break()
		}
	}
}

func (k kind) storm(t *testing.T, seed uint64) {
	w := &storm{T: t, server: coordtest.Start(t), room: room{inside: map[string][]*visit{}, marks: map[string]*marks{}}}
	w.calm = w.server.NewClient(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var programs, working, blowing sync.WaitGroup
	working.Add(stormPrograms * stormRounds)
	for i := range w.programs {
		p := &program{storm: w, client: w.server.NewClient(t), random: rand.New(rand.NewPCG(seed, uint64(i)))}
		p.client.KV = stormKV{p.client.KV, p}
		w.programs[i] = p
		programs.Go(func() { p.run(ctx, k, &working) })
	}
	wind, calm := context.WithCancel(ctx)
	blowing.Go(func() { w.blow(wind, rand.New(rand.NewPCG(seed, stormPrograms))) })
	working.Wait()
	calm()
	blowing.Wait()
	w.over.Store(true)
	w.late.Wait()
	time.Sleep(time.Minute) // for janitors, and for leases to end
	w.nothingLeft(k)
	stop()
	programs.Wait()
	if w.room.visits == 0 {
		t.Error("nobody was ever in")
	}
}

func (w *storm) nothingLeft(k kind) {
	resp, err := w.calm.Get(w.Context(), k.prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		w.Error(err)
		return
	}
	for _, kv := range resp.Kvs {
		for _, dir := range k.dirs {
			if strings.HasPrefix(string(kv.Key), k.prefix+dir) {
				w.Errorf("left behind: %s of revision %d", kv.Key, kv.CreateRevision)
			}
		}
	}
}

// giveBack is the last of a hold, with or without patience.
func (p *program) giveBack(unlock func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), p.upTo(10*time.Second))
	defer cancel()
	if err := unlock(ctx); !expected(err) {
		p.Errorf("give back: %v", err)
	}
}

func workOnLock(ctx context.Context, p *program, s *recipes.Session) error {
	m, rw := recipes.NewMutex(s, "it", nil), recipes.NewRWMutex(s, "it", nil)
	take := []func(context.Context) (*recipes.Hold, error){m.Lock, m.TryLock, rw.Lock, rw.Lock, rw.TryLock, rw.RLock, rw.RLock, rw.TryRLock}
	i := p.dice(len(take))
	h, err := take[i](ctx)
	if err != nil {
		return err
	}
	for range p.dice(4) {
		p.stay(s, h.Valid, h.Token())
		if i < 2 {
			break
		}
		change := rw.TryUpgrade
		if h.Token().Fields().Mode == fence.Exclusive {
			change = rw.Downgrade
		}
		changed, err := change(ctx, h)
		switch {
		case errors.Is(err, recipes.ErrLocked):
		case err != nil:
			return err
		default:
			h = changed
		}
	}
	p.stay(s, h.Valid, h.Token())
	p.giveBack(h.Unlock)
	return nil
}

// workAsTwo takes the lock by name in one process, as it were, and goes on with it in another.
func workAsTwo(ctx context.Context, p *program, _ *recipes.Session) error {
	var id [16]byte
	for i := range id {
		id[i] = byte(p.dice(256))
	}
	lock := func(s *recipes.Session) error {
		h, err := recipes.NewMutex(s, "it", &recipes.MutexOptions{Attempt: hex.EncodeToString(id[:])}).Lock(ctx)
		if err == nil {
			p.stay(s, h.Valid, h.Token())
		}
		if err == nil && s.Valid() == nil {
			p.giveBack(h.Unlock)
		}
		return err
	}
	first, err := recipes.NewSession(ctx, p.client.Client, &recipes.SessionOptions{TTLSeconds: stormTTL})
	if err != nil {
		return nil // there is no line
	}
	detached := make(chan struct{}) // in a bubble, two that detach at a time would stop its clock
	detach := time.AfterFunc(p.upTo(5*time.Second), func() {
		first.Detach()
		close(detached)
	})
	err = lock(first)
	if detach.Stop() {
		first.Detach()
		return err
	}
	<-detached
	if !expected(err) {
		return err
	}
	second, err := recipes.ResumeSession(ctx, p.client.Client, first.Lease(), nil)
	if err != nil {
		return nil
	}
	defer second.Close()
	return lock(second)
}

func workOnEtcdsLock(ctx context.Context, p *program, s *recipes.Session) error {
	m := recipes.NewMutex(s, "it", &recipes.MutexOptions{EtcdLayout: true})
	take := m.Lock
	if p.dice(3) == 0 {
		take = m.TryLock
	}
	h, err := take(ctx)
	if err != nil {
		return err
	}
	p.stay(s, h.Valid, h.Token())
	p.giveBack(h.Unlock)
	return nil
}

func workOnEtcdsElection(ctx context.Context, p *program, s *recipes.Session) error {
	l, err := recipes.NewElection(s, "it", &recipes.ElectionOptions{EtcdLayout: true}).Campaign(ctx, "start")
	if err != nil {
		return err
	}
	p.stay(s, l.Valid, l.Token())
	if err := l.Proclaim(ctx, "more"); !expected(err) {
		return err
	}
	p.giveBack(l.Resign)
	return nil
}

func workOnSemaphore(ctx context.Context, p *program, s *recipes.Session) error {
	sem := recipes.NewSemaphore(s, "it", &recipes.SemaphoreOptions{Limit: 4})
	if p.dice(6) == 0 {
		return sem.SetLimit(ctx, int64(3+p.dice(3)))
	}
	take := sem.Acquire
	if p.dice(3) == 0 {
		take = sem.TryAcquire
	}
	h, err := take(ctx, int64(1+p.dice(3)))
	if err != nil {
		return err
	}
	var tokens []fence.Token
	for token := range h.Tokens() {
		tokens = append(tokens, token)
	}
	p.stay(s, h.Valid, tokens...)
	p.giveBack(h.Unlock)
	return nil
}

func workOnElection(ctx context.Context, p *program, s *recipes.Session) error {
	e := recipes.NewElection(s, "it", nil)
	l, err := e.Campaign(ctx, "start")
	if err != nil {
		return err
	}
	p.stay(s, l.Valid, l.Token())
	if p.dice(2) == 0 {
		if err := l.Proclaim(ctx, fmt.Sprint(p.dice(100))); !expected(err) {
			return err
		}
		p.stay(s, l.Valid, l.Token())
	}
	places, err := e.Places(ctx)
	if err == nil && len(places) > 1 && p.dice(2) == 0 {
		to := places[1+p.dice(len(places)-1)].Key
		p.giveBack(func(ctx context.Context) error { return l.Transfer(ctx, to) })
		return nil
	}
	p.giveBack(l.Resign)
	return nil
}

func workOnQueue(ctx context.Context, p *program, s *recipes.Session) error {
	q := recipes.NewQueue(s, "it", nil)
	if _, err := q.Put(ctx, []byte("work")); err != nil && !errors.Is(err, recipes.ErrInDoubt) {
		return err
	}
	d, err := q.Claim(ctx)
	if err != nil {
		return err
	}
	p.stay(s, d.Valid, d.Token())
	if p.dice(3) == 0 {
		p.giveBack(d.Unlock)
	} else {
		p.giveBack(d.Ack)
	}
	return nil
}

func TestStorm(t *testing.T) {
	for what, k := range map[string]kind{
		"lock":               {workOnLock, recipes.DefaultLockPrefix + "/it", []string{"/q/"}, 0},
		"lock with delay":    {workOnLock, recipes.DefaultLockPrefix + "/it", []string{"/q/"}, 3 * time.Second},
		"lock by two":        {workAsTwo, recipes.DefaultLockPrefix + "/it", []string{"/q/"}, 0},
		"semaphore":          {workOnSemaphore, recipes.DefaultSemaphorePrefix + "/it", []string{"/q/", "/h/"}, 3 * time.Second},
		"election":           {workOnElection, recipes.DefaultElectionPrefix + "/it", []string{"/q/", "/h/"}, 0},
		"queue":              {workOnQueue, recipes.DefaultQueuePrefix + "/it", []string{"/q/", "/h/", "/claims/"}, 0},
		"lock of etcd's":     {workOnEtcdsLock, "it", []string{"/"}, 0},
		"election of etcd's": {workOnEtcdsElection, "it", []string{"/"}, 0},
	} {
		for seed := range uint64(stormSeeds) {
			t.Run(fmt.Sprintf("%s %d", what, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { k.storm(t, seed) })
			})
		}
	}
}

// stormSeeds is how many runs there are of each kind. Hundreds were clean.
const stormSeeds = 4
