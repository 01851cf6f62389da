package bus_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"go.uber.org/goleak"

	"github.com/coordd/coordd/locksmith/bus"
	"github.com/coordd/coordd/locksmith/bus/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// oracle answers questions.
type oracle struct {
	asked chan struct{}
	hang  chan struct{}
}

func (oracle) Answer() (uint32, *dbus.Error) { return 42, nil }

func (oracle) Refuse() *dbus.Error {
	return dbus.NewError("com.example.No", []any{"not today"})
}

func (oracle) RefuseWithoutWords() *dbus.Error { return dbus.NewError("com.example.No", nil) }

func (o oracle) Hang() *dbus.Error {
	o.asked <- struct{}{}
	<-o.hang
	return nil
}

func start(t *testing.T) (*bustest.Bus, oracle, dbus.BusObject) {
	t.Helper()
	b := bustest.Start(t)
	o := oracle{make(chan struct{}, 1), make(chan struct{})}
	b.Serve("com.example.Oracle", "/oracle", "com.example.Oracle", o)
	t.Cleanup(func() { close(o.hang) })
	conn, err := bus.Connect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return b, o, conn.Object("com.example.Oracle", "/oracle")
}

func TestCall(t *testing.T) {
	_, _, object := start(t)
	var answer uint32
	if err := bus.Call(t.Context(), object, "com.example.Oracle.Answer", nil, &answer); err != nil || answer != 42 {
		t.Errorf("%d, %v", answer, err)
	}
	var list []string
	if err := bus.Call(t.Context(), object, "com.example.Oracle.Answer", nil, &list); err == nil || bus.IsRefused(err, "") {
		t.Errorf("a number for a list: %q, %v", list, err)
	}
}

func TestRefused(t *testing.T) {
	_, _, object := start(t)
	for method, want := range map[string]string{
		"Refuse":             "bus: com.example.Oracle.Refuse: not today (com.example.No)",
		"RefuseWithoutWords": "bus: com.example.Oracle.RefuseWithoutWords: com.example.No",
	} {
		if err := bus.Call(t.Context(), object, "com.example.Oracle."+method, nil); !bus.IsRefused(err, "x", "com.example.No") || err.Error() != want {
			t.Errorf("%v", err)
		}
	}
	if err := bus.Call(t.Context(), object, "com.example.Oracle.Unknown", nil); !bus.IsRefused(err, bus.UnknownMethod) {
		t.Error(err)
	}
}

// TestServiceIsMissing: the bus answers in its place.
func TestServiceIsMissing(t *testing.T) {
	bustest.Start(t)
	conn, err := bus.Connect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := bus.Call(t.Context(), conn.Object("com.example.Nobody", "/"), "com.example.Nobody.Ask", nil); !bus.IsRefused(err, bus.NoService, bus.NoOwner) {
		t.Error(err)
	}
}

func TestContextEndsACall(t *testing.T) {
	_, o, object := start(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	late := errors.New("it is late")
	go func() { <-o.asked; cancel(late) }()
	if err := bus.Call(ctx, object, "com.example.Oracle.Hang", nil); !errors.Is(err, late) {
		t.Error(err)
	}
}

func TestBusEndsDuringACall(t *testing.T) {
	b, o, object := start(t)
	go func() { <-o.asked; b.Stop() }()
	err := bus.Call(t.Context(), object, "com.example.Oracle.Hang", nil)
	if !errors.Is(err, bus.ErrEnded) {
		t.Error(err)
	}
}

func TestConnectFails(t *testing.T) {
	b := bustest.Start(t)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bus.Connect(over, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	b.Stop()
	if _, err := bus.Connect(t.Context(), nil); err == nil || !strings.HasPrefix(err.Error(), "bus: connect: ") {
		t.Errorf("to nobody: %v", err)
	}
	b.Start()
	conn, err := bus.Connect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestSilentBus: a bus daemon that hangs accepts connections, for the kernel does so in its place.
func TestSilentBus(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+socket)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() { _, err := bus.Connect(ctx, nil); ended <- err }()
	select {
	case err := <-ended:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for a daemon that hangs")
	}
}
