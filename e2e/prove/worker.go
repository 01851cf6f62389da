package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/coordd/coordd/recipes"
)

// A worker is a process that holds locks, in several lanes at once: each lane is a
// trial with a lock and a number of its own.

// command is what a worker is told to do in all of its lanes.
type command struct {
	Do string

	// Of "open".
	Lanes      int
	Sessions   int // shared by the lanes; 0: one for each
	Endpoints  []string
	Resource   string
	Policy     policy
	Name       string // prefix of the lanes' names
	Kind       kind
	TTLSeconds int64
	FastBy     int64 // seconds by which the store ends a lease too early for this worker's clock
	MaxDrift   float64
	LockDelay  time.Duration
	StuckOneIn int // transactions that arrive late, and as many whose replies are lost; 0: none
	// ByCandidacy makes the tokens of elections those of the candidacy, not of the grant.
	ByCandidacy bool

	// Of "roam".
	Diary string

	// Of "transfer": the candidates' keys, by lane.
	Candidates []string
	// Of "read".
	Advance bool
	// Of "sample".
	Until time.Duration
}

// result is what became of it in one lane.
type result struct {
	Err     string        `json:",omitempty"`
	At      time.Duration // on the clock of now
	Token   string        `json:",omitempty"`
	Key     string        `json:",omitempty"` // of a candidate
	Refused bool          `json:",omitempty"`
	Valid   bool          `json:",omitempty"`
}

// reply is a worker's answer: an error of the command, or a result for each lane.
type reply struct {
	Err   string `json:",omitempty"`
	Lanes []result
}

// firstErr is the error that keeps the reply from meaning anything.
func (r reply) firstErr() error {
	text := r.Err
	for _, l := range r.Lanes {
		text = cmp.Or(text, l.Err)
	}
	if text == "" {
		return nil
	}
	return errors.New(text)
}

// lanesPerClient bounds how many leases are renewed on one stream, one after the other.
const lanesPerClient = 25

type worker struct {
	client   *clientv3.Client
	lanes    []*lane
	resource resourceClient
	policy   policy
	crowd    *crowd
}

// lane is one trial in this worker.
type lane struct {
	name      string
	claim     func(context.Context) (*claim, error) // the next acquisition
	held      *claim
	read      int64
	candidate *candidate // of an election
}

func runWorker() int {
	w := &worker{}
	return serve(func(c command) reply {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		return w.do(ctx, c)
	})
}

func (w *worker) do(ctx context.Context, c command) reply {
	switch c.Do {
	case "open":
		return replyOf(w.open(ctx, c))
	case "lock":
		return w.each(func(l *lane, r *result) (err error) {
			l.held, err = l.claim(ctx)
			if r.At = now(); err == nil {
				r.Token = l.held.token.String()
			}
			return err
		})
	case "read":
		return w.each(func(l *lane, r *result) error { return w.read(ctx, l, c.Advance, r) })
	case "write":
		return w.each(func(l *lane, r *result) error {
			answer, err := w.ask(ctx, l, "write", l.read+1)
			r.Refused = answer.Refused
			return err
		})
	case "check":
		return w.each(func(l *lane, r *result) error {
			r.Valid = l.held.valid() == nil
			return nil
		})
	case "unlock":
		return w.each(func(l *lane, _ *result) error { return l.held.release(ctx) })
	case "stand":
		return w.each(func(l *lane, r *result) (err error) {
			r.Key, err = l.candidate.stand(ctx, w.client)
			return err
		})
	case "lead":
		return w.each(func(l *lane, _ *result) (err error) {
			l.held, err = l.candidate.lead()
			return err
		})
	case "transfer":
		for i, l := range w.lanes {
			l.candidate.successor = c.Candidates[i]
		}
		return w.each(func(l *lane, _ *result) error { return l.candidate.transfer(ctx) })
	case "sample":
		return w.sample(c.Until)
	case "roam":
		return replyOf(w.roam(c))
	case "settle":
		w.crowd.settle()
		return reply{}
	}
	return reply{Err: fmt.Sprintf("no such command: %q", c.Do)}
}

func replyOf(err error) reply {
	if err != nil {
		return reply{Err: err.Error()}
	}
	return reply{}
}

// roam lets a crowd go.
func (w *worker) roam(c command) error {
	diary, err := openDiary(c.Diary)
	if err != nil {
		return err
	}
	w.crowd = &crowd{
		client: w.client, resource: w.resource, diary: diary,
		options: recipes.SessionOptions{TTLSeconds: c.TTLSeconds, MaxDrift: c.MaxDrift, LockDelay: c.LockDelay},
	}
	w.crowd.start()
	return nil
}

func (w *worker) open(ctx context.Context, c command) (err error) {
	var opts []grpc.DialOption
	if c.FastBy > 0 {
		opts = fastStore(c.FastBy)
	}
	if c.StuckOneIn > 0 {
		opts = append(opts, stuckRequests(c.StuckOneIn))
	}
	clients := make([]*clientv3.Client, 1+c.Lanes/lanesPerClient)
	for i := range clients {
		clients[i], err = clientv3.New(clientv3.Config{Endpoints: c.Endpoints, Logger: zap.NewNop(), DialTimeout: 10 * time.Second, DialOptions: opts})
		if err != nil {
			return err
		}
	}
	w.client, w.resource, w.policy = clients[0], resourceClient{c.Resource}, c.Policy
	sessions, err := openSessions(ctx, clients, c)
	if err != nil {
		return err
	}
	for i := range c.Lanes {
		l := &lane{name: fmt.Sprintf("%s.%d", c.Name, i)}
		session := sessions[i%len(sessions)]
		if l.claim = session.claimer(c.Kind, l.name); c.Kind == election {
			l.candidate = newCandidate(session.recipes, l.name, c.ByCandidacy)
		}
		w.lanes = append(w.lanes, l)
	}
	return nil
}

// each does something in all lanes at once.
func (w *worker) each(do func(*lane, *result) error) reply {
	r := reply{Lanes: make([]result, len(w.lanes))}
	var running sync.WaitGroup
	for i, l := range w.lanes {
		running.Go(func() {
			if err := do(l, &r.Lanes[i]); err != nil {
				r.Lanes[i].Err = fmt.Sprintf("%s: %v", l.name, err)
			}
		})
	}
	running.Wait()
	return r
}

// read learns the number that the next write goes on from.
func (w *worker) read(ctx context.Context, l *lane, advance bool, r *result) error {
	if advance {
		answer, err := w.ask(ctx, l, "advance", 0)
		if r.Refused = answer.Refused; err != nil || answer.Refused {
			return err
		}
	}
	// What is read without showing the token raises no mark.
	answer, err := w.resource.do(ctx, access{Do: "read", Policy: unfenced, Name: w.place(l)})
	l.read = answer.Value
	return err
}

func (w *worker) ask(ctx context.Context, l *lane, do string, value int64) (accessed, error) {
	return w.resource.do(ctx, access{Do: do, Policy: w.policy, Name: l.name, Token: l.held.token.String(), Value: value})
}

// place is where the resource keeps the number of a lane.
func (w *worker) place(l *lane) string {
	if w.policy == marked {
		return placeOf(l.name, l.held.token)
	}
	return l.name
}

// sample looks again and again whether the locks are still valid in this worker's
// belief, and returns when each was last. One goroutine does it: it is never far behind.
func (w *worker) sample(until time.Duration) reply {
	r := reply{Lanes: make([]result, len(w.lanes))}
	for now() < until {
		for i, l := range w.lanes {
			if at := now(); l.held.valid() == nil {
				r.Lanes[i].At = at // valid then or later
			}
		}
		time.Sleep(time.Millisecond)
	}
	return r
}
