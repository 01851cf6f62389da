package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/coordd/coordd/e2e/cluster"
	"github.com/coordd/coordd/locksmith/slots"
)

const (
	killAtReboot    = 2 // the leader is killed when so many machines have gone down
	restartAtReboot = 5 // and started again when so many have
)

// play runs the whole demo and returns the verdict. When it returns, every
// process that it started has ended.
func play(ctx context.Context, show *timeline, dir, server, agent string) (findings []finding, err error) {
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o700); err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	store, err := cluster.Start(running, cluster.Spec{Program: server, Size: memberCount, Dir: filepath.Join(dir, "logs")})
	if err != nil {
		return nil, err
	}
	defer store.Kill()
	show.line(actorDemo, "cluster", "%d members of %s serve", memberCount, filepath.Base(server))

	client, err := slots.NewClient(slots.ClientConfig{Endpoints: store.Endpoints()})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	group, err := slots.NewGroup(client, slots.DefaultPrefix, slots.DefaultGroup)
	if err != nil {
		return nil, err
	}
	d := &director{show: show, dir: dir, store: store, client: client, group: group, gone: map[string]bool{}}
	want := expectation{holdersPrefix: group.HoldersPrefix(), maxDown: slots.DefaultMax}
	for i := range machineCount {
		want.machines = append(want.machines, fmt.Sprintf("m%d", i+1))
	}
	if want.acked, err = d.direct(running, agent, want.machines); err != nil {
		return nil, err
	}
	history, err := readHistory(running, client)
	if err != nil {
		return nil, err
	}
	return judge(history, want), nil
}

// director follows what the store tells and does the cluster harm at the right moment.
type director struct {
	show   *timeline
	dir    string // of the machines
	store  *cluster.Cluster
	client *clientv3.Client
	group  *slots.Group

	// Owned by follow.
	gone    map[string]bool // machines that have gone down
	back    int             // machines that gave their slot back after that
	victim  *cluster.Member // the member that was killed
	serving chan error      // that member was started again: tells when it serves
}

// direct runs machines and writer until all machines have rebooted, and returns
// the acknowledged writes.
func (d *director) direct(ctx context.Context, agent string, machines []string) (acked []write, err error) {
	ctx, done := context.WithCancel(ctx)
	defer done()
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		acked = keepWriting(ctx, d.show, d.client)
		return nil
	})
	for _, id := range machines {
		m := &machine{id: id, dir: d.dir, agent: agent, endpoints: d.store.Endpoints()}
		tasks.Go(func() error { return m.run(ctx) })
	}
	d.show.line(actorDemo, "fleet", "%d machines want to reboot now, %d may be down", len(machines), slots.DefaultMax)
	tasks.Go(func() error {
		if err := d.follow(ctx, len(machines)); err != nil {
			return err
		}
		done()
		return nil
	})
	if err := tasks.Wait(); err != nil {
		return nil, err
	}
	return acked, nil
}

// follow watches the records of the machines until all have been away and back.
func (d *director) follow(ctx context.Context, machines int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prefix := d.group.HoldersPrefix()
	for resp := range d.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if err := resp.Err(); err != nil {
			return fmt.Errorf("follow the machines: %w", err)
		}
		for _, e := range resp.Events {
			e := newEvent(e)
			if err := d.tell(ctx, strings.TrimPrefix(e.key, prefix), e); err != nil {
				return err
			}
		}
		if d.back == machines {
			return <-d.serving
		}
	}
	return errors.Join(errors.New("follow the machines: the watch has ended"), context.Cause(ctx))
}

// tell shows one change of a record, and reacts to it.
func (d *director) tell(ctx context.Context, id string, e event) error {
	if e.deleted {
		d.show.line(actorMachine, id, "gives its slot back")
		if d.gone[id] {
			d.back++
		}
		return nil
	}
	var r slots.Record
	if err := json.Unmarshal([]byte(e.value), &r); err != nil {
		return fmt.Errorf("read the record of %s: %w", id, err)
	}
	switch r.Phase {
	case slots.Held:
		d.show.line(actorMachine, id, "takes a slot")
	case slots.Rebooting:
		d.show.line(actorMachine, id, "goes down for %s", r.Reason)
		d.gone[id] = true
		return d.harm(ctx)
	case slots.Back:
		d.show.line(actorMachine, id, "is back, as %s", r.BootID)
	case slots.Verifying:
		d.show.line(actorMachine, id, "checks its health")
	}
	return nil
}

// harm kills the leader when enough machines have gone down, and later starts it again.
func (d *director) harm(ctx context.Context) (err error) {
	switch {
	case d.victim == nil && len(d.gone) >= killAtReboot:
		if d.victim, err = findLeader(ctx, d.store, d.client); err != nil {
			return fmt.Errorf("find the leader: %w", err)
		}
		d.show.line(actorMember, d.victim.Name, "%s, the leader", d.show.paint(bad, "killed"))
		d.victim.Kill()
	case d.serving == nil && len(d.gone) >= restartAtReboot:
		d.show.line(actorMember, d.victim.Name, "started again")
		if err := d.victim.Start(); err != nil {
			return err
		}
		d.serving = make(chan error, 1)
		go func() { d.serving <- d.awaitVictim(ctx) }()
	}
	return nil
}

// awaitVictim demands that the member that was killed serves again.
func (d *director) awaitVictim(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := d.victim.AwaitReady(ctx); err != nil {
		return err
	}
	d.show.line(actorMember, d.victim.Name, "serves again")
	return nil
}
