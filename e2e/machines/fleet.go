package machines

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

const (
	bridge   = "br0"
	hostIP   = "192.0.2.1"
	firstIP  = 11
	lastIP   = 254
	ipFormat = "192.0.2.%d"
)

// Fleet is some machines on one bridge. There is one at a time. Its methods and those
// of its machines may be called concurrently.
type Fleet struct {
	logs     string // directory of what machines print
	machines []*Machine
	pipe     *os.File       // into which all machines tell how they are, so that there is one order
	reader   sync.WaitGroup // of the pipe

	mu     sync.Mutex
	events []Event       // guarded by mu
	news   chan struct{} // guarded by mu; closed with the next event
}

// NewFleet makes a fleet without machines; what they print goes to files in logs.
func NewFleet(logs string) (*Fleet, error) {
	for _, command := range []string{
		"link add " + bridge + " type bridge",
		"addr add " + hostIP + "/24 dev " + bridge,
		"link set " + bridge + " up",
	} {
		if err := ip(command); err != nil {
			return nil, err
		}
	}
	f := &Fleet{logs: logs, news: make(chan struct{})}
	return f, f.listen()
}

func pipePath() string { return filepath.Join(stateDir, "events") }

// listen makes the pipe and reads from it until it is closed.
func (f *Fleet) listen() (err error) {
	if err := syscall.Mkfifo(pipePath(), 0o600); err != nil {
		return fmt.Errorf("machines: %w", err)
	}
	if f.pipe, err = os.OpenFile(pipePath(), os.O_RDWR, 0); err != nil { // also for writing, so that it has no end
		return fmt.Errorf("machines: %w", err)
	}
	f.reader.Go(func() {
		for lines := bufio.NewScanner(f.pipe); lines.Scan(); {
			if fields := strings.Fields(lines.Text()); len(fields) == 3 {
				f.record(fields[0], What(fields[1]), fields[2], "")
			}
		}
	})
	return nil
}

// Spec is what one machine is.
type Spec struct {
	Name string // host name: lower case letters and digits, at most 12
	// Programs are the host's files that the machine has, read only: path in it to path here.
	Programs map[string]string
	// Files are further files, by their paths, with what they hold.
	Files map[string]string
	// Units are enabled, as those that multi-user.target wants.
	Units []string
	// Vital units must be active before the machine counts as up. What must not run
	// before that is ordered after boot-complete.target, and requires it.
	Vital []string
}

// Add gives the fleet a machine, which is off. All are added before the first starts:
// they know each other's names.
func (f *Fleet) Add(spec Spec) (*Machine, error) {
	n := firstIP + len(f.machines)
	if n > lastIP {
		return nil, errors.New("machines: the bridge has no address left")
	}
	m := &Machine{
		Name: spec.Name, IP: fmt.Sprintf(ipFormat, n), ID: fmt.Sprintf("%032x", n),
		fleet: f, spec: spec, dir: filepath.Join(stateDir, spec.Name),
	}
	if err := m.install(); err != nil {
		return nil, err
	}
	f.machines = append(f.machines, m)
	return m, nil
}

// Machines are all that were added, in that order.
func (f *Fleet) Machines() []*Machine { return f.machines }

// hosts is the content of every machine's /etc/hosts.
func (f *Fleet) hosts() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for _, m := range f.machines {
		fmt.Fprintf(&b, "%s %s\n", m.IP, m.Name)
	}
	return b.String()
}

// Start turns all machines on.
func (f *Fleet) Start() error {
	for _, m := range f.machines {
		if err := m.Start(); err != nil {
			return err
		}
	}
	return nil
}

// Close turns all machines off, as a power cut does, and removes what they were.
func (f *Fleet) Close() error {
	var errs []error
	for _, m := range f.machines {
		errs = append(errs, m.remove())
	}
	errs = append(errs, f.pipe.Close())
	f.reader.Wait()
	errs = append(errs, ip("link del "+bridge), removeContents(stateDir))
	return errors.Join(errs...)
}

func removeContents(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("machines: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("machines: %w", err)
		}
	}
	return nil
}
