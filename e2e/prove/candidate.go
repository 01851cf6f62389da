package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/recipes"
	"github.com/coordd/coordd/recipes/fence"
)

// candidate stands for an election once.
type candidate struct {
	election    *recipes.Election
	path        string
	attempt     string
	byCandidacy bool // whether its token is that of its candidacy

	elected    chan error
	leadership *recipes.Leadership // once elected tells
	since      int64               // create revision of the candidacy; 0 if there was none
	successor  string              // the candidate to hand over to
}

func newCandidate(s *recipes.Session, name string, byCandidacy bool) *candidate {
	var id [16]byte
	rand.Read(id[:]) // never fails
	attempt := hex.EncodeToString(id[:])
	return &candidate{
		election: recipes.NewElection(s, name, &recipes.ElectionOptions{Attempt: attempt}),
		path:     recipes.DefaultElectionPrefix + "/" + name, attempt: attempt, byCandidacy: byCandidacy, elected: make(chan error, 1),
	}
}

// stand begins to campaign, and returns the candidate's key once it stands in the queue,
// or the leader's once it leads.
func (c *candidate) stand(ctx context.Context, client *clientv3.Client) (key string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := client.Watch(ctx, c.path, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-watch
	go func() {
		leadership, err := c.election.Campaign(context.WithoutCancel(ctx), c.attempt)
		c.leadership = leadership
		c.elected <- err
	}()
	for resp := range watch {
		for _, ev := range resp.Events {
			switch key := string(ev.Kv.Key); key {
			case c.path + "/q/" + c.attempt:
				c.since = ev.Kv.CreateRevision
				return key, nil
			case c.path + "/h/" + c.attempt:
				return key, nil
			}
		}
	}
	return "", fmt.Errorf("the watch of %s has ended", c.path)
}

// lead waits until the candidate leads.
func (c *candidate) lead() (*claim, error) {
	if err := <-c.elected; err != nil {
		return nil, err
	}
	token := c.leadership.Token()
	if c.byCandidacy && c.since > 0 {
		f := token.Fields()
		f.Revision = c.since
		var err error
		if token, err = fence.New(f); err != nil {
			return nil, err
		}
	}
	return &claim{token: token, valid: c.leadership.Valid, release: c.leadership.Resign}, nil
}

func (c *candidate) transfer(ctx context.Context) error {
	return c.leadership.Transfer(ctx, c.successor)
}
