package slots

import (
	"context"
	"net/url"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Status is what the agent of a machine says of it. It lives in the store as long
// as the agent's lease: a machine without one is absent.
type Status struct {
	ID       string    `json:"id"`
	Group    string    `json:"group"` // set by Report
	Hostname string    `json:"hostname,omitempty"`
	Zone     string    `json:"zone,omitempty"`
	Stage    int       `json:"stage,omitempty"`
	Priority int       `json:"priority,omitempty"`
	Member   string    `json:"member,omitempty"`
	BootID   string    `json:"boot_id,omitempty"`
	State    string    `json:"state"`             // of the agent's state machine
	Since    time.Time `json:"since"`             // when the state was entered
	Wanted   string    `json:"wanted,omitempty"`  // why a reboot is wanted, "" if none is
	Blocked  []string  `json:"blocked,omitempty"` // what keeps the machine from rebooting now
	Opens    time.Time `json:"opens,omitzero"`    // when its next window opens, zero when one is open or none is needed
	Version  string    `json:"version,omitempty"` // of the agent
}

// DecodeStatus reads what an agent has reported.
func DecodeStatus(kv *mvccpb.KeyValue) (Status, error) {
	var s Status
	err := decodeJSON(kv, &s)
	return s, err
}

func (g *Group) agentKey(id string) string {
	return g.prefix + "/agents/" + url.QueryEscape(g.group) + "/" + url.QueryEscape(id)
}

// Report tells everybody how the machine is, until the lease ends. An error of
// etcd says that the lease has ended.
func (g *Group) Report(ctx context.Context, lease clientv3.LeaseID, s Status) error {
	if err := checkName("machine id", s.ID); err != nil {
		return err
	}
	s.Group = g.group
	put, err := putJSON(g.agentKey(s.ID), s, clientv3.WithLease(lease))
	if err != nil {
		return err
	}
	return g.newTry("report status of "+s.ID).until(ctx, func(t *try) (done bool, err error) {
		return t.commit(ctx, g.client, nil, put)
	})
}

// StatusOf reads what the agent of a machine says of it, linearizably; alive is
// whether there is one.
func (g *Group) StatusOf(ctx context.Context, id string) (s Status, alive bool, err error) {
	if err := checkName("machine id", id); err != nil {
		return Status{}, false, err
	}
	err = g.newTry("read status of "+id).until(ctx, func(*try) (done bool, err error) {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		resp, err := g.client.Get(ctx, g.agentKey(id))
		if err != nil {
			return false, err
		}
		if alive = len(resp.Kvs) > 0; alive {
			s, err = DecodeStatus(resp.Kvs[0])
		}
		return true, err
	})
	return s, alive, err
}
