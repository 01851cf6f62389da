package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/e2e/lincheck"
	"github.com/coordd/coordd/recipes"
)

// lead wins an election, uses the resource as the leader, and resigns or hands over to
// any candidate. It also asks who leads, before and while it does.
func (r roamer) lead(ctx context.Context) {
	e := recipes.NewElection(r.session, r.target.Name, nil)
	r.askWhoLeads(e)
	called := now()
	leadership, err := e.Campaign(ctx, "")
	if err != nil {
		return
	}
	r.diary.write(line{Target: r.target, Op: &lincheck.Op{
		Call: called, Return: now(), Do: lincheck.Acquire, Who: leadership.Key(), Token: leadership.Token().Revision(),
	}})
	r.use(leadership, leadership.Token(), false)
	r.askWhoLeads(e)
	if candidate := r.anyCandidate(); candidate != "" && rand.N(2) > 0 {
		r.transfer(leadership, candidate)
		return
	}
	r.release(leadership.Key(), leadership.Resign)
}

func (r roamer) askWhoLeads(e *recipes.Election) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	op := lincheck.Op{Call: now(), Do: lincheck.Leader}
	state, err := e.Leader(ctx)
	if err != nil && !errors.Is(err, recipes.ErrNoLeader) {
		return
	}
	if op.Return = now(); err == nil {
		op.To, op.Token = string(state.KV.Key), state.KV.CreateRevision
	}
	r.diary.write(line{Target: r.target, Op: &op})
}

// anyCandidate is the key of somebody who stands, "" if nobody does.
func (r roamer) anyCandidate() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	resp, err := r.client.Get(ctx, r.target.path()+"/q/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return ""
	}
	var candidates []string
	for _, kv := range resp.Kvs {
		if key := string(kv.Key); !strings.Contains(strings.TrimPrefix(key, r.target.path()+"/q/"), "/") {
			candidates = append(candidates, key)
		}
	}
	if len(candidates) == 0 {
		return ""
	}
	return candidates[rand.N(len(candidates))]
}

func (r roamer) transfer(from *recipes.Leadership, candidate string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	op := lincheck.Op{Call: now(), Do: lincheck.Transfer, Who: from.Key(), To: strings.Replace(candidate, "/q/", "/h/", 1)}
	if from.Transfer(ctx, candidate) != nil {
		return // over, whoever leads now; the judge knows by the missing line
	}
	op.Return = now()
	r.diary.write(line{Target: r.target, Op: &op})
}
