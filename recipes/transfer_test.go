package recipes

import (
	"context"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A leader transfers to a candidate that is just giving up: the office must not stay with
// somebody who does not know of it, as long as that one's session lives.
func TestTransferToOneWhoGivesUp(t *testing.T) {
	var faults faults
	f := newFixture(t, faults.option())
	options := &ElectionOptions{Prefix: f.options.Prefix}
	leader := f.campaign(NewElection(openSession(t, dial(t, startServer(t)), 60), "office", options), "leader")
	ctx, giveUp := context.WithCancel(t.Context())
	watch := f.client.Watch(ctx, options.Prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-watch
	candidacy := f.campaignLater(ctx, NewElection(f.session, "office", options), "candidate")
	candidate := ""
	for candidate == "" {
		for _, ev := range (<-watch).Events {
			if key := string(ev.Kv.Key); strings.Contains(key, queueDir) && !strings.HasSuffix(key, aboutSuffix) {
				candidate = key
			}
		}
	}
	transfer := sync.OnceValue(func() error { return leader.Transfer(t.Context(), candidate) })
	faults.set(func(ctx context.Context, req *pb.TxnRequest, send func(context.Context) error) error {
		if isRemoval(req) {
			if err := transfer(); err != nil {
				t.Error(err)
			}
		}
		return send(ctx)
	})
	giveUp()
	if o := <-candidacy; o.err == nil {
		t.Fatal("elected after giving up")
	}
	next := f.campaign(NewElection(openSession(t, dial(t, startServer(t)), 60), "office", options), "next")
	if err := next.Resign(t.Context()); err != nil {
		t.Error(err)
	}
}
