package trigger

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/coordd/coordd/locksmith/bus"
	"github.com/coordd/coordd/locksmith/bus/bustest"
)

// engine is a fake update_engine.
type engine struct {
	t    *testing.T
	conn *dbus.Conn
}

func body(operation, version string) []any {
	return []any{int64(1), 0.5, operation, version, int64(2)}
}

// startEngine starts an update_engine that answers GetStatus with the body, of whatever types.
func startEngine(t *testing.T, b *bustest.Bus, body ...any) *engine {
	t.Helper()
	var types []reflect.Type
	var values []reflect.Value
	for _, v := range append(slices.Clone(body), (*dbus.Error)(nil)) {
		types, values = append(types, reflect.TypeOf(v)), append(values, reflect.ValueOf(v))
	}
	answer := reflect.MakeFunc(reflect.FuncOf(nil, types, false), func([]reflect.Value) []reflect.Value { return values })
	return startEngineThat(t, b, answer.Interface())
}

// startEngineThat starts one that answers GetStatus with what a function returns.
func startEngineThat(t *testing.T, b *bustest.Bus, getStatus any) *engine {
	t.Helper()
	e := &engine{t: t, conn: b.Connect()}
	if err := e.conn.ExportMethodTable(map[string]any{"GetStatus": getStatus}, enginePath, engineManager); err != nil {
		t.Fatal(err)
	}
	if reply, err := e.conn.RequestName(engineService, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
	return e
}

func (e *engine) say(body ...any) { emit(e.t, e.conn, body...) }

func emit(t *testing.T, conn *dbus.Conn, body ...any) {
	t.Helper()
	if err := conn.Emit(enginePath, engineManager+".StatusUpdate", body...); err != nil {
		t.Fatal(err)
	}
}

// listener runs Sources that listen to update_engine, until the end of the test.
func listener(t *testing.T, log *slog.Logger) *Sources {
	t.Helper()
	s, err := New(Config{UpdateEngine: true}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	return s
}

// await waits until Wanted says what it is to say: a reason, an error that has the text, or neither. It is woken by
// Changed alone, as an agent would be.
func await(t *testing.T, s *Sources, reason, fails string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		reasons, err := s.Wanted(ctx)
		got := strings.Join(reasons, "; ")
		if got == reason && (err == nil) == (fails == "") && (err == nil || strings.Contains(err.Error(), fails)) {
			return
		}
		if err != nil && got != "" {
			t.Fatalf("a reason and an error: %q, %v", got, err)
		}
		select {
		case <-s.Changed():
		case <-ctx.Done():
			t.Fatalf("%q, %v; want %q, %q", got, err, reason, fails)
		}
	}
}

// awaitAnswer waits until update_engine has been asked.
func awaitAnswer(t *testing.T, s *Sources) {
	t.Helper()
	for {
		s.engine.mu.Lock()
		at := s.engine.status.at
		s.engine.mu.Unlock()
		if at != 0 {
			return
		}
		select {
		case <-s.Changed():
		case <-time.After(20 * time.Second):
			t.Fatal("update_engine was not asked")
		}
	}
}

const updated = "update_engine: an update to 4081.2.0 is installed"

func TestUpdateEngine(t *testing.T) {
	b := bustest.Start(t)
	s := listener(t, silent())
	await(t, s, "", "") // nobody is there
	e := startEngine(t, b, body("UPDATE_STATUS_IDLE", "0.0.0")...)
	awaitAnswer(t, s) // this engine would give it after what it says next
	e.say(body("UPDATE_STATUS_DOWNLOADING", "4081.2.0")...)
	e.say(body(needReboot, "4081.2.0")...)
	await(t, s, updated, "")
	e.say(body("UPDATE_STATUS_IDLE", "")...) // somebody has reset it
	await(t, s, "", "")
	e.say(body(needReboot, "")...)
	await(t, s, "update_engine: an update is installed", "")
}

// TestUpdateEngineAtStart: the signal was sent before anybody listened.
func TestUpdateEngineAtStart(t *testing.T) {
	b := bustest.Start(t)
	startEngine(t, b, body(needReboot, "4081.2.0")...)
	await(t, listener(t, silent()), updated, "")
}

// TestUpdateEngineRestarts: the update stays installed while it is away, and its successor is listened to.
func TestUpdateEngineRestarts(t *testing.T) {
	b := bustest.Start(t)
	e := startEngine(t, b, body(needReboot, "4081.2.0")...)
	s := listener(t, silent())
	await(t, s, updated, "")
	e.conn.Close()
	barrier(t, b)
	await(t, s, updated, "")
	e = startEngine(t, b, body("UPDATE_STATUS_IDLE", "")...)
	await(t, s, "", "")
	e.say(body(needReboot, "4081.2.0")...)
	await(t, s, updated, "")
}

// TestBusRestarts: it is an error while it is away, and all is found again after it.
func TestBusRestarts(t *testing.T) {
	b := bustest.Start(t)
	startEngine(t, b, body(needReboot, "4081.2.0")...)
	s := listener(t, silent())
	await(t, s, updated, "")
	b.Stop()
	await(t, s, "", "bus: connect")
	b.Start()
	await(t, s, updated, "") // nobody is there to ask, and what was said stands
	e := startEngine(t, b, body("UPDATE_STATUS_IDLE", "")...)
	await(t, s, "", "")
	e.say(body(needReboot, "4081.2.0")...)
	await(t, s, updated, "")
}

func TestNoBus(t *testing.T) {
	b := bustest.Start(t)
	b.Stop()
	s := listener(t, silent())
	await(t, s, "", "trigger: update_engine: bus: connect")
	b.Start()
	await(t, s, "", "")
}

// TestNobodyListens: who asks without Run is told so, when his time is over.
func TestNobodyListens(t *testing.T) {
	s, err := New(Config{UpdateEngine: true}, silent())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if reasons, err := s.Wanted(ctx); reasons != nil || err == nil {
		t.Errorf("%q, %v", reasons, err)
	}
}

// TestUpdateEngineTalksNonsense: it is an error, and the next sensible word ends it.
func TestUpdateEngineTalksNonsense(t *testing.T) {
	for name, nonsense := range map[string][]any{
		"nothing":      {},
		"other types":  {int32(1), 0.5, needReboot, "4081.2.0", int64(2)},
		"too little":   {int64(1), 0.5, needReboot},
		"too much":     {int64(1), 0.5, needReboot, "4081.2.0", int64(2), int64(3)},
		"another kind": {[]string{needReboot}, map[string]dbus.Variant{"a": dbus.MakeVariant(1.5)}},
		"structs":      {struct{ A, B string }{needReboot, ""}, int64(1), int64(1), int64(1), int64(1)},
	} {
		t.Run(name, func(t *testing.T) {
			b := bustest.Start(t)
			e := startEngine(t, b, nonsense...)
			s := listener(t, silent())
			await(t, s, "", "cannot be understood")
			e.say(body(needReboot, "4081.2.0")...)
			await(t, s, updated, "")
			e.say(nonsense...)
			await(t, s, "", "cannot be understood")
		})
	}
}

func TestUpdateEngineRefuses(t *testing.T) {
	b := bustest.Start(t)
	refusal := "com.example.No"
	var mu sync.Mutex
	e := startEngineThat(t, b, func() *dbus.Error {
		mu.Lock()
		defer mu.Unlock()
		return dbus.NewError(refusal, nil)
	})
	s := listener(t, silent())
	await(t, s, "", "com.example.No")
	mu.Lock()
	refusal = bus.UnknownMethod // a stand-in that sends signals alone
	mu.Unlock()
	await(t, s, "", "")
	e.say(body(needReboot, "4081.2.0")...)
	await(t, s, updated, "")
}

// TestSendNeedReboot: it is taken up, and stays so whatever update_engine says.
func TestSendNeedReboot(t *testing.T) {
	b := bustest.Start(t)
	s := listener(t, silent())
	await(t, s, "", "")
	if err := SendNeedReboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	const requested = "update_engine: requested by send-need-reboot"
	await(t, s, requested, "")
	e := startEngine(t, b, body("UPDATE_STATUS_IDLE", "")...)
	e.say(body("UPDATE_STATUS_IDLE", "")...)
	e.conn.Close()
	barrier(t, b)
	await(t, s, requested, "")
	b.Stop()
	await(t, s, requested, "")
	if err := SendNeedReboot(t.Context()); err == nil {
		t.Error("sent to nobody")
	}
}

// TestSendNeedRebootIsTheOldSignal: what CoreOS's locksmithctl sends, byte for byte, but for the sender.
func TestSendNeedRebootIsTheOldSignal(t *testing.T) {
	b := bustest.Start(t)
	conn := b.Connect()
	if err := conn.AddMatchSignal(dbus.WithMatchInterface("com.coreos.update1.Manager")); err != nil {
		t.Fatal(err)
	}
	signals := make(chan *dbus.Signal, 10)
	conn.Signal(signals)
	sent := make(chan error, 1)
	go func() { sent <- SendNeedReboot(t.Context()) }()
	for got := range signals {
		if got.Name == "org.freedesktop.DBus.NameAcquired" {
			continue
		}
		if got.Path != "/com/coreos/update1" || got.Name != "com.coreos.update1.Manager.StatusUpdate" ||
			dbus.SignatureOf(got.Body...).String() != "xdssx" || got.Body[2] != "UPDATE_STATUS_UPDATED_NEED_REBOOT" {
			t.Errorf("%+v", got)
		}
		break
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// TestStrangers: what is asked for by those who are not there any more, or in other words, is not taken up.
func TestStrangers(t *testing.T) {
	b := bustest.Start(t)
	var log lockedBuffer
	s := listener(t, slog.New(slog.NewTextHandler(&log, nil)))
	await(t, s, "", "")
	stranger := b.Connect()
	emit(t, stranger, body("UPDATE_STATUS_IDLE", "")...)
	emit(t, stranger, needReboot)
	emit(t, stranger)
	barrier(t, b)
	await(t, s, "", "")
	s.engine.DeliverSignal(engineManager, "StatusUpdate", &dbus.Signal{Sender: ":1.9999", Path: enginePath, Body: body(needReboot, "")})
	barrier(t, b)
	await(t, s, "", "")
	for i := range 10 { // any user can: it is told once in a minute
		s.engine.DeliverSignal(engineManager, "StatusUpdate", &dbus.Signal{Sender: fmt.Sprintf(":1.%d", 10000+i), Path: enginePath, Body: body(needReboot, "")})
		barrier(t, b)
	}
	await(t, s, "", "")
	if got := log.String(); strings.Count(got, "ignored a request for a reboot") != 1 || !strings.Contains(got, ":1.9999") {
		t.Errorf("logged:\n%s", got)
	}
}

// TestSignalsToTheAgentAlone: what is sent to one connection passes every match rule.
func TestSignalsToTheAgentAlone(t *testing.T) {
	for name, c := range map[string]struct {
		iface, member string
		signal        dbus.Signal
	}{
		"another object":    {engineManager, "StatusUpdate", dbus.Signal{Sender: ":1.9", Path: "/com/coreos/update2", Body: body(needReboot, "")}},
		"another signal":    {engineManager, "StatusUpdates", dbus.Signal{Sender: ":1.9", Path: enginePath, Body: body(needReboot, "")}},
		"another interface": {"com.coreos.update2.Manager", "StatusUpdate", dbus.Signal{Sender: ":1.9", Path: enginePath, Body: body(needReboot, "")}},
		"a false bus":       {"org.freedesktop.DBus", "NameOwnerChanged", dbus.Signal{Sender: ":1.9", Path: "/org/freedesktop/DBus", Body: []any{engineService, "", ":1.9"}}},
		"another's name":    {"org.freedesktop.DBus", "NameOwnerChanged", dbus.Signal{Sender: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus", Body: []any{"com.example", "", ":1.9"}}},
	} {
		u := newUpdateEngine(func() {}, silent())
		u.DeliverSignal(c.iface, c.member, &c.signal)
		if u.owner.value != "" || u.status.value != (status{}) || len(u.strangers) != 0 {
			t.Errorf("%s: %+v, %+v, %q", name, u.owner, u.status, u.strangers)
		}
	}
}

// TestOtherUsers: nobody but root and the agent's own user reboots a machine by a signal.
func TestOtherUsers(t *testing.T) {
	for uid, want := range map[uint32]bool{0: true, uint32(os.Geteuid()): true, 65534: false, 1<<32 - 1: false} {
		if mayRequest(uid) != want {
			t.Errorf("%d may: %t", uid, !want)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("to send as another user needs root")
	}
	if _, err := exec.LookPath("dbus-send"); err != nil && os.Getenv("CI") == "" {
		t.Skip("dbus-send is not installed (apt-get install dbus-bin)")
	}
	b := bustest.Start(t)
	var log lockedBuffer
	s := listener(t, slog.New(slog.NewTextHandler(&log, nil)))
	await(t, s, "", "")
	send := exec.Command("dbus-send", "--system", "--type=signal", "/com/coreos/update1", "com.coreos.update1.Manager.StatusUpdate",
		"int64:0", "double:0", "string:UPDATE_STATUS_UPDATED_NEED_REBOOT", "string:", "int64:0")
	send.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := send.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	barrier(t, b)
	await(t, s, "", "")
	if got := log.String(); !strings.Contains(got, "ignored a request for a reboot") {
		t.Errorf("logged:\n%s", got)
	}
}

// TestManyStrangers: those that wait to be looked at are bounded.
func TestManyStrangers(t *testing.T) {
	u := newUpdateEngine(func() {}, silent())
	for i := range 1000 {
		u.DeliverSignal(engineManager, "StatusUpdate", &dbus.Signal{Sender: string(rune('a' + i)), Path: enginePath, Body: body(needReboot, "")})
		u.DeliverSignal(engineManager, "StatusUpdate", &dbus.Signal{Sender: "a", Path: enginePath, Body: body(needReboot, "")})
	}
	if len(u.strangers) != maxStrangers {
		t.Errorf("%d wait", len(u.strangers))
	}
}

// TestOldAnswer: an answer that was overtaken by a signal on its way does not undo it.
func TestOldAnswer(t *testing.T) {
	var h heard[string]
	h.hear("signal", 8)
	h.hear("answer", 7)
	if h.value != "signal" {
		t.Error(h.value)
	}
	if h.hear("later", 9); h.value != "later" {
		t.Error(h.value)
	}
}

// barrier returns when the listener has dealt with all that was sent on the bus
// before: an update_engine that comes now is asked for its status. None may be there.
func barrier(t *testing.T, b *bustest.Bus) {
	t.Helper()
	asked := make(chan struct{}, 1)
	e := startEngineThat(t, b, func() *dbus.Error {
		asked <- struct{}{}
		return dbus.NewError(bus.UnknownMethod, nil)
	})
	<-asked
	if _, err := e.conn.ReleaseName(engineService); err != nil {
		t.Fatal(err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
