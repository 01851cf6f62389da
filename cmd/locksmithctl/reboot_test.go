package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/locksmith/bus/bustest"
	"github.com/coordd/coordd/locksmith/login1"
	"github.com/coordd/coordd/locksmith/login1/login1test"
	"github.com/coordd/coordd/locksmith/slots"
)

// rebooting is this machine with a logind of the test's, and a store.
type rebooting struct {
	*testing.T
	logind  *login1test.Logind
	session *session
	store   *clientv3.Client
	group   *slots.Group
	id      string
}

func newRebooting(t *testing.T) *rebooting {
	id, _, err := machineID(nil)
	if err != nil {
		t.Skip(err) // a container without one
	}
	r := &rebooting{T: t, logind: login1test.Start(t), id: id, session: &session{
		client: slots.ClientConfig{Endpoints: []string{coorddtest.Start(t)}, Timeout: 10 * time.Second},
		output: "text", euid: func() int { return 0 },
	}}
	client, err := slots.NewClient(r.session.client)
	if err != nil {
		t.Fatal(err)
	}
	r.store = client
	t.Cleanup(func() { client.Close() })
	if r.group, err = slots.NewGroup(client, slots.DefaultPrefix, slots.DefaultGroup); err != nil {
		t.Fatal(err)
	}
	// What was announced is taken back, so that the command need not wait for what does not come.
	r.logind.OnReboot(func() { r.logind.Prepare(true); r.logind.Prepare(false) })
	return r
}

// run runs reboot and returns what it has printed, and its error.
func (r *rebooting) run(args ...string) (out string, err error) {
	r.Helper()
	var b bytes.Buffer
	cmd := newRebootCommand(r.session)
	cmd.SetArgs(args)
	cmd.SetOut(&b)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(r.Context())
	return b.String(), err
}

// says checks the words and the exit code of a failure.
func (r *rebooting) says(err error, want string) {
	r.Helper()
	if _, ok := errors.AsType[*failure](err); !ok || !strings.Contains(err.Error(), want) {
		r.Errorf("%v, want a failure with %q", err, want)
	}
}

func (r *rebooting) holders() []slots.Record {
	r.Helper()
	s, err := r.group.State(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return s.Holders
}

func TestReboot(t *testing.T) {
	r := newRebooting(t)
	r.logind.OnReboot(func() { // the machine goes down: the bus ends
		h := r.holders()
		if len(h) != 1 || h[0].ID != r.id || h[0].Phase != slots.Rebooting || h[0].BootID == "" || h[0].Zone != "east" || h[0].Member != "one" {
			t.Errorf("when logind is asked: %+v, want this machine rebooting, where its agent says that it is", h)
		}
		r.logind.Prepare(true)
		time.AfterFunc(200*time.Millisecond, r.logind.Bus.Stop)
	})
	lease, err := r.store.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.group.Report(t.Context(), lease.ID, slots.Status{ID: r.id, Zone: "east", Member: "one"}); err != nil {
		t.Fatal(err)
	}
	if out, err := r.run("--reason", "a new disk"); err != nil || out != "" {
		t.Fatalf("%q, %v", out, err)
	}
	if h := r.holders(); len(h) != 1 || !strings.HasSuffix(h[0].Reason, ": a new disk") {
		t.Errorf("afterwards: %+v", h)
	}
}

func TestRebootRefused(t *testing.T) {
	r := newRebooting(t)
	r.logind.Refuse("RebootWithFlags", "org.freedesktop.DBus.Error.AccessDenied", "not today")
	_, err := r.run()
	r.says(err, "Error rebooting: ")
	r.says(err, "not today")
	if h := r.holders(); len(h) != 0 {
		t.Errorf("the slot is kept: %+v", h)
	}
	if _, err := r.group.Acquire(t.Context(), slots.Record{ID: r.id, TakenBy: slots.TakenByOperator}); err != nil {
		t.Fatal(err)
	}
	_, err = r.run()
	r.says(err, "not today")
	if h := r.holders(); len(h) != 1 || h[0].Phase != slots.Held {
		t.Errorf("the slot that the machine had before: %+v", h)
	}
}

func TestRebootCancelled(t *testing.T) {
	r := newRebooting(t)
	_, err := r.run()
	r.says(err, "cancelled")
	if h := r.holders(); len(h) != 0 {
		t.Errorf("the slot is kept: %+v", h)
	}
}

func TestRebootNotAsked(t *testing.T) {
	r := newRebooting(t)
	out, err := r.run() // as root
	if err == nil {
		t.Fatalf("%q, want that logind has cancelled it", out)
	}
	asked := len(r.logind.Reboots())
	r.session.dryRun = true
	if out, err := r.run(); err != nil || !strings.Contains(out, "Would take a slot") {
		t.Errorf("dry run: %q, %v", out, err)
	}
	r.logind.SetInhibitors(login1.Inhibitor{What: "shutdown", Who: "backup", Why: "is writing", Mode: "block"})
	_, err = r.run()
	r.says(err, "Error rebooting: backup holds it up: is writing")
	r.session.dryRun = false
	_, err = r.run()
	r.says(err, "Error rebooting: backup holds it up: is writing")
	r.logind.SetInhibitors()
	if _, err := r.group.Acquire(t.Context(), slots.Record{ID: "other"}); err != nil {
		t.Fatal(err)
	}
	_, err = r.run()
	r.says(err, "Error locking: semaphore is at 0")
	r.session.dryRun = true
	_, err = r.run()
	r.says(err, "Error locking: semaphore is at 0")
	r.session.dryRun, r.session.euid = false, func() int { return 1000 }
	_, err = r.run()
	r.says(err, "Must be root to initiate reboot.")
	if n := len(r.logind.Reboots()); n != asked {
		t.Errorf("logind was asked %d times, want %d", n, asked)
	}
	if h := r.holders(); len(h) != 1 || h[0].ID != "other" {
		t.Errorf("slots: %+v", h)
	}
}

func TestSendNeedReboot(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Connect()
	if err := conn.AddMatchSignal(dbus.WithMatchInterface("com.coreos.update1.Manager"), dbus.WithMatchMember("StatusUpdate")); err != nil {
		t.Fatal(err)
	}
	heard := make(chan *dbus.Signal, 1)
	conn.Signal(heard)
	var out, complaints bytes.Buffer
	if code := run(t.Context(), []string{"send-need-reboot", "-dry-run"}, nil, &out, &complaints); code != 0 || len(heard) != 0 {
		t.Errorf("dry run: exit %d, %s", code, &complaints)
	}
	out.Reset()
	if code := run(t.Context(), []string{"send-need-reboot"}, nil, &out, &complaints); code != 0 || out.Len() != 0 {
		t.Errorf("exit %d, %s%s", code, &out, &complaints)
	}
	select {
	case s := <-heard:
		if len(s.Body) != 5 || s.Body[2] != "UPDATE_STATUS_UPDATED_NEED_REBOOT" {
			t.Errorf("signal %v", s.Body)
		}
	case <-t.Context().Done():
	}
	b.Stop()
	if code := run(t.Context(), []string{"send-need-reboot"}, os.Environ(), &out, &complaints); code != exitError || !strings.Contains(complaints.String(), "Error sending need-reboot: ") {
		t.Errorf("without a bus: exit %d, %s", code, &complaints)
	}
}
