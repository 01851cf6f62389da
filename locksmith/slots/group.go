package slots

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// DefaultPrefix is where the programs of this project keep their slots.
	DefaultPrefix = "locksmith"
	// DefaultGroup is the group of machines that name none.
	DefaultGroup = "default"
	// DefaultMax is the limit of a group for which none was set.
	DefaultMax = 1
	// MaxSlots is the highest limit that SetMax accepts.
	MaxSlots = 1_000_000
)

// Group is a set of machines that share slots. It is a name: it holds no state,
// and all its methods may be called concurrently.
type Group struct {
	client *clientv3.Client
	name   string
	base   string // <prefix>/groups/<group>/
}

// NewGroup names a group of the store behind c. The prefix keeps apart what
// shares a store. [ErrName] if the name is empty, not UTF-8 or over 256 bytes.
func NewGroup(c *clientv3.Client, prefix, name string) (*Group, error) {
	if err := checkName("group", name); err != nil {
		return nil, err
	}
	return &Group{client: c, name: name, base: prefix + "/groups/" + url.QueryEscape(name) + "/"}, nil
}

// Name is the name of the group.
func (g *Group) Name() string { return g.name }

// HoldersPrefix is the prefix of the keys of the group's holders, and of no other key.
func (g *Group) HoldersPrefix() string { return g.base + "holders/" }

func (g *Group) configKey() string          { return g.base + "config" }
func (g *Group) holderKey(id string) string { return g.HoldersPrefix() + url.QueryEscape(id) }

// State is a group at one revision of the store.
type State struct {
	Group    string   `json:"group"`
	Max      int      `json:"max"`
	Holders  []Record `json:"holders"` // by rising machine id, never nil
	Revision int64    `json:"revision"`

	configRevision int64 // mod revision of the limit's key, 0 if there is none
}

// Available is how many slots are free.
func (s *State) Available() int { return max(0, s.Max-len(s.Holders)) }

// Holder finds the record of a machine.
func (s *State) Holder(id string) (Record, bool) {
	for _, r := range s.Holders {
		if r.ID == id {
			return r, true
		}
	}
	return Record{}, false
}

// State reads the group, linearizably.
func (g *Group) State(ctx context.Context) (*State, error) {
	t := g.newTry("read state")
	for {
		s, err := g.readState(ctx)
		if err == nil {
			return s, nil
		}
		if err := t.again(ctx, err); err != nil {
			return nil, err
		}
	}
}

// readState reads limit and holders in one transaction, so as of one revision.
func (g *Group) readState(ctx context.Context) (*State, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	resp, err := g.client.Txn(ctx).Then(
		clientv3.OpGet(g.configKey()),
		clientv3.OpGet(g.HoldersPrefix(), clientv3.WithPrefix()),
	).Commit()
	if err != nil {
		return nil, err
	}
	s := &State{Group: g.name, Max: DefaultMax, Revision: resp.Header.Revision, Holders: []Record{}}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		if s.Max, err = decodeConfig(kv); err != nil {
			return nil, err
		}
		s.configRevision = kv.ModRevision
	}
	for _, kv := range resp.Responses[1].GetResponseRange().Kvs {
		r, err := DecodeRecord(kv)
		if err != nil {
			return nil, err
		}
		s.Holders = append(s.Holders, r)
	}
	return s, nil
}

// SetMax sets how many slots the group has and returns how many it had. 0 keeps
// every machine from rebooting. A limit below the slots in use takes none away;
// it grants none until enough were given back. [ErrMax] outside 0 to MaxSlots.
func (g *Group) SetMax(ctx context.Context, n int) (old int, err error) {
	if n < 0 || n > MaxSlots {
		return 0, fmt.Errorf("slots: set limit to %d: %w: 0 to %d are allowed", n, ErrMax, MaxSlots)
	}
	value, err := json.Marshal(config{Max: &n})
	if err != nil {
		return 0, fmt.Errorf("slots: encode limit: %w", err)
	}
	t := g.newTry("set limit")
	for {
		s, err := g.readState(ctx)
		if err == nil {
			if t.unknown && s.Max == n {
				return old, nil // an earlier commit took place, its answer was lost
			}
			old = s.Max
			var revision int64
			revision, err = g.commit(ctx,
				[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(g.configKey()), "=", s.configRevision)},
				clientv3.OpPut(g.configKey(), string(value)))
			if revision != 0 {
				return old, nil
			}
			t.unknown = t.unknown || err != nil
		}
		if err := t.again(ctx, err); err != nil {
			return 0, err
		}
	}
}

// commit runs one conditional write and returns its revision, 0 when its
// conditions did not hold. An error leaves open whether the write took place.
func (g *Group) commit(ctx context.Context, conditions []clientv3.Cmp, op clientv3.Op) (revision int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	resp, err := g.client.Txn(ctx).If(conditions...).Then(op).Commit()
	if err != nil || !resp.Succeeded {
		return 0, err
	}
	return resp.Header.Revision, nil
}

// config is the value of a group's config key.
type config struct {
	Max *int `json:"max"` // absent: DefaultMax
}

func decodeConfig(kv *mvccpb.KeyValue) (int, error) {
	var c config
	if err := json.Unmarshal(kv.Value, &c); err != nil {
		return 0, fmt.Errorf("slots: decode limit %q: %w", kv.Key, err)
	}
	if c.Max == nil {
		return DefaultMax, nil
	}
	if *c.Max < 0 || *c.Max > MaxSlots {
		return 0, fmt.Errorf("slots: limit %d in %q: %w", *c.Max, kv.Key, ErrMax)
	}
	return *c.Max, nil
}
