package recipes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/e2e/history"
)

func (f *fixture) double(s *Session, parties int) *DoubleBarrier {
	return NewDoubleBarrier(s, "one", parties, &DoubleBarrierOptions{Prefix: f.options.Prefix})
}

type admission struct {
	round *Round
	err   error
}

// enterLater enters beside the test and delivers the outcome.
func enterLater(ctx context.Context, b *DoubleBarrier) <-chan admission {
	done := make(chan admission, 1)
	go func() {
		r, err := b.Enter(ctx)
		done <- admission{r, err}
	}()
	return done
}

// awaitMembers returns once n parties are in.
func (f *fixture) awaitMembers(b *DoubleBarrier, n int) {
	f.Helper()
	ctx, cancel := context.WithCancel(f.Context())
	defer cancel()
	for range f.client.Watch(ctx, b.path, clientv3.WithPrefix(), clientv3.WithCreatedNotify()) {
		if len(f.members(b)) == n {
			return
		}
	}
	f.Fatal("the watch broke")
}

func (f *fixture) members(b *DoubleBarrier) []string {
	f.Helper()
	return slices.DeleteFunc(f.below(b.rounds()), func(key string) bool { return !strings.Contains(key, "/"+memberDir) })
}

// cleared fails when anything of the barrier is left.
func (f *fixture) cleared(b *DoubleBarrier) {
	f.Helper()
	if keys := f.below(b.path); len(keys) != 0 {
		f.Errorf("left behind: %v", keys)
	}
}

func (f *fixture) entered(done <-chan admission) *Round {
	f.Helper()
	e := <-done
	if e.err != nil {
		f.Fatal(e.err)
	}
	return e.round
}

func (f *fixture) broken(done <-chan admission) {
	f.Helper()
	if e := <-done; !errors.Is(e.err, ErrBarrierBroken) {
		f.Fatalf("Enter returned %v, %v", e.round, e.err)
	}
}

func leave(ctx context.Context, r *Round) <-chan error {
	return later(func() error { return r.Leave(ctx) })
}

func (f *fixture) left(rounds ...*Round) {
	f.Helper()
	var all []<-chan error
	for _, r := range rounds {
		all = append(all, leave(f.Context(), r))
	}
	for _, done := range all {
		if err := <-done; err != nil {
			f.Fatal(err)
		}
	}
}

func TestDoubleBarrierRounds(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		const parties = 3
		b := f.double(f.session, parties)
		var last int64
		for range 3 {
			f.commits("a round", 2*parties+2, func() error {
				var waiting []<-chan admission
				for i := range parties {
					waiting = append(waiting, enterLater(f.Context(), b))
					if i < parties-1 {
						f.awaitMembers(b, i+1)
					}
				}
				var rounds []*Round
				for _, done := range waiting {
					rounds = append(rounds, f.entered(done))
				}
				for _, r := range rounds {
					if r.Generation() != rounds[0].Generation() || r.Generation() <= last {
						f.Errorf("generation %d beside %d after %d", r.Generation(), rounds[0].Generation(), last)
					}
				}
				last = rounds[0].Generation()
				first := leave(f.Context(), rounds[0])
				f.awaitMembers(b, parties-1)
				f.pending("Leave before the others", first)
				f.left(rounds[1:]...)
				return <-first
			})
			f.cleared(b)
		}
	})
}

func TestDoubleBarrierOfOneAndOfAll(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		for _, parties := range []int{1, MaxParties} {
			b := f.double(f.session, parties)
			var waiting []<-chan admission
			for range parties {
				waiting = append(waiting, enterLater(f.Context(), b))
			}
			var rounds []*Round
			for _, done := range waiting {
				rounds = append(rounds, f.entered(done))
			}
			f.left(rounds...)
			f.cleared(b)
		}
	})
}

// More parties than one round takes wait for the next ones.
func TestDoubleBarrierTakesTurns(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		const parties, rounds = 2, 4
		faults.set(everyNthWriteAnsweredLate(4))
		b := f.double(f.session, parties)
		var mu sync.Mutex
		in := map[int64]int{}
		var wg sync.WaitGroup
		for range parties * rounds {
			wg.Go(func() {
				r, err := b.Enter(f.Context())
				if err == nil {
					mu.Lock()
					in[r.Generation()]++
					mu.Unlock()
					err = r.Leave(f.Context())
				}
				if err != nil {
					f.Error(err)
				}
			})
		}
		wg.Wait()
		for generation, n := range in {
			if n != parties {
				f.Errorf("%d parties in round %d", n, generation)
			}
		}
		if len(in) != rounds {
			f.Errorf("%d rounds", len(in))
		}
		f.cleared(b)
	})
}

func TestDoubleBarrierDeathBeforeReady(t *testing.T) {
	for what, end := range map[string]func(*fixture, *Session, context.CancelFunc){
		"closed": func(f *fixture, s *Session, _ context.CancelFunc) { s.Close() },
		"revoked": func(f *fixture, s *Session, _ context.CancelFunc) {
			if _, err := f.client.Revoke(f.Context(), s.Lease()); err != nil {
				f.Fatal(err)
			}
		},
		"gave up": func(_ *fixture, _ *Session, cancel context.CancelFunc) { cancel() },
		"deleted": func(f *fixture, s *Session, _ context.CancelFunc) {
			b := f.double(s, 3)
			if _, err := f.client.Delete(f.Context(), f.members(b)[1]); err != nil {
				f.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			onEachStore(t, func(f *fixture) {
				b := f.double(f.session, 3)
				other := openSession(f.T, f.client, 60)
				survivor := enterLater(f.Context(), b)
				f.awaitMembers(b, 1)
				ctx, cancel := context.WithCancel(f.Context())
				defer cancel()
				dying := enterLater(ctx, f.double(other, 3))
				f.awaitMembers(b, 2)
				end(f, other, cancel)
				f.broken(survivor)
				if e := <-dying; !errors.Is(e.err, ErrLost) && !errors.Is(e.err, context.Canceled) {
					f.Errorf("the Enter that ended returned %v, %v", e.round, e.err)
				}
				f.cleared(b)
				var waiting []<-chan admission
				for range 3 {
					waiting = append(waiting, enterLater(f.Context(), b))
				}
				var rounds []*Round
				for _, done := range waiting {
					rounds = append(rounds, f.entered(done))
				}
				f.left(rounds...)
				f.cleared(b)
			})
		})
	}
}

func TestDoubleBarrierDeathAfterReady(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		b := f.double(f.session, 2)
		other := openSession(f.T, f.client, 60)
		waiting := []<-chan admission{enterLater(f.Context(), b), enterLater(f.Context(), f.double(other, 2))}
		survivor, dying := f.entered(waiting[0]), f.entered(waiting[1])
		done := leave(f.Context(), survivor)
		f.awaitMembers(b, 1)
		f.pending("Leave before the other", done)
		if err := other.Close(); err != nil {
			f.Fatal(err)
		}
		if err := <-done; err != nil {
			f.Error(err)
		}
		if err := dying.Leave(f.Context()); !errors.Is(err, ErrSessionClosed) {
			f.Errorf("Leave of a closed session: %v", err)
		}
		f.cleared(b)
	})
}

// A session that ends while its party waits for the others ends the wait.
func TestDoubleBarrierOwnDeathWhileLeaving(t *testing.T) {
	f := newFixture(t)
	other := openSession(t, f.client, 60)
	waiting := []<-chan admission{enterLater(t.Context(), f.double(f.session, 2)), enterLater(t.Context(), f.double(other, 2))}
	slow, leaver := f.entered(waiting[0]), f.entered(waiting[1])
	done := leave(t.Context(), leaver)
	f.awaitMembers(slow.barrier, 1)
	other.Close()
	var lost *LostError
	if err := <-done; !errors.As(err, &lost) {
		t.Errorf("Leave returned %v", err)
	}
	f.left(slow)
	f.cleared(slow.barrier)
}

// Rounds whose parties all died are cleared by whoever comes next, who need not know of them.
func TestDoubleBarrierAfterAllDied(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		b := f.double(f.session, 2)
		for _, ready := range []bool{false, true} {
			dying := openSession(f.T, f.client, 60)
			waiting := []<-chan admission{enterLater(f.Context(), f.double(dying, 2))}
			f.awaitMembers(b, 1)
			if ready {
				waiting = append(waiting, enterLater(f.Context(), f.double(dying, 2)))
				for _, done := range waiting {
					f.entered(done)
				}
			}
			dying.Close()
			if len(f.members(b)) != 0 || len(f.below(b.path)) == 0 {
				f.Fatalf("the dead left %v", f.below(b.path))
			}
			waiting = []<-chan admission{enterLater(f.Context(), b), enterLater(f.Context(), b)}
			f.left(f.entered(waiting[0]), f.entered(waiting[1]))
			f.cleared(b)
		}
	})
}

func TestDoubleBarrierPartiesDiffer(t *testing.T) {
	onEachStore(t, func(f *fixture) {
		b := f.double(f.session, 2)
		first := enterLater(f.Context(), b)
		f.awaitMembers(b, 1)
		if _, err := f.double(f.session, 3).Enter(f.Context()); !errors.Is(err, ErrPartiesDiffer) {
			f.Errorf("Enter with another number of parties: %v", err)
		}
		second := enterLater(f.Context(), b)
		f.left(f.entered(first), f.entered(second))
		f.cleared(b)
		// A round that somebody made and nobody entered binds nobody.
		if _, err := f.client.Put(f.Context(), b.roundKey(), "7"); err != nil {
			f.Fatal(err)
		}
		r, err := f.double(f.session, 1).Enter(f.Context())
		if err != nil {
			f.Fatal(err)
		}
		f.left(r)
	})
}

func TestDoubleBarrierLostReplies(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		faults.set(everyWriteAnsweredLate())
		b := f.double(f.session, 2)
		for range 3 {
			waiting := []<-chan admission{enterLater(f.Context(), b), enterLater(f.Context(), b)}
			f.left(f.entered(waiting[0]), f.entered(waiting[1]))
			f.cleared(b)
		}
	})
}

// Requests that come twice, the second time long after, bring back no party and no round that anybody would notice.
func TestDoubleBarrierLateDuplicates(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		var late duplicates
		faults.set(late.fault)
		b := f.double(f.session, 2)
		for range 3 {
			waiting := []<-chan admission{enterLater(f.Context(), b)}
			f.awaitMembers(b, 1)
			late.arrive(f)
			if n := len(f.members(b)); n != 1 {
				f.Fatalf("%d parties are in: %v", n, f.below(b.path))
			}
			waiting = append(waiting, enterLater(f.Context(), b))
			rounds := []*Round{f.entered(waiting[0]), f.entered(waiting[1])}
			late.arrive(f)
			if n := len(f.members(b)); n != 2 {
				f.Fatalf("%d parties are in: %v", n, f.below(b.path))
			}
			f.left(rounds...)
			late.arrive(f)
			if n := len(f.members(b)); n != 0 {
				f.Fatalf("late requests brought back %v", f.below(b.path))
			}
		}
	})
}

// An Enter that ended before its request reached the store must not be in later.
func TestDoubleBarrierDelayedEnter(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		var late duplicates
		b := f.double(f.session, 2)
		first := enterLater(f.Context(), b)
		f.awaitMembers(b, 1)
		ctx, cancel := context.WithCancel(f.Context())
		faults.set(func(c context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
			if isEnter(req) {
				late.sent = append(late.sent, req)
				cancel()
				return lostReply()
			}
			return send(c)
		})
		if _, err := b.Enter(ctx); !errors.Is(err, context.Canceled) {
			f.Fatal(err)
		}
		faults.set(nil)
		f.broken(first)
		late.arrive(f)
		if len(late.sent) == 0 || len(f.members(b)) != 0 {
			f.Errorf("%d late requests left %v", len(late.sent), f.below(b.path))
		}
	})
}

// What could not be withdrawn at once is withdrawn beside the caller.
func TestDoubleBarrierWithdrawsLater(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	b := f.double(openSession(t, f.client, 2), 2)
	ctx, cancel := context.WithCancel(t.Context())
	waiting := enterLater(ctx, b)
	f.awaitMembers(b, 1)
	var once sync.Once
	faults.set(func(c context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		silent := false
		once.Do(func() { silent = true })
		if silent { // for as long as the first try lasts
			<-c.Done()
			return c.Err()
		}
		return send(c)
	})
	cancel()
	if e := <-waiting; !errors.Is(e.err, context.Canceled) {
		t.Fatal(e.err)
	}
	f.awaitBelow(b.path, 0)
	if err := b.session.Valid(); err != nil {
		t.Errorf("the session's end cleared it: %v", err)
	}
}

func isEnter(req *pb.TxnRequest) bool {
	return slices.ContainsFunc(req.Success, func(op *pb.RequestOp) bool {
		return strings.Contains(string(op.GetRequestPut().GetKey()), "/"+memberDir)
	})
}

func isBegin(req *pb.TxnRequest) bool {
	return slices.ContainsFunc(req.Success, func(op *pb.RequestOp) bool {
		return string(op.GetRequestPut().GetValue()) == roundReady
	})
}

// Those who wait for the next round are no party to this one: it begins although they give up.
func TestDoubleBarrierBystanderGivesUp(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		b := f.double(f.session, 2)
		begin, proceed := faults.holdUp(isBegin)
		waiting := []<-chan admission{enterLater(f.Context(), b), enterLater(f.Context(), b)}
		<-begin
		ctx, cancel := context.WithCancel(f.Context())
		bystander := enterLater(ctx, b)
		select {
		case <-begin: // by the bystander, or by the other who is in
		case e := <-bystander:
			f.Fatal(e.err)
		}
		cancel()
		if e := <-bystander; !errors.Is(e.err, context.Canceled) {
			f.Fatal(e.err)
		}
		proceed()
		f.left(f.entered(waiting[0]), f.entered(waiting[1]))
		// The bystander's request can have come after the round's end, and made the next one.
		if keys := f.below(b.rounds()); len(keys) != 0 {
			f.Errorf("left behind: %v", keys)
		}
	})
}

// The same when it is unknown whether they are in.
func TestDoubleBarrierBystanderInDoubtGivesUp(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		b := f.double(f.session, 2)
		begin, proceed := faults.holdUp(isBegin)
		waiting := []<-chan admission{enterLater(f.Context(), b), enterLater(f.Context(), b)}
		<-begin
		ctx, cancel := context.WithCancel(f.Context())
		holdUp := faults.fault
		faults.set(func(c context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
			if isEnter(req) {
				cancel()
				return lostReply()
			}
			return holdUp(c, req, send)
		})
		if _, err := b.Enter(ctx); !errors.Is(err, context.Canceled) {
			f.Fatal(err)
		}
		proceed()
		f.left(f.entered(waiting[0]), f.entered(waiting[1]))
		f.cleared(b)
	})
}

// Whoever is gone when the round would begin keeps it from doing so, however late that is.
func TestDoubleBarrierDeathAtTheLastMoment(t *testing.T) {
	for what, end := range map[string]func(*fixture, *Session, context.CancelFunc){
		"died": func(f *fixture, s *Session, _ context.CancelFunc) {
			if _, err := f.client.Revoke(f.Context(), s.Lease()); err != nil {
				f.Fatal(err)
			}
		},
		"gave up": func(_ *fixture, _ *Session, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(what, func(t *testing.T) {
			onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
				other := openSession(f.T, f.client, 60)
				ctx, cancel := context.WithCancel(f.Context())
				defer cancel()
				b := f.double(f.session, 2)
				dying := enterLater(ctx, f.double(other, 2))
				f.awaitMembers(b, 1)
				begin, proceed := faults.holdUp(isBegin)
				survivor := enterLater(f.Context(), b)
				<-begin
				end(f, other, cancel)
				if e := <-dying; e.err == nil {
					f.Fatal("the other entered alone")
				}
				f.awaitMembers(b, 1)
				proceed()
				f.broken(survivor)
				f.cleared(b)
			})
		})
	}
}

func TestD5DoubleBarrierWithBrokenWatches(t *testing.T) {
	for name := range stores {
		t.Run(name, func(t *testing.T) {
			f := newFixtureOn(t, name)
			option, mended := breakingWatches(2)
			proxy := newProxy(t, startStore(t, name))
			other := openSession(t, dial(t, proxy.endpoint(), option), 60)
			b := f.double(f.session, 2)
			first := enterLater(t.Context(), f.double(other, 2))
			<-mended
			f.compactBehind(proxy, other)
			select {
			case e := <-first:
				t.Fatalf("Enter returned %v, %v alone", e.round, e.err)
			default:
			}
			second := enterLater(t.Context(), b)
			far, near := f.entered(first), f.entered(second)
			done := leave(t.Context(), far)
			f.awaitMembers(b, 1)
			f.compactBehind(proxy, other)
			f.pending("Leave before the other", done)
			f.left(near)
			if err := <-done; err != nil {
				t.Error(err)
			}
			f.cleared(b)
		})
	}
}

// A death that nobody could hear of is seen by who looks again.
func TestDoubleBarrierDeathWhileDeaf(t *testing.T) {
	f := newFixture(t)
	proxy := newProxy(t, startServer(t))
	other, dying := openSession(t, dial(t, proxy.endpoint()), 60), openSession(t, f.client, 60)
	first := enterLater(t.Context(), f.double(other, 3))
	f.awaitMembers(f.double(other, 3), 1)
	proxy.partition(true)
	second := enterLater(t.Context(), f.double(dying, 3))
	f.awaitMembers(f.double(other, 3), 2)
	dying.Close()
	f.compactBehind(proxy, other)
	f.broken(first)
	<-second
	f.cleared(f.double(other, 3))
}

// Whose own key is gone when it looks has lost it, and does not blame another party.
func TestDoubleBarrierOwnDeathSeenByLooking(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		look, proceed := faults.holdUp(func(req *pb.TxnRequest) bool {
			return !isWrite(req) && len(req.Compare) > 0
		})
		other := openSession(f.T, f.client, 60)
		dead := enterLater(f.Context(), f.double(other, 2))
		<-look
		if _, err := f.client.Revoke(f.Context(), other.Lease()); err != nil {
			f.Fatal(err)
		}
		proceed()
		if e := <-dead; !errors.Is(e.err, ErrLost) {
			f.Fatalf("Enter returned %v, %v", e.round, e.err)
		}
	})
}

// checkRounds replays what the store did below a double barrier's path, and what its parties did: each put the generation
// to <path>/in after Enter and to <path>/out after Leave. It returns every violation.
func checkRounds(events []history.Event, b *DoubleBarrier, parties int) (violations []string) {
	type round struct {
		members, entered, in, out int
		ready, broken             bool
	}
	rounds := map[string]*round{}
	of := func(generation string) *round {
		if rounds[generation] == nil {
			rounds[generation] = &round{}
		}
		return rounds[generation]
	}
	for _, ev := range events {
		complain := func(format string, args ...any) {
			violations = append(violations, fmt.Sprintf("revision %d: ", ev.Revision)+fmt.Sprintf(format, args...))
		}
		switch key := ev.Key; {
		case key == b.path+"/in":
			r := of(ev.Value)
			if r.in++; !r.ready || r.in > parties {
				complain("the %dth of %d goes on in a round whose ready is %v", r.in, parties, r.ready)
			}
		case key == b.path+"/out":
			r := of(ev.Value)
			if r.out++; r.members > 0 {
				complain("one has left before %d others", r.members)
			}
		case strings.HasPrefix(key, b.rounds()):
			generation, key, _ := strings.Cut(strings.TrimPrefix(key, b.rounds()), "/")
			r := of(generation)
			switch {
			case ev.Deleted && strings.HasPrefix(key, memberDir):
				r.members--
			case strings.HasPrefix(key, memberDir):
				r.members++
				if r.entered++; r.ready || r.broken || r.entered > parties {
					complain("the %dth enters a round that is over or full", r.entered)
				}
			case ev.Deleted:
				if r.members > 0 {
					complain("cleared with %d in", r.members)
				}
			default:
				if r.ready || r.broken {
					complain("a second outcome %s", ev.Value)
				}
				r.ready, r.broken = ev.Value == roundReady, ev.Value == roundBroken
				if r.ready && (r.members != parties || r.entered != parties) {
					complain("ready with %d in after %d entered", r.members, r.entered)
				}
			}
		}
	}
	return violations
}

// Many parties of several sessions go through many rounds, while answers are lost, some give up, and sessions die.
func TestDoubleBarrierStress(t *testing.T) {
	onEachStoreWithFaults(t, func(f *fixture, faults *faults) {
		const parties, rounds = 4, 12
		b := f.double(f.session, parties)
		stop := f.record(b.path)
		faults.set(everyNthWriteAnsweredLate(5))
		finished, done := context.WithCancel(f.Context())
		defer done()
		var wg sync.WaitGroup
		for p := range parties {
			wg.Go(func() {
				defer done() // the first who has had enough ends it for all
				for passed, try := 0, 0; passed < rounds && finished.Err() == nil; try++ {
					ok, err := f.takePart(finished, p == 0 && try%4 == 1, parties)
					if err != nil {
						f.Error(err)
						return
					}
					if ok {
						passed++
					}
				}
			})
		}
		wg.Wait()
		events := stop()
		for _, v := range checkRounds(events, b, parties) {
			f.Error(v)
		}
		began := 0
		for _, ev := range events {
			if ev.Value == roundReady && ev.Created == ev.Revision {
				began++
			}
		}
		if began < rounds {
			f.Errorf("%d rounds began", began)
		}
	})
}

// takePart goes through one round with a session of its own, and says what it did. With dies the session ends while it is
// in.
func (f *fixture) takePart(ctx context.Context, dies bool, parties int) (passed bool, err error) {
	s, err := NewSession(ctx, f.client, &SessionOptions{TTLSeconds: 60})
	if err != nil {
		return false, nil // the end
	}
	defer s.Close()
	b := f.double(s, parties)
	if dies {
		waiting := enterLater(ctx, b)
		s.Close()
		<-waiting
		return false, nil
	}
	r, err := b.Enter(ctx)
	switch {
	case ctx.Err() != nil, errors.Is(err, ErrBarrierBroken):
		return false, nil
	case err != nil:
		return false, err
	}
	note := func(what string) error {
		_, err := f.client.Put(f.Context(), b.path+what, fmt.Sprintf("%016x", r.Generation()))
		return err
	}
	if err := note("/in"); err != nil {
		return false, err
	}
	if err := r.Leave(f.Context()); err != nil {
		return false, err
	}
	return true, note("/out")
}

func TestRoundCheckerComplains(t *testing.T) {
	b := &DoubleBarrier{path: "/p"}
	put := func(key, value string) history.Event { return history.Event{Key: "/p/" + key, Value: value} }
	del := func(key string) history.Event { return history.Event{Key: "/p/" + key, Deleted: true} }
	both := []history.Event{put("g/1/m/a", ""), put("g/1/m/b", ""), put("g/1/outcome", roundReady), put("in", "1"), put("in", "1")}
	for want, h := range map[string][]history.Event{
		"":               append(slices.Clone(both), del("g/1/m/a"), del("g/1/m/b"), del("g/1/outcome"), put("out", "1"), put("out", "1")),
		"goes on":        {put("g/1/m/a", ""), put("in", "1")},
		"before 1":       append(slices.Clone(both), del("g/1/m/a"), put("out", "1")),
		"ready with 1":   {put("g/1/m/a", ""), put("g/1/outcome", roundReady)},
		"ready with 2":   {put("g/1/m/a", ""), del("g/1/m/a"), put("g/1/m/b", ""), put("g/1/m/c", ""), put("g/1/outcome", roundReady)},
		"over or full":   append(slices.Clone(both), put("g/1/m/c", "")),
		"second outcome": append(slices.Clone(both), put("g/1/outcome", roundBroken)),
		"cleared with":   append(slices.Clone(both), del("g/1/outcome")),
	} {
		got := strings.Join(checkRounds(h, b, 2), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("the checker says %q, want %q", got, want)
		}
	}
}
