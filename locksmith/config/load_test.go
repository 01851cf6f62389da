package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // no test depends on the host's

	"github.com/coordd/coordd/locksmith/window"
)

// tree writes files below a folder of the test. A content that begins with -> is a link.
func tree(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		err := error(nil)
		if target, link := strings.CutPrefix(content, "-> "); link {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func load(t *testing.T, in Input) *Loaded {
	t.Helper()
	l, err := Load(in)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestNothingIsTheDefaults(t *testing.T) {
	l := load(t, Input{Root: t.TempDir()})
	var want Config
	want.Defaults()
	if !reflect.DeepEqual(l.Config, want) {
		t.Errorf("%+v, want %+v", l.Config, want)
	}
	if len(l.Origins) != 0 || len(l.Files) != 0 || len(l.Warnings) != 0 {
		t.Errorf("origins %v, files %v, warnings %v", l.Origins, l.Files, l.Warnings)
	}
}

const (
	etc    = "etc/locksmith/locksmithd.yaml"
	run    = "run/locksmith/locksmithd.yaml"
	usrLib = "usr/lib/locksmith/locksmithd.yaml"
)

// TestFiles: groups tell which files counted, the last of them in the end.
func TestFiles(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		group string
		read  []string
	}{
		"etc hides the others": {map[string]string{etc: "machine: {group: etc}", run: "machine: {group: run}", usrLib: "machine: {zone: lib}"},
			"etc", []string{etc}},
		"run hides usr": {map[string]string{run: "machine: {group: run}", usrLib: "machine: {group: lib}"}, "run", []string{run}},
		"usr":           {map[string]string{usrLib: "machine: {group: lib}"}, "lib", []string{usrLib}},
		"an empty file hides": {map[string]string{etc: "", usrLib: "machine: {group: lib}"},
			"default", nil},
		"a link to /dev/null hides": {map[string]string{etc: "-> /dev/null", usrLib: "machine: {group: lib}"}, "default", nil},
		"a link is followed":        {map[string]string{etc: "-> ../other.yaml", "etc/other.yaml": "machine: {group: other}"}, "other", []string{etc}},
		"comments alone are a file": {map[string]string{etc: "# nothing\n", usrLib: "machine: {group: lib}"}, "default", []string{etc}},
		"a drop-in of a weaker folder is over the file": {map[string]string{etc: "machine: {group: etc}", usrLib + ".d/a.yaml": "machine: {group: drop-in}"},
			"drop-in", []string{etc, usrLib + ".d/a.yaml"}},
		"drop-ins by name over all folders": {map[string]string{
			etc + ".d/10.yaml": "machine: {group: g10}", run + ".d/30.yaml": "machine: {group: g30}", usrLib + ".d/20.yaml": "machine: {group: g20}",
		}, "g30", []string{etc + ".d/10.yaml", usrLib + ".d/20.yaml", run + ".d/30.yaml"}},
		"drop-ins of one name": {map[string]string{
			etc + ".d/a.yaml": "machine: {group: etc}", run + ".d/a.yaml": "machine: {group: run}", usrLib + ".d/a.yaml": "machine: {group: lib}",
		}, "etc", []string{etc + ".d/a.yaml"}},
		"drop-ins that are hidden": {map[string]string{
			etc + ".d/a.yaml": "", run + ".d/a.yaml": "machine: {group: run}",
			run + ".d/b.yaml": "-> /dev/null", usrLib + ".d/b.yaml": "machine: {group: lib}",
		}, "default", nil},
		"what is no drop-in": {map[string]string{
			etc + ".d/a.yml": "x", etc + ".d/b.yaml~": "x", etc + ".d/.c.yaml": "x", etc + ".d/README": "x",
		}, "default", nil},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, test.files)
			l := load(t, Input{Root: root})
			var read []string
			for _, path := range l.Files {
				read = append(read, strings.TrimPrefix(path, root+"/"))
			}
			if l.Config.Machine.Group != test.group || !slices.Equal(read, test.read) {
				t.Errorf("group %s of %v, want %s of %v", l.Config.Machine.Group, read, test.group, test.read)
			}
		})
	}
}

// TestMerge: blocks are merged, lists replaced, and each setting knows where it was set.
func TestMerge(t *testing.T) {
	root := tree(t, map[string]string{
		usrLib: "store:\n  endpoints: [http://a:1, http://b:2]\n  timeout: 7s\nwindows:\n- {start: 02:00, length: 2h}\n- {start: 04:00, length: 2h}\n",
		etc + ".d/50.yaml": "store:\n  endpoints:\n  - https://c:3\n  ca_file: /ca.pem\nmachine:\n" +
			"windows:\n- {start: \"05:00\", length: 1h, days: [sat, Sunday], zone: Europe/Berlin}\npoll: 10s\n",
		etc + ".d/60.yaml": "poll: 20s\n",
	})
	l := load(t, Input{Root: root})
	c := l.Config
	if !slices.Equal(c.Store.Endpoints, []string{"https://c:3"}) || c.Store.Timeout != 7*time.Second || c.Store.CAFile != "/ca.pem" ||
		c.Store.Prefix != "locksmith" || c.Poll != 20*time.Second {
		t.Errorf("%+v", c)
	}
	want := window.Window{Days: []string{"sat", "Sunday"}, Start: "05:00", Length: time.Hour, Zone: "Europe/Berlin"}
	if len(c.Window.Windows) != 1 || !reflect.DeepEqual(c.Window.Windows[0], want) {
		t.Errorf("windows %+v, want %+v", c.Window.Windows, want)
	}
	dropIn := root + "/" + etc + ".d/50.yaml"
	origins := map[string]string{
		"store.endpoints": dropIn + ":2", "store.ca_file": dropIn + ":4", "store.timeout": root + "/" + usrLib + ":3",
		"windows": dropIn + ":6", "poll": root + "/" + etc + ".d/60.yaml:1",
	}
	if !maps.Equal(l.Origins, origins) {
		t.Errorf("origins %v, want %v", l.Origins, origins)
	}
}

// TestLayers: files, update.conf, the environment and the command line, each over the one before.
func TestLayers(t *testing.T) {
	root := tree(t, map[string]string{
		etc:                              "strategy: reboot\nmachine: {group: file, zone: file, hostname: file, stage: 1}\n",
		"usr/share/flatcar/update.conf":  "GROUP=stable\nSERVER=https://example.com/\nREBOOT_STRATEGY=off\nLOCKSMITHD_GROUP=image\n",
		"etc/flatcar/update.conf":        "REBOOT_STRATEGY=\"etcd-lock\"\nLOCKSMITHD_REBOOT_WINDOW_START='Thu 23:00'\n",
		"etc/coreos/update.conf":         "LOCKSMITHD_ENDPOINT=https://a:1,https://b:2\nREBOOT_WINDOW_START=ignored\n",
		"usr/share/coreos/update.conf":   "LOCKSMITHD_ENDPOINT=https://image:1\n",
		"somewhere/else/locksmithd.yaml": "machine: {group: elsewhere}\n",
	})
	l := load(t, Input{Root: root,
		Environ: []string{
			"REBOOT_WINDOW_LENGTH=1h30m", "LOCKSMITHD_MACHINE_GROUP=env", "LOCKSMITHD_MACHINE_HOSTNAME=env", "LOCKSMITHD_REASON=", "HOME=/root",
			"LOCKSMITHD_REBOOT_COMMAND=/sbin/kexec -e", "LOCKSMITHD_DEBUG=true", "LOCKSMITHD_VERSION=1",
			`LOCKSMITHD_BLACKOUTS=[{from: 2026-12-20, to: 2027-01-02, reason: "the year's end"}]`, "LOCKSMITHD_SERVICE_HOST=10.0.0.1",
		},
		Flags: []Override{{"machine.group", "first", "--group"}, {"machine.group", "flag", "--group"}, {"machine.stage", "2", "--set"}},
	})
	c := l.Config
	if c.Strategy != StrategySlot || c.Machine.Zone != "file" || c.Machine.Hostname != "env" || c.Machine.Group != "flag" || c.Machine.Stage != 2 ||
		!slices.Equal(c.Store.Endpoints, []string{"https://a:1", "https://b:2"}) || !slices.Equal(c.Reboot.Command, []string{"/sbin/kexec", "-e"}) {
		t.Errorf("%+v", c)
	}
	if w := c.Window.Windows; len(w) != 1 || w[0].Start != "23:00" || w[0].Length != 90*time.Minute || !slices.Equal(w[0].Days, []string{"Thu"}) {
		t.Errorf("windows %+v", w)
	}
	if b := c.Window.Blackouts; len(b) != 1 || b[0].From != "2026-12-20" || b[0].Reason != "the year's end" {
		t.Errorf("blackouts %+v", b)
	}
	for setting, origin := range map[string]string{
		"strategy": "REBOOT_STRATEGY in " + root + "/etc/flatcar/update.conf:1", "machine.zone": root + "/" + etc + ":2",
		"windows":         "LOCKSMITHD_REBOOT_WINDOW_START in " + root + "/etc/flatcar/update.conf:2",
		"store.endpoints": "LOCKSMITHD_ENDPOINT in " + root + "/etc/coreos/update.conf:1",
		"machine.group":   "--group", "machine.hostname": "environment variable LOCKSMITHD_MACHINE_HOSTNAME",
	} {
		if l.Origins[setting] != origin {
			t.Errorf("%s is of %q, want %q", setting, l.Origins[setting], origin)
		}
	}
	if len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "LOCKSMITHD_SERVICE_HOST") {
		t.Errorf("warnings %q", l.Warnings)
	}

	for _, in := range []Input{
		{Root: root, File: root + "/somewhere/else/locksmithd.yaml"},
		{Root: root, Environ: []string{"LOCKSMITHD_CONFIG=" + root + "/somewhere/else/locksmithd.yaml", "LOCKSMITHD_GROUP="}},
	} {
		in.Environ = append(in.Environ, "LOCKSMITHD_REBOOT_WINDOW_LENGTH=1h", "LOCKSMITHD_GROUP=")
		if l := load(t, in); l.Config.Machine.Group != "elsewhere" || len(l.Files) != 1 {
			t.Errorf("group %s of %v", l.Config.Machine.Group, l.Files)
		}
	}
}

// TestNoSlotNoStore: a machine that takes no slot does not ask the store whether it may go, unless it is told to.
func TestNoSlotNoStore(t *testing.T) {
	for file, want := range map[string]bool{
		"": true, "strategy: reboot": false, "strategy: reboot\nblockers: {quorum: true}": true, "blockers: {quorum: false}": false,
	} {
		l := load(t, Input{Root: tree(t, map[string]string{etc: file})})
		if l.Config.Blockers.Quorum != want {
			t.Errorf("%q: quorum %t, want %t", file, l.Config.Blockers.Quorum, want)
		}
	}
}

// TestLists: the ways in which a list is given as text.
func TestLists(t *testing.T) {
	for text, want := range map[string][]string{
		"http://a:1":                  {"http://a:1"},
		" http://a:1 , http://b:2":    {"http://a:1", "http://b:2"},
		`["http://a:1", http://b:2]`:  {"http://a:1", "http://b:2"},
		"[http://a:1]\n":              {"http://a:1"},
		"  [ http://a:1,http://b:2 ]": {"http://a:1", "http://b:2"},
	} {
		l := load(t, Input{Root: t.TempDir(), Environ: []string{"LOCKSMITHD_STORE_ENDPOINTS=" + text}})
		if !slices.Equal(l.Config.Store.Endpoints, want) {
			t.Errorf("%q: %q, want %q", text, l.Config.Store.Endpoints, want)
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	root := tree(t, map[string]string{etc: "store: {username: root, password: hunter2}\n"})
	if err := os.Chmod(filepath.Join(root, etc), 0o644); err != nil {
		t.Fatal(err)
	}
	l := load(t, Input{Root: root})
	if c, err := l.Config.Store.ClientConfig(); err != nil || c.Password != "hunter2" {
		t.Errorf("%v", err)
	}
	if len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "store.password: "+root+"/"+etc) {
		t.Errorf("warnings %q", l.Warnings)
	}
	yaml, err := l.YAML()
	if err != nil {
		t.Fatal(err)
	}
	text, err := l.JSON()
	if err != nil {
		t.Fatal(err)
	}
	shown := string(yaml) + string(text) + sprintAll(l.Config) + sprintAll(l.Config.Store.Password)
	if strings.Contains(shown, "hunter2") || strings.Contains(shown, "68756e7465723") || !strings.Contains(string(yaml), "(hidden)") {
		t.Errorf("the password is shown: %s", shown)
	}
	for _, wrong := range []string{
		"store: {username: root, password: [hunter2]}", "store: {password: hunter2}", "store: {endpoints: [http://root:hunter2@a:1]}",
		"store: {endpoints: [\"root:hunter2@a:1\"]}", "store: {endpoints: [\"http://root:hunter2@a:1:%\"]}", "store: {username: root, password: hunter2, password_file: /x}",
		"store: {username: root, password: {hunter2: 1}}",
	} {
		if _, err := Load(Input{Root: tree(t, map[string]string{etc: wrong})}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func sprintAll(v any) string { return fmt.Sprintf("%v %+v %#v %s %q %x %d", v, v, v, v, v, v, v) }

func TestPasswordFile(t *testing.T) {
	root := tree(t, map[string]string{"password": "s3cret\r\nmore\n", "empty": "\n"})
	l := load(t, Input{Root: root, Environ: []string{"LOCKSMITHD_ETCD_USERNAME=root", "LOCKSMITHD_STORE_PASSWORD_FILE=" + root + "/password"}})
	if c, err := l.Config.Store.ClientConfig(); err != nil || c.Password != "s3cret" || c.Username != "root" || len(l.Warnings) != 0 {
		t.Errorf("%v, %v, warnings %q", c.Username, err, l.Warnings)
	}
	if err := os.Chmod(root+"/password", 0o604); err != nil {
		t.Fatal(err)
	}
	l = load(t, Input{Root: root, Environ: []string{"LOCKSMITHD_ETCD_USERNAME=root", "LOCKSMITHD_STORE_PASSWORD_FILE=" + root + "/password"}})
	if len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "store.password_file") {
		t.Errorf("warnings %q", l.Warnings)
	}
	for _, file := range []string{"/empty", "/missing", ""} {
		s := Store{Username: "root", PasswordFile: root + file}
		if _, err := s.ClientConfig(); err == nil || !strings.HasPrefix(err.Error(), "store.password_file: ") {
			t.Errorf("%s: %v", s.PasswordFile, err)
		}
	}
}

// TestShown: what is shown is a file that gives the same configuration, and says where each setting is from.
func TestShown(t *testing.T) {
	root := tree(t, map[string]string{etc: "store:\n  endpoints: [http://a:1]\nwindows:\n- {start: 02:00, length: 2h}\npoll: 10s\n"})
	l := load(t, Input{Root: root, Environ: []string{"REBOOT_STRATEGY=off"}})
	shown, err := l.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"poll: 10s # " + root + "/" + etc + ":5", "strategy: \"off\" # environment variable REBOOT_STRATEGY", "  timeout: 5s # default",
		"windows: # " + root + "/" + etc + ":3", "blackouts: [] # default",
	} {
		if !strings.Contains(string(shown), line+"\n") {
			t.Errorf("%q is missing in\n%s", line, shown)
		}
	}
	again := load(t, Input{Root: tree(t, map[string]string{etc: string(shown)})})
	if got, want := fmt.Sprintf("%+v", again.Config), fmt.Sprintf("%+v", l.Config); got != want {
		t.Errorf("read again %s, was %s", got, want)
	}
	if len(again.Origins) != len(Settings()) {
		t.Errorf("%d settings are shown, there are %d", len(again.Origins), len(Settings()))
	}
	text, err := l.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		Config struct {
			Poll    string
			Windows []map[string]any
		}
		Origins map[string]string
	}
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	if object.Config.Poll != "10s" || len(object.Config.Windows) != 1 || object.Origins["poll"] != root+"/"+etc+":5" {
		t.Errorf("%s", text)
	}
}

func TestReadID(t *testing.T) {
	root := tree(t, map[string]string{"id": "4f2e81a0\n", "none": "uninitialized\n", "empty": "\n", "long": strings.Repeat("x", 300)})
	m := Machine{IDFile: root + "/id"}
	if id, err := m.ReadID(); err != nil || id != "4f2e81a0" {
		t.Errorf("%q, %v", id, err)
	}
	m.ID = "given"
	if id, err := m.ReadID(); err != nil || id != "given" {
		t.Errorf("%q, %v", id, err)
	}
	for _, file := range []string{"none", "empty", "long", "missing", "."} {
		m := Machine{IDFile: filepath.Join(root, file)}
		if id, err := m.ReadID(); err == nil {
			t.Errorf("%s: id %q", file, id)
		}
	}
}
