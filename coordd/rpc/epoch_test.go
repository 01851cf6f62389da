package rpc

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/proto/coordpb"
)

// TestClientsComeBehindTheEpoch: whatever a client writes first, where the epoch is due it is raised before.
func TestClientsComeBehindTheEpoch(t *testing.T) {
	for name, write := range map[string]func(context.Context, *clientv3.Client) error{
		"put": func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.Put(ctx, "k", "")
			return err
		},
		"transaction": func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.Txn(ctx).Then(clientv3.OpPut("k", "")).Commit()
			return err
		},
		"lease": func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.Grant(ctx, 10)
			return err
		},
		"member": func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.MemberAddAsLearner(ctx, []string{"http://127.0.0.1:3"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(cfg *Config) {
				last, _ := cfg.Store.Applied()
				self := &coordpb.Member{Id: testMember, Name: "m", PeerUrls: []string{"http://127.0.0.1:1"}}
				if err := cfg.Store.Force(self, last); err != nil {
					t.Fatal(err)
				}
			})
			if !r.store.EpochDue() {
				t.Fatal("the epoch is not due")
			}
			if err := write(t.Context(), r.client); err != nil {
				t.Fatal(err)
			}
			got, err := r.store.Range(t.Context(), &pb.RangeRequest{Key: []byte(kvcore.EpochKey)})
			if err != nil || got.Count != 1 || got.Kvs[0].ModRevision != 2 || r.store.EpochDue() {
				t.Errorf("the epoch is %v, %v, due %t; want it at revision 2", got, err, r.store.EpochDue())
			}
		})
	}
}
