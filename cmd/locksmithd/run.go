package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/cmd/build"
	"github.com/coordd/coordd/locksmith/agent"
	"github.com/coordd/coordd/locksmith/blocker"
	"github.com/coordd/coordd/locksmith/config"
	"github.com/coordd/coordd/locksmith/health"
	"github.com/coordd/coordd/locksmith/hooks"
	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/slots"
	"github.com/coordd/coordd/locksmith/trigger"
	"github.com/coordd/coordd/locksmith/window"
)

// run is the life of the agent: until the reboot is under way or ctx ends.
func run(ctx context.Context, c *config.Config, log *slog.Logger) error {
	if c.Strategy == config.StrategyOff {
		log.Info("the strategy is off: nothing will reboot this machine")
		return nil
	}
	p, err := newParts(c, log)
	if err != nil {
		return err
	}
	defer p.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	supervisor := newSupervisor()
	registry := prometheus.NewRegistry()
	a, err := p.agent(registry, supervisor.tell)
	if err != nil {
		return err
	}
	server, err := serve(c.Metrics.Listen, registry, supervisor)
	if err != nil {
		return err
	}
	defer server.stop()
	defer listen(ctx, p.host.Triggers)()

	for _, missing := range missingPrograms(c) {
		p.log.Warn(missing)
	}
	p.log.Info("started", "strategy", string(c.Strategy), "endpoints", c.Store.Endpoints, "version", build.Version())
	supervisor.ready()
	a.Run(ctx)
	supervisor.stopping()
	cancel() // before the defers wait for what runs under it
	p.log.Info("ended", "state", a.State().String())
	return nil
}

// parts are what an agent is made of.
type parts struct {
	config   *config.Config
	log      *slog.Logger
	id, name string
	client   *clientv3.Client // nil with group: no slot is needed
	group    *slots.Group
	schedule *window.Schedule
	host     *agent.Host
}

// newParts checks at start what would else fail with a slot in hand.
func newParts(c *config.Config, log *slog.Logger) (p *parts, err error) {
	p = &parts{config: c}
	if p.id, err = c.Machine.ReadID(); err != nil {
		return nil, err
	}
	if p.name, err = c.Machine.ReadHostname(); err != nil {
		return nil, err
	}
	if p.schedule, err = window.New(c.Window, p.id, time.Local); err != nil {
		return nil, err
	}
	p.log = log.With("machine", p.id, "group", c.Machine.Group)
	if c.Strategy == config.StrategySlot {
		if err := p.openStore(); err != nil {
			return nil, err
		}
	}
	if p.host, err = p.newHost(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *parts) openStore() error {
	store, err := p.config.Store.ClientConfig()
	if err != nil {
		return err
	}
	if p.client, err = slots.NewClient(store); err != nil {
		return err
	}
	if p.group, err = slots.NewGroup(p.client, p.config.Store.Prefix, p.config.Machine.Group); err != nil {
		p.close()
	}
	return err
}

func (p *parts) close() {
	if p.client != nil {
		p.client.Close()
	}
}

func (p *parts) newHost() (h *agent.Host, err error) {
	c, logind := p.config, &login1.Conn{}
	h = &agent.Host{
		BootIDFile: c.Machine.BootIDFile, Store: p.client, StoreMember: c.Machine.StoreMember, Reason: c.Reboot.Reason,
		Hooks: &hooks.Runner{Config: c.Hooks, Log: p.log}, Logind: logind,
		SoftReboot: c.Reboot.Method == config.MethodSoftReboot, Command: c.Reboot.Command, Timeout: c.Reboot.Timeout,
	}
	if h.Triggers, err = trigger.New(c.Triggers, p.log); err != nil {
		return nil, err
	}
	if h.Blockers, err = blocker.New(c.Blockers, blocker.Sources{
		Inhibitors: logind.Inhibitors, Sessions: logind.Sessions, Store: p.client, Member: c.Machine.StoreMember,
	}); err != nil {
		return nil, err
	}
	if h.Checks, err = health.New(c.Health); err != nil {
		return nil, err
	}
	return h, h.Check()
}

// missingPrograms says which programs that will be run are not there. That is no
// error at the start: an agent that does not run says nothing about its machine.
func missingPrograms(c *config.Config) (missing []string) {
	for _, s := range []struct {
		setting  string
		programs [][]string
	}{
		{"blockers.commands", c.Blockers.Commands}, {"hooks.before", c.Hooks.Before}, {"hooks.after", c.Hooks.After}, {"health.exec", c.Health.Exec},
	} {
		for i, argv := range s.programs {
			if _, err := exec.LookPath(argv[0]); err != nil {
				missing = append(missing, fmt.Sprintf("%s[%d]: %v", s.setting, i, err))
			}
		}
	}
	return missing
}

// longest is what one call of the host may take: all programs of one side, or
// logind, which announces the reboot in one time and may take it back in another.
func (p *parts) longest() time.Duration {
	h := &p.config.Hooks
	programs := time.Duration(max(len(h.Before), len(h.After))) * h.Timeout
	return max(programs, 2*p.config.Reboot.Timeout) + time.Minute
}

func (p *parts) agent(r prometheus.Registerer, tell func(slots.Status, time.Duration)) (*agent.Agent, error) {
	metrics, err := agent.NewMetrics(r)
	if err != nil {
		return nil, fmt.Errorf("locksmithd: %w", err)
	}
	m, memory := &p.config.Machine, ""
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" { // the unit has one
		memory = filepath.Join(dir, "last-reboot")
	}
	return agent.New(agent.Config{
		Client: p.client, Group: p.group, Machine: p.host, Schedule: p.schedule,
		Health: p.config.Health, Users: p.config.Blockers.Users,
		ID: p.id, Hostname: p.name, Zone: m.Zone, Stage: m.Stage, Priority: m.Priority, Version: build.Version(),
		Poll: p.config.Poll, BackOff: p.config.Reboot.BackOff, Longest: p.longest(),
		Log: p.log, Metrics: metrics, Changed: p.host.Triggers.Changed(), Tell: tell, Memory: memory,
	})
}
