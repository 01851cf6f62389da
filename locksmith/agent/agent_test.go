package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/e2e/cluster"
	"github.com/coordd/coordd/locksmith/blocker"
	"github.com/coordd/coordd/locksmith/health"
	"github.com/coordd/coordd/locksmith/hooks"
	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/slots"
	"github.com/coordd/coordd/locksmith/window"
)

// simulated is a machine whose reboot is a word. Each call that does something is
// told to did, if that is set, after it was done.
type simulated struct {
	boot     int
	wanted   []string
	wantErr  error
	blocks   []blocker.Reason
	sessions []login1.Session
	sick     string // why the checks do not pass
	before   error
	after    error
	refuse   error // what Reboot answers
	down     bool  // a shutdown is under way

	onWanted func() // run in this call
	did      func(call string)
	calls    []string // that did something
	reboots  int      // that were asked for
}

func (m *simulated) do(call string) {
	m.calls = append(m.calls, call)
	if m.did != nil {
		m.did(call)
	}
}

func (m *simulated) bootID() string                                { return fmt.Sprintf("boot-%d", m.boot) }
func (m *simulated) BootID(context.Context) (string, error)        { return m.bootID(), nil }
func (m *simulated) Uptime(context.Context) (time.Duration, error) { return 0, nil }
func (m *simulated) Member(context.Context) (string, error)        { return "store-1", nil }
func (m *simulated) Blocks(context.Context) []blocker.Reason       { return m.blocks }
func (m *simulated) Wanted(context.Context) ([]string, error) {
	if m.onWanted != nil {
		m.onWanted()
	}
	return m.wanted, m.wantErr
}
func (m *simulated) GoingDown(context.Context) (bool, error) { return m.down, nil }
func (m *simulated) Sessions(context.Context) ([]login1.Session, error) {
	return m.sessions, nil
}
func (m *simulated) Warn(_ context.Context, why string, at time.Time) error {
	m.do("warn " + at.Format(time.TimeOnly) + " " + why)
	return nil
}
func (m *simulated) Unwarn(context.Context) error { m.do("unwarn"); return nil }
func (m *simulated) Before(_ context.Context, r hooks.Reboot) error {
	m.do("before")
	return m.before
}
func (m *simulated) After(_ context.Context, r hooks.Reboot) error {
	m.do(fmt.Sprintf("after rebooted=%t", r.Rebooted))
	return m.after
}
func (m *simulated) Health(context.Context) health.Report {
	if m.sick != "" {
		return health.Report{Results: []health.Result{{Name: "check", Error: m.sick}}}
	}
	return health.Report{Passed: true}
}
func (m *simulated) Reboot(context.Context) error {
	m.reboots++
	m.do("reboot")
	return m.refuse
}

var noon = time.Date(2020, 1, 1, 12, 0, 0, 0, time.UTC)

// world is one machine, its group, and the time.
type world struct {
	*testing.T
	client  *clientv3.Client
	group   *slots.Group // nil: none
	machine *simulated
	windows window.Config
	health  health.Config
	users   blocker.Users
	memory  string // as Config's
	now     time.Time
	agent   *Agent
}

// restart replaces the agent by a new one, as a boot or a restart of it does.
func (w *world) restart() {
	w.Helper()
	w.kill()
	schedule, err := window.New(w.windows, "m1", time.UTC)
	if err != nil {
		w.Fatal(err)
	}
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		w.Fatal(err)
	}
	w.agent, err = New(Config{
		Client: w.client, Group: w.group, Machine: w.machine, Schedule: schedule, Health: w.health, Users: w.users,
		ID: "m1", Hostname: "one", Zone: "rack-1", Poll: time.Second, BackOff: time.Minute, Longest: time.Minute,
		Log: slog.New(slog.DiscardHandler), Metrics: metrics, Memory: w.memory,
	})
	if err != nil {
		w.Fatal(err)
	}
}

// kill ends the agent as a crash does: nothing is said to the store.
func (w *world) kill() {
	if w.agent != nil && w.agent.session != nil {
		w.agent.session.Detach()
	}
}

// boot is the end of the machine and its next boot, with an agent of its own.
func (w *world) boot() {
	w.Helper()
	w.machine.boot++
	w.machine.wanted = nil
	w.restart()
}

// steps demands the states that the next steps lead to.
func (w *world) steps(want ...State) {
	w.Helper()
	for _, s := range want {
		was := w.agent.State()
		if _, err := w.agent.Step(w.Context(), w.now); err != nil || w.agent.State() != s {
			w.Fatalf("the step of %s led to %s and not to %s: %v %v", was, w.agent.State(), s, err, w.agent.why)
		}
	}
}

// phases demands the phases of the group's records, by rising id.
func (w *world) phases(want ...slots.Phase) *slots.State {
	w.Helper()
	s, err := w.group.State(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	var got []slots.Phase
	for _, r := range s.Holders {
		got = append(got, r.Phase)
	}
	if !slices.Equal(got, want) {
		w.Fatalf("holders %+v, want phases %v", s.Holders, want)
	}
	return s
}

// stays demands that the machine has not been told to reboot, ever.
func (w *world) stays() {
	w.Helper()
	if w.machine.reboots != 0 {
		w.Fatal("the machine was rebooted")
	}
}

// why demands a word in what keeps the agent from going on.
func (w *world) why(want string) {
	w.Helper()
	if got := strings.Join(w.agent.why, "; "); !strings.Contains(got, want) {
		w.Errorf("%s because of %q, want %q in it", w.agent.state, got, want)
	}
}

// history demands an event in the group's history.
func (w *world) history(kind slots.Kind, reason string) {
	w.Helper()
	events, err := w.group.History(w.Context(), 100)
	if err != nil || !slices.ContainsFunc(events, func(e slots.Event) bool { return e.Kind == kind && strings.Contains(e.Reason, reason) }) {
		w.Errorf("history %+v, %v: want %s because of %q", events, err, kind, reason)
	}
}

func (w *world) waiting(want int) {
	w.Helper()
	if s, err := w.group.State(w.Context()); err != nil || s.Waiting != want {
		w.Errorf("%+v in the queue, want %d: %v", s, want, err)
	}
}

func (w *world) take(id, takenBy string) *slots.Slot {
	w.Helper()
	s, err := w.group.Acquire(w.Context(), slots.Record{ID: id, BootID: "boot-0", TakenBy: takenBy, Reason: "on purpose"})
	if err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *world) release(s *slots.Slot) {
	w.Helper()
	if err := s.Release(w.Context()); err != nil {
		w.Fatal(err)
	}
}

var (
	store  string // endpoint, for all tests
	onEtcd = flag.Bool("on-etcd", false, "run all tests on the etcd of e2e/peers")
)

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "agent-test-")
	if err != nil {
		panic(err)
	}
	stop, err := startStore(dir)
	if err != nil {
		panic(err)
	}
	code := m.Run()
	stop()
	os.RemoveAll(dir)
	os.Exit(code)
}

// startStore sets store.
func startStore(dir string) (stop func(), err error) {
	if !*onEtcd {
		server, err := coorddtest.Run(dir, io.Discard)
		if err != nil {
			return nil, err
		}
		store = server.ClientURLs()[0]
		return func() { server.Stop() }, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Spec{Program: "../../e2e/peers/bin/etcd", Size: 1, Dir: dir})
	if err != nil {
		return nil, err
	}
	store = c.Members[0].ClientURL
	return c.Kill, nil
}

// inWorld runs a test in a world of its own, with a wish for a reboot.
func inWorld(t *testing.T, test func(w *world)) {
	client, err := slots.NewClient(slots.ClientConfig{Endpoints: []string{store}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	g, err := slots.NewGroup(client, "test/"+t.Name(), "web")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, client: client, group: g, now: noon, machine: &simulated{wanted: []string{"a new kernel"}}}
	t.Cleanup(func() { w.kill() })
	w.restart()
	test(w)
}

var errRefused = errors.New("logind says no")
