package machines

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	rebootWanted = "/run/reboot-required"
	rolloutTime  = 3 * time.Minute // after which it has hung
	slotsPrefix  = "locksmith/"
	counterKey   = "counter"
)

// rollout is a fleet whose first machines are the members of the store, with an agent on each machine.
type rollout struct {
	*testing.T
	*Fleet
	members   []*Machine
	endpoints []string
	client    *clientv3.Client // of the test, which stands on the bridge
}

// newRollout boots size machines, members of them with coordd; adjust changes what each
// of them is, for instance the settings of its agent.
func newRollout(t *testing.T, size, members int, adjust ...func(*Spec)) *rollout {
	t.Helper()
	r := &rollout{T: t, Fleet: newFleet(t)}
	var cluster []string
	for i := range members {
		address := fmt.Sprintf(ipFormat, firstIP+i)
		r.endpoints = append(r.endpoints, "http://"+address+":2379")
		cluster = append(cluster, fmt.Sprintf("m%d=http://%s:2380", i+1, address))
	}
	for i := range size {
		spec := Spec{
			Name:     fmt.Sprintf("m%d", i+1),
			Programs: map[string]string{"/usr/bin/locksmithd": program(t, "locksmithd")},
			Files: map[string]string{
				"/usr/lib/systemd/system/locksmithd.service":              deployed(t, "locksmithd.service"),
				"/etc/systemd/system/locksmithd.service.d/container.conf": deployed(t, "locksmithd-container.conf"),
				"/etc/locksmith/locksmith.env": "LOCKSMITHD_POLL=500ms\nLOCKSMITHD_HEALTH_STABLE_FOR=500ms\nLOCKSMITHD_ENDPOINTS=" + strings.Join(r.endpoints, ",") +
					"\nLOCKSMITHCTL_ENDPOINT=" + strings.Join(r.endpoints, ",") + "\n",
			},
			Units: []string{"locksmithd.service"},
		}
		if i < members {
			r.makeMember(&spec, r.endpoints[i], strings.Join(cluster, ","))
		}
		for _, change := range adjust {
			change(&spec)
		}
		m, err := r.Add(spec)
		must(t, err)
		if i < members {
			r.members = append(r.members, m)
		}
	}
	r.boot()
	r.connect()
	return r
}

// boot turns all machines on and waits until they are up.
func (r *rollout) boot() {
	r.Helper()
	must(r.T, r.Start())
	for _, m := range r.Machines() {
		must(r.T, m.WaitBoots(within(r.T, rolloutTime), 1))
	}
}

// connect makes the test a client of the store.
func (r *rollout) connect() {
	r.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: r.endpoints, Logger: zap.NewNop(),
		DialKeepAliveTime: time.Second, DialKeepAliveTimeout: time.Second, // a machine that is off answers nothing
	})
	must(r.T, err)
	r.Cleanup(func() { client.Close() })
	r.client = client
}

// makeMember installs coordd as its package does, with the settings of one member.
func (r *rollout) makeMember(spec *Spec, clientURL, cluster string) {
	spec.Programs["/usr/bin/coordd"] = program(r.T, "coordd")
	for path, source := range map[string]string{
		"/usr/lib/systemd/system/coordd.service": "coordd.service",
		"/usr/lib/sysusers.d/coordd.conf":        "coordd-sysusers.conf",
	} {
		spec.Files[path] = deployed(r.T, source)
	}
	peerURL := strings.TrimSuffix(clientURL, "79") + "80"
	spec.Files["/etc/coordd/coordd.env"] = strings.Join([]string{
		"COORDD_NAME=" + spec.Name, "COORDD_INITIAL_CLUSTER=" + cluster,
		"COORDD_LISTEN_CLIENT_URLS=" + clientURL, "COORDD_ADVERTISE_CLIENT_URLS=" + clientURL,
		"COORDD_LISTEN_PEER_URLS=" + peerURL, "COORDD_INITIAL_ADVERTISE_PEER_URLS=" + peerURL,
	}, "\n") + "\n"
	spec.Units = append(spec.Units, "coordd.service")
	spec.Vital = append(spec.Vital, "coordd.service")
}

// deployed is a file of deploy/systemd.
func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy/systemd", name))
	must(t, err)
	return string(text)
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../bin", name))
	must(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; build it first with 'make build'", err)
	}
	return path
}

// wantReboots makes every one of these machines want a reboot.
func (r *rollout) wantReboots(machines ...*Machine) {
	r.Helper()
	for _, m := range machines {
		must(r.T, m.WriteFile(rebootWanted, ""))
	}
}

// changes reads all that has ever happened in the store.
func (r *rollout) changes() (changes []Change) {
	r.Helper()
	ctx := within(r.T, time.Minute)
	present, err := r.client.Get(ctx, counterKey)
	must(r.T, err)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range r.client.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(1)) {
		must(r.T, resp.Err())
		for _, e := range resp.Events {
			changes = append(changes, Change{e.Kv.ModRevision, string(e.Kv.Key), string(e.Kv.Value), e.Type == clientv3.EventTypeDelete})
		}
		if n := len(changes); n > 0 && changes[n-1].Revision >= present.Header.Revision {
			return changes
		}
	}
	r.Fatalf("the history ended early: %v", context.Cause(ctx))
	return nil
}

// awaitHolders waits until the slots are held as wanted: phases by the names of machines.
func (r *rollout) awaitHolders(what string, wanted func(phases map[string]string) bool) {
	r.Helper()
	h, phases := &History{Names: r.names()}, map[string]string{}
	r.follow(slotsPrefix, func(c Change) bool {
		var t trip
		name, ok := h.holder(c.Key)
		switch {
		case !ok:
		case c.Deleted:
			delete(phases, name)
		default:
			must(r.T, t.follow(c.Value))
			phases[name] = t.phase
		}
		return wanted(phases)
	}, func() string { return fmt.Sprintf("wait for %s: the holders are %v", what, phases) })
}

// awaitAgent waits until a machine's agent says that it is in a state, for reasons of
// which one has this text in it.
func (r *rollout) awaitAgent(m *Machine, state, why string) {
	r.Helper()
	last, reached := "", false
	r.follow(slotsPrefix+"agents/", func(c Change) bool {
		if !strings.HasSuffix(c.Key, "/"+m.ID) || c.Deleted {
			return reached
		}
		last = c.Value
		var status struct {
			State   string   `json:"state"`
			Blocked []string `json:"blocked"`
		}
		must(r.T, json.Unmarshal([]byte(c.Value), &status))
		reached = status.State == state && strings.Contains(strings.Join(status.Blocked, "\n"), why)
		return reached
	}, func() string {
		return fmt.Sprintf("wait until the agent of %s is %s: %s: it is %s", m.Name, state, why, last)
	})
}

// follow shows the keys with a prefix, then an empty change, then each change as it is
// made, and returns when seen is true of the empty one or one after it.
func (r *rollout) follow(prefix string, seen func(Change) bool, failed func() string) {
	r.Helper()
	ctx := clientv3.WithRequireLeader(within(r.T, rolloutTime))
	present, err := r.client.Get(ctx, prefix, clientv3.WithPrefix())
	must(r.T, err)
	for _, kv := range present.Kvs {
		seen(Change{kv.ModRevision, string(kv.Key), string(kv.Value), false})
	}
	if seen(Change{}) {
		return
	}
	next := present.Header.Revision + 1
	for ctx.Err() == nil {
		// The member at the other end may reboot: each watch goes on where the last one ended.
		for resp := range r.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(next)) {
			for _, e := range resp.Events {
				next = e.Kv.ModRevision + 1
				if seen(Change{e.Kv.ModRevision, string(e.Kv.Key), string(e.Kv.Value), e.Type == clientv3.EventTypeDelete}) {
					return
				}
			}
		}
	}
	r.Fatal(failed())
}

// names are those of the machines, by machine id.
func (r *rollout) names() map[string]string {
	names := map[string]string{}
	for _, m := range r.Machines() {
		names[m.ID] = m.Name
	}
	return names
}

// judge returns what speaks against the rules, to which it adds who the members are.
func (r *rollout) judge(rules Rules, changes []Change) []string {
	for _, m := range r.members {
		rules.Members = append(rules.Members, m.Name)
	}
	h := &History{Names: r.names(), Events: r.Events(), Changes: changes}
	return h.Judge(rules)
}

// ack is a write that the store has acknowledged.
type ack struct {
	n  int
	at time.Time
}

// writer counts up until it is stopped.
type writer struct {
	stop context.CancelFunc
	runs sync.WaitGroup
	acks []ack
}

func (r *rollout) startWriter() *writer {
	ctx, stop := context.WithCancel(r.Context())
	w := &writer{stop: stop}
	w.runs.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			attempt, cancel := context.WithTimeout(ctx, time.Second)
			_, err := r.client.Put(attempt, counterKey, strconv.Itoa(n))
			cancel()
			if err == nil {
				w.acks = append(w.acks, ack{n, time.Now()})
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return w
}

// check compares what was acknowledged with what is there. Something must have been
// acknowledged during each time that a machine was down.
func (w *writer) check(r *rollout, changes []Change) {
	r.Helper()
	written := map[string]bool{}
	for _, c := range changes {
		if c.Key == counterKey {
			written[c.Value] = true
		}
	}
	var longest time.Duration
	for i, a := range w.acks {
		if !written[strconv.Itoa(a.n)] {
			r.Errorf("write %d was acknowledged and is not there", a.n)
		}
		if i > 0 {
			longest = max(longest, a.at.Sub(w.acks[i-1].at))
		}
	}
	down := map[string]time.Time{}
	for _, e := range r.Events() {
		switch e.What {
		case Stopping:
			down[e.Machine] = e.At
		case Up:
			since, was := down[e.Machine]
			if was && !slices.ContainsFunc(w.acks, func(a ack) bool { return a.at.After(since) && a.at.Before(e.At) }) {
				r.Errorf("no write was acknowledged while %s was down", e.Machine)
			}
		}
	}
	r.Logf("%d writes acknowledged, at most %v apart", len(w.acks), longest.Round(time.Millisecond))
}

// awaitReboots waits until these machines are up for the second time and no slot is held.
func (r *rollout) awaitReboots(machines ...*Machine) {
	r.Helper()
	for _, m := range machines {
		must(r.T, m.WaitBoots(within(r.T, rolloutTime), 2))
	}
	r.awaitHolders("all slots to be free", func(phases map[string]string) bool { return len(phases) == 0 })
}

// conclude ends a scenario: the history must keep to the rules.
func (r *rollout) conclude(w *writer, rules Rules) {
	r.Helper()
	w.stop()
	w.runs.Wait()
	changes := r.changes()
	w.check(r, changes)
	for _, wrong := range r.judge(rules, changes) {
		r.Error(wrong)
	}
}

// TestAllWantToReboot: five machines, three of them members of the store, want a reboot
// at once; they go one after the other, and the store serves all the time.
func TestAllWantToReboot(t *testing.T) {
	r := newRollout(t, 5, 3)
	w := r.startWriter()
	start := time.Now()
	r.wantReboots(r.Machines()...)
	r.awaitReboots(r.Machines()...)
	t.Logf("5 machines rebooted in %v", time.Since(start).Round(100*time.Millisecond))
	r.conclude(w, Rules{MaxDown: 1})
	for _, m := range r.Machines() {
		if got := m.Boots(); len(got) != 2 {
			t.Errorf("boots of %s: %v", m.Name, got)
		}
	}
}

// TestMachineThatDoesNotReturn: its slot stays taken and nobody else goes, until it
// returns after all, or an operator gives its slot back.
func TestMachineThatDoesNotReturn(t *testing.T) {
	t.Run("returns late", func(t *testing.T) {
		testLost(t, func(r *rollout, lost *Machine) (rules Rules) {
			must(r.T, lost.Start())
			return Rules{MaxDown: 1}
		})
	})
	t.Run("never returns", func(t *testing.T) {
		testLost(t, func(r *rollout, lost *Machine) (rules Rules) {
			r.locksmithctl("unlock", lost.ID)
			return Rules{MaxDown: 1, GivenUp: []string{lost.Name}}
		})
	})
}

func testLost(t *testing.T, resolve func(*rollout, *Machine) Rules) {
	r := newRollout(t, 4, 3)
	w := r.startWriter()
	lost, others := r.Machines()[3], r.Machines()[:3]
	lost.StayOff()
	r.wantReboots(lost)
	must(t, lost.WaitFor(within(t, rolloutTime), Ended, 0))
	r.wantReboots(others...)
	for _, m := range others {
		r.awaitAgent(m, "queued", "")
	}
	r.awaitHolders("the lost machine alone to hold a slot", func(phases map[string]string) bool {
		return len(phases) == 1 && phases[lost.Name] == "rebooting"
	})
	for _, e := range r.Events() {
		if e.What == Stopping && e.Machine != lost.Name {
			t.Errorf("%v while the slot was taken", e)
		}
	}
	rules := resolve(r, lost)
	r.awaitReboots(others...)
	r.conclude(w, rules)
}

// TestLimitOfTwo has two machines down for certain: who allows one must complain.
func TestLimitOfTwo(t *testing.T) {
	r := newRollout(t, 3, 1)
	w := r.startWriter()
	r.locksmithctl("set-max", "2")
	lost := r.Machines()[1:]
	for _, m := range lost {
		m.StayOff()
	}
	r.wantReboots(lost...)
	for _, m := range lost {
		must(t, m.WaitFor(within(t, rolloutTime), Ended, 0))
	}
	if wrong := r.judge(Rules{MaxDown: 1}, r.changes()); len(wrong) != 2 ||
		!strings.Contains(wrong[0], "down at") || !strings.Contains(wrong[1], "held by m2 and m3") {
		t.Errorf("two machines are down, and the checker says %q", wrong)
	}
	for _, m := range lost {
		must(t, m.Start())
	}
	r.awaitReboots(lost...)
	r.conclude(w, Rules{MaxDown: 2})
}

// TestMachineThatIsCutOff: it is the first in the queue and hears of no slot, so it stays;
// nobody waits for it any more when its lease is over.
func TestMachineThatIsCutOff(t *testing.T) {
	r := newRollout(t, 4, 3)
	w := r.startWriter()
	others, apart := r.Machines()[:3], r.Machines()[3]
	r.locksmithctl("lock", "operator")
	r.wantReboots(apart)
	r.awaitAgent(apart, "queued", "")
	r.wantReboots(others...)
	for _, m := range others {
		r.awaitAgent(m, "queued", "")
	}
	must(t, apart.Part())
	r.endLease(apart)
	r.locksmithctl("unlock", "operator")
	r.awaitReboots(others...)
	stayed(t, apart)
	must(t, apart.Join())
	r.awaitReboots(apart)
	r.conclude(w, Rules{MaxDown: 1})
}

// endLease ends the lease of a machine's agent now, and not in a minute.
func (r *rollout) endLease(m *Machine) {
	r.Helper()
	present, err := r.client.Get(within(r.T, time.Minute), slotsPrefix+"agents/default/"+m.ID)
	must(r.T, err)
	if len(present.Kvs) != 1 || present.Kvs[0].Lease == 0 {
		r.Fatalf("the agent of %s has no lease: %v", m.Name, present.Kvs)
	}
	_, err = r.client.Revoke(within(r.T, time.Minute), clientv3.LeaseID(present.Kvs[0].Lease))
	must(r.T, err)
}

// TestLeaderReboots: the store loses the member that leads it, by its own slot.
func TestLeaderReboots(t *testing.T) {
	r := newRollout(t, 3, 3)
	w := r.startWriter()
	leader := r.leader()
	r.wantReboots(leader)
	r.awaitReboots(leader)
	r.conclude(w, Rules{MaxDown: 1})
}

// leader is the machine whose member leads the store.
func (r *rollout) leader() *Machine {
	r.Helper()
	for i, m := range r.members {
		status, err := r.client.Status(within(r.T, time.Minute), r.endpoints[i])
		must(r.T, err)
		if status.Leader == status.Header.MemberId {
			return m
		}
	}
	r.Fatal("no member leads the store")
	return nil
}

// locksmithctl runs an operator's command and returns what it prints.
func (r *rollout) locksmithctl(args ...string) string {
	r.Helper()
	cmd := exec.CommandContext(within(r.T, time.Minute), program(r.T, "locksmithctl"),
		append([]string{"-endpoint", strings.Join(r.endpoints, ",")}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("locksmithctl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
