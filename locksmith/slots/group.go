package slots

import (
	"context"
	"fmt"
	"net/url"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// DefaultPrefix is where the programs of this project keep their slots.
	DefaultPrefix = "locksmith"
	// DefaultGroup is the group of machines that name none.
	DefaultGroup = "default"
)

// Group is a set of machines that share slots. It is a name: it holds no state,
// and all its methods may be called concurrently.
type Group struct {
	scope
	cluster scope
}

// NewGroup names a group of the store behind c. The prefix keeps apart what
// shares a store. [ErrName] if the name is empty, not UTF-8 or over 256 bytes.
func NewGroup(c *clientv3.Client, prefix, name string) (*Group, error) {
	if err := checkName("group", name); err != nil {
		return nil, err
	}
	return &Group{
		scope: scope{
			client: c, prefix: prefix, group: name,
			base:     prefix + "/slots/groups/" + url.QueryEscape(name) + "/",
			validate: (*Policy).Validate,
		},
		cluster: clusterOf(c, prefix),
	}, nil
}

func clusterOf(c *clientv3.Client, prefix string) scope {
	return scope{client: c, prefix: prefix, base: prefix + "/slots/cluster/", validate: (*Policy).validateCluster}
}

// Name is the name of the group.
func (g *Group) Name() string { return g.group }

// HoldersPrefix is the prefix of the keys of the group's holders, and of no other key.
func (g *Group) HoldersPrefix() string { return g.allHolders() + url.QueryEscape(g.group) + "/" }

func (g *Group) allHolders() string         { return g.prefix + "/slots/holders/" }
func (g *Group) holderKey(id string) string { return g.HoldersPrefix() + url.QueryEscape(id) }

// State is a group at one revision of the store.
type State struct {
	Group    string   `json:"group"`
	Max      int      `json:"max"`
	Pause    *Pause   `json:"pause,omitempty"` // of the group or, if that is not paused, of the cluster
	Holders  []Record `json:"holders"`         // by rising machine id, never nil
	Waiting  int      `json:"waiting"`         // machines in the queue
	Revision int64    `json:"revision"`
}

// Available is how many slots are free.
func (s *State) Available() int { return max(0, s.Max-len(s.Holders)) }

// Holder finds the record of a machine.
func (s *State) Holder(id string) (Record, bool) { return HolderOf(s.Holders, id) }

// HolderOf finds the record of a machine among those of one group.
func HolderOf(holders []Record, id string) (Record, bool) {
	for _, r := range holders {
		if r.ID == id {
			return r, true
		}
	}
	return Record{}, false
}

// State reads the group, linearizably.
func (g *Group) State(ctx context.Context) (s *State, err error) {
	err = g.newTry("read state").until(ctx, func(*try) (done bool, err error) {
		s, err = g.readState(ctx)
		return err == nil, err
	})
	return s, err
}

// readState reads everything in one transaction, so as of one revision.
func (g *Group) readState(ctx context.Context) (*State, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	resp, err := g.client.Txn(ctx).Then(append(append(g.gets(), g.cluster.gets()...),
		clientv3.OpGet(g.HoldersPrefix(), clientv3.WithPrefix()),
		clientv3.OpGet(g.queuePrefix(), clientv3.WithPrefix(), clientv3.WithCountOnly()),
	)...).Commit()
	if err != nil {
		return nil, err
	}
	own, err := g.decodeTerms(resp.Responses)
	if err != nil {
		return nil, err
	}
	cluster, err := g.cluster.decodeTerms(resp.Responses[2:])
	if err != nil {
		return nil, err
	}
	s := &State{
		Group: g.group, Max: own.MaxOr(DefaultMax), Pause: own.Pause, Revision: resp.Header.Revision,
		Waiting: int(resp.Responses[5].GetResponseRange().Count),
	}
	if s.Pause == nil {
		s.Pause = cluster.Pause
	}
	s.Holders, err = decodeRecords(resp.Responses[4].GetResponseRange().Kvs)
	return s, err
}

// SetMax sets how many slots the group has and returns how many it had. 0 keeps
// every machine from rebooting. A limit below the slots in use takes none away;
// it grants none until enough were given back. [ErrMax] outside 0 to MaxSlots.
func (g *Group) SetMax(ctx context.Context, n int) (old int, err error) {
	was, _, err := g.ChangePolicy(ctx, func(p *Policy) { p.Max = &n })
	if err != nil {
		return 0, fmt.Errorf("slots: set limit to %d: %w", n, err)
	}
	return was.MaxOr(DefaultMax), nil
}
