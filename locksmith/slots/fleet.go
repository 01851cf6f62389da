package slots

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Fleet is all groups of one prefix together: the cluster in policies, and what
// plans are made of. It holds no state; its methods may be called concurrently.
type Fleet struct{ scope }

// NewFleet names the groups below a prefix of the store behind c.
func NewFleet(c *clientv3.Client, prefix string) *Fleet { return &Fleet{clusterOf(c, prefix)} }

// Group names a group of the fleet. [ErrName].
func (f *Fleet) Group(name string) (*Group, error) { return NewGroup(f.client, f.prefix, name) }

// Snapshot is a whole fleet at one revision of the store.
type Snapshot struct {
	Policy   Policy                `json:"policy"` // of the cluster
	Standing Standing              `json:"standing"`
	Groups   map[string]*GroupView `json:"groups"`            // by name: those of which the store knows anything
	Damaged  []*DamagedError       `json:"damaged,omitempty"` // what could not be read, and is not in Groups
	Revision int64                 `json:"revision"`
}

// Stops returns what of the damage keeps the machines of a group from being granted
// slots: any holder, who may count against any limit, or what the group's own rules
// are. nil if nothing does.
func (s *Snapshot) Stops(group string) *DamagedError {
	for _, d := range s.Damaged {
		if d.ID != "" || d.terms && d.Group == group {
			return d
		}
	}
	return nil
}

// GroupView is a group in a [Snapshot].
type GroupView struct {
	Policy   Policy   `json:"policy"`
	Standing Standing `json:"standing"`
	Holders  []Record `json:"holders"` // by rising machine id
	Queue    []Record `json:"queue"`   // in the order in which they go
	Agents   []Status `json:"agents"`  // of the machines that are alive, by rising machine id
	name     string
}

// Rules are those that grants in the group are judged by.
func (s *Snapshot) Rules(group string) *Rules {
	r := &Rules{Cluster: s.Policy, ClusterStanding: s.Standing}
	if g := s.Groups[group]; g != nil {
		r.Group, r.Standing = g.Policy, g.Standing
	}
	return r
}

// Holders are those of all groups.
func (s *Snapshot) Holders() (all []Record) {
	for _, g := range s.Groups {
		all = append(all, g.Holders...)
	}
	return all
}

// snapshotPage is how many keys a request of Snapshot reads.
const snapshotPage = 1000

// Snapshot reads the whole fleet, in pages of one revision.
func (f *Fleet) Snapshot(ctx context.Context) (snapshot *Snapshot, err error) {
	err = f.newTry("read fleet").until(ctx, func(*try) (done bool, err error) {
		snapshot, err = f.readSnapshot(ctx)
		if errors.Is(err, rpctypes.ErrCompacted) { // between two pages
			return false, nil
		}
		return err == nil, err
	})
	return snapshot, err
}

func (f *Fleet) readSnapshot(ctx context.Context) (*Snapshot, error) {
	s := &Snapshot{Groups: map[string]*GroupView{}}
	terms, err := f.readTerms(ctx)
	if err != nil {
		return nil, err
	}
	s.Policy, s.Standing, s.Revision = terms.Policy, terms.Standing, terms.revision
	for _, part := range []struct {
		prefix string
		terms  bool
		add    func(g *GroupView, rest string, kv *mvccpb.KeyValue) error
	}{
		{f.prefix + "/slots/groups/", true, addTerms},
		{f.prefix + "/slots/holders/", false, addHolder},
		{f.prefix + "/queue/", false, addQueued},
		{f.prefix + "/agents/", false, addAgent},
	} {
		err := f.eachKey(ctx, part.prefix, s, func(rest string, kv *mvccpb.KeyValue) {
			escaped, rest, _ := strings.Cut(rest, "/")
			name, err := url.QueryUnescape(escaped)
			if err == nil {
				err = part.add(s.group(name), rest, kv)
			}
			if err == nil {
				return
			}
			d, ok := errors.AsType[*DamagedError](err)
			if !ok {
				d = damaged(kv, err)
			}
			d.Group, d.terms = name, part.terms
			s.Damaged = append(s.Damaged, d)
		})
		if err != nil {
			return nil, err
		}
	}
	for _, g := range s.Groups {
		slices.SortStableFunc(g.Queue, CompareInQueue)
	}
	return s, nil
}

// group is the view of a group, which begins with nothing.
func (s *Snapshot) group(name string) *GroupView {
	g := s.Groups[name]
	if g == nil {
		g = &GroupView{name: name, Holders: []Record{}, Queue: []Record{}, Agents: []Status{}}
		s.Groups[name] = g
	}
	return g
}

// eachKey visits all keys that begin with prefix, as of the snapshot's revision.
func (f *Fleet) eachKey(ctx context.Context, prefix string, s *Snapshot, visit func(rest string, kv *mvccpb.KeyValue)) error {
	for from, end := prefix, clientv3.GetPrefixRangeEnd(prefix); ; {
		page, err := f.page(ctx, from, end, s.Revision)
		if err != nil {
			return err
		}
		for _, kv := range page.Kvs {
			visit(strings.TrimPrefix(string(kv.Key), prefix), kv)
		}
		if !page.More {
			return nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

func (f *Fleet) page(ctx context.Context, from, end string, revision int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return f.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(snapshotPage), clientv3.WithRev(revision))
}

func addTerms(g *GroupView, rest string, kv *mvccpb.KeyValue) error {
	if rest == "policy" {
		return decodePolicy(kv, &g.Policy, (*Policy).Validate)
	}
	return decodeJSON(kv, &g.Standing)
}

func addHolder(g *GroupView, _ string, kv *mvccpb.KeyValue) error {
	r, err := DecodeRecord(kv)
	if err == nil {
		g.Holders = append(g.Holders, r)
	}
	return err
}

func addQueued(g *GroupView, _ string, kv *mvccpb.KeyValue) error {
	r, err := decodeOneQueued(kv, g.name)
	if err == nil {
		g.Queue = append(g.Queue, r)
	}
	return err
}

func addAgent(g *GroupView, _ string, kv *mvccpb.KeyValue) error {
	s, err := DecodeStatus(kv)
	if err == nil {
		g.Agents = append(g.Agents, s)
	}
	return err
}
