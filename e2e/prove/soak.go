package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/coordd/coordd/e2e/history"
	"github.com/coordd/coordd/e2e/lincheck"
)

const (
	workerCount = 5
	stuckOneIn  = 40
)

// soak is a cluster, workers full of roamers, and all that can happen to both.
type soak struct {
	*stage
	client   *clientv3.Client // reaches the members directly
	recorder *history.Recorder
	workers  []*player
	diaries  []string // of the workers, and our own
	diary    *diary   // our own: what the users of the semaphore cannot know
	// chronicle is what happened when, for people to read.
	chronicle *os.File
}

// runSoak runs all faults so many times, or a few of them, and judges.
func runSoak(ctx context.Context, p programs, dir string, rounds int, few int) (found outcome, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return found, err
	}
	s := &soak{}
	if s.stage, err = newStage(ctx, p, dir, 3); err != nil {
		return found, err
	}
	defer s.close()
	if s.chronicle, err = os.Create(s.in("chronicle")); err != nil {
		return found, err
	}
	defer s.chronicle.Close()
	s.diaries = []string{s.in("nemesis.diary")}
	if s.diary, err = openDiary(s.diaries[0]); err != nil {
		return found, err
	}
	s.client, err = clientv3.New(clientv3.Config{Endpoints: s.store.Endpoints(), Logger: zap.NewNop(), DialTimeout: 10 * time.Second})
	if err != nil {
		return found, err
	}
	defer s.client.Close()
	if s.recorder, err = history.Record(ctx, s.client, ""); err != nil {
		return found, err
	}
	defer s.recorder.Stop()
	defer s.endWorkers()
	for i := range workerCount {
		w, err := s.newRoamers(ctx, i)
		if err != nil {
			return found, err
		}
		s.workers = append(s.workers, w)
	}
	happened, err := s.harm(ctx, rounds, few)
	if err != nil {
		return found, err
	}
	return s.judge(ctx, happened)
}

func (s *soak) endWorkers() {
	for _, w := range s.workers {
		w.end()
	}
}

// newRoamers starts a worker. For the first the store's clock runs fast, by as much as is
// allowed for; the second has a lock delay.
func (s *soak) newRoamers(ctx context.Context, i int) (*player, error) {
	c := command{TTLSeconds: roamTTLSeconds, StuckOneIn: stuckOneIn}
	switch i {
	case 0:
		c.TTLSeconds, c.FastBy, c.MaxDrift = roamTTLSeconds+1, 1, 0.25
	case 1:
		c.LockDelay = time.Second
	}
	p, err := s.newPlayer(ctx, c)
	if err != nil {
		return nil, err
	}
	c.Do, c.Diary = "roam", s.in(p.name+".diary")
	s.diaries = append(s.diaries, c.Diary)
	if _, err := p.do(ctx, c); err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

// harm lets one fault follow the other, in any order.
func (s *soak) harm(ctx context.Context, rounds, few int) (happened int, err error) {
	for range rounds {
		faults := s.faults()
		rand.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		if few > 0 {
			faults = faults[:few]
		}
		for _, f := range faults {
			pause(ctx, calmTime)
			fmt.Fprintf(s.chronicle, "%v %s\n", now(), f.name)
			bounded, cancel := context.WithTimeout(ctx, time.Minute)
			err := f.do(bounded)
			cancel()
			if err != nil {
				return happened, fmt.Errorf("%s: %w", f.name, err)
			}
			happened++
		}
	}
	pause(ctx, calmTime)
	return happened, nil
}

// judge settles all roamers and looks at what they have done.
func (s *soak) judge(ctx context.Context, happened int) (found outcome, err error) {
	events, err := s.settle(ctx)
	if err != nil {
		return found, err
	}
	var lines []line
	for _, path := range s.diaries {
		more, err := readDiary(path)
		if err != nil {
			return found, err
		}
		lines = append(lines, more...)
	}
	state, err := s.resourceState(ctx)
	if err != nil {
		return found, err
	}
	wrong := append(judgeHistory(events), judgeDiaries(lines)...)
	wrong = append(wrong, judgeResource(state.Log)...)
	if err := s.tell(wrong, events); err != nil {
		return found, err
	}
	found.trials, found.violations = acquisitions(lines), len(wrong)
	found.note = fmt.Sprintf("acquisitions, through %d faults; %d revisions, %d accesses judged", happened, len(events), len(state.Log))
	if len(wrong) > 0 {
		found.note = wrong[0]
	}
	return found, nil
}

// tell writes down what is wrong, and the history that shows it.
func (s *soak) tell(wrong []string, events []history.Event) error {
	if len(wrong) == 0 {
		return nil
	}
	for _, w := range wrong {
		fmt.Fprintln(s.chronicle, w)
	}
	file, err := os.Create(s.in("history"))
	if err != nil {
		return err
	}
	defer file.Close()
	for _, ev := range events {
		fmt.Fprintf(file, "%+v\n", ev)
	}
	return nil
}

// settle lets the workers give back what they have, and returns the history. Whoever is
// left in a queue after the leases of the dead have expired is there for ever.
func (s *soak) settle(ctx context.Context) ([]history.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, w := range s.workers {
		if _, err := w.do(ctx, command{Do: "settle"}); err != nil {
			return nil, err
		}
	}
	patience, cancelPatience := context.WithTimeout(ctx, 4*roamTTLSeconds*time.Second)
	defer cancelPatience()
	for _, t := range targets {
		s.awaitEmpty(patience, t)
	}
	var last *clientv3.PutResponse
	err := insist(ctx, func() (err error) {
		last, err = s.client.Put(ctx, "/prove/end", "")
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.recorder.Until(last.Header.Revision)
}

// awaitEmpty returns when nobody waits or holds any more, or patience ends.
func (s *soak) awaitEmpty(patience context.Context, t target) {
	for patience.Err() == nil {
		queue, errQueue := s.client.Get(patience, t.path()+"/q/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		holders, errHolders := s.client.Get(patience, t.path()+"/h/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if errQueue == nil && errHolders == nil && queue.Count+holders.Count == 0 {
			return
		}
		pause(patience, 50*time.Millisecond)
	}
}

func acquisitions(lines []line) (n int) {
	for _, l := range lines {
		if l.Op != nil && l.Op.Do == lincheck.Acquire {
			n++
		}
	}
	return n
}
