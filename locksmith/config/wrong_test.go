package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/locksmith/window"
)

// TestWrongSettings: each is an error that names the setting and where it is written.
func TestWrongSettings(t *testing.T) {
	for _, test := range []struct{ file, want string }{
		{"stor: {}", ":1: stor: there is no such setting; here are store, machine"},
		{"store:\n  endpoint: http://a:1", ":2: store.endpoint: there is no such setting; here are endpoints"},
		{"windows:\n- start: 02:00\n  length: 1h\n  timezone: UTC", ":4: windows[0].timezone: there is no such setting"},
		{"poll: 1s\nstore: {}\npoll: 2s", ":3: poll: it is given twice, in line 1 before"},
		{"store: {prefix: a, prefix: b}", ":1: store.prefix: it is given twice"},
		{"- poll", ":1: it must be a list of settings"},
		{"poll", ":1: it must be a list of settings"},
		{"poll: 1s\n---\npoll: 2s", "only one YAML document"},
		{"poll: [", "line "},
		{"\tpoll: 1s", etc + ": found character that cannot start any token"},
		{"a: &a [x]\nb: *a", "line 1: anchors and aliases are not allowed"},
		{"store: {<<: {prefix: x}}", ":1: store.<<: there is no such setting"},
		{"poll: !!str 5s", "line 1: the tag !!str is not allowed"},
		{"? [poll]\n: 5s", "there is no such setting"},

		{"poll:", ":1: poll: it has no value"},
		{"windows:", ":1: windows: it has no value"},
		{"windows: [~]", ":1: windows[0]: it has no value"},
		{"store: {endpoints: [null]}", ":1: store.endpoints[0]: it has no value"},
		{"poll: 5", `:1: poll: "5" is not a duration`},
		{"poll: soon", `:1: poll: "soon" is not a duration`},
		{"poll: [5s]", ":1: poll: a duration, as 30s or 1h30m is expected"},
		{"poll: {}", ":1: poll: a duration"},
		{"poll: -1s", ":1: poll: -1s must be from 10ms to 1h0m0s"},
		{"poll: 2h", ":1: poll: 2h0m0s must be"},
		{"machine: {stage: one}", `:1: machine.stage: "one" is not a whole number`},
		{"machine: {stage: 1.5}", `:1: machine.stage: "1.5" is not a whole number`},
		{"machine: {stage: -1}", ":1: machine.stage: -1 must be from 0 to 99"},
		{"machine: {stage: 99999999999999999999}", ":1: machine.stage: "},
		{"machine: {priority: -1}", ":1: machine.priority: -1 must be"},
		{"machine: {group: [a]}", ":1: machine.group: a text is expected"},
		{"machine: {group: \"\"}", ":1: machine.group: it is empty"},
		{"machine: {group: \"a\\nb\"}", ":1: machine.group: "},
		{"machine: {zone: " + strings.Repeat("z", 257) + "}", ":1: machine.zone: 257 bytes"},
		{"machine: {id_file: machine-id}", `:1: machine.id_file: "machine-id" must be an absolute path`},
		{"machine: {boot_id_file: \"\"}", ":1: machine.boot_id_file: "},
		{"machine: {store_member: \"\"}", ":1: machine.store_member: "},
		{"machine: [id]", ":1: machine: a block of settings is expected"},
		{"machine: me", ":1: machine: a block of settings is expected"},

		{"store: {endpoints: http://a:1}", ":1: store.endpoints: a list is expected"},
		{"store:\n  endpoints: []", ":2: store.endpoints: none is given"},
		{"store:\n  endpoints:\n  - http://a:1\n  - ftp://b:2", `:4: store.endpoints[1]: "ftp://b:2" must begin with http://`},
		{"store: {endpoints: [\"http://a\"]}", ":1: store.endpoints[0]: "},
		{"store: {endpoints: [\"http://:1\"]}", ":1: store.endpoints[0]: "},
		{"store: {endpoints: [\"http://a:1/v2\"]}", ":1: store.endpoints[0]: "},
		{"store: {endpoints: [\"a:0\"]}", ":1: store.endpoints[0]: "},
		{"store: {endpoints: [\"http://a:99999\"]}", ":1: store.endpoints[0]: "},
		{"store: {cert_file: /c}", "store.key_file: store.cert_file needs its key"},
		{"store: {key_file: /k}", "store.cert_file: store.key_file needs its certificate"},
		{"store: {ca_file: ca.pem}", `:1: store.ca_file: "ca.pem" must be an absolute path`},
		{"store: {password_file: /p}", ":1: store.password_file: it needs store.username"},
		{"store: {password: x}", ":1: store.password: it needs store.username"},
		{"store: {prefix: /a}", ":1: store.prefix: "},
		{"store: {prefix: \"\"}", ":1: store.prefix: "},
		{"store: {timeout: 1ms}", ":1: store.timeout: 1ms must be"},

		{"strategy: best-effort", ":1: strategy: best-effort is gone: use etcd-lock, or reboot"},
		{"strategy: etcdlock", `:1: strategy: "etcdlock" must be etcd-lock, reboot or off`},
		{"reboot: {method: kexec}", `:1: reboot.method: "kexec" must be reboot or soft-reboot`},
		{"reboot: {command: [\"\", now]}", ":1: reboot.command[0]: it is empty"},
		{"reboot: {command: systemctl reboot}", ":1: reboot.command: a list is expected"},
		{"reboot: {timeout: 0s}", ":1: reboot.timeout: 0s must be"},
		{"reboot: {back_off: -5m}", ":1: reboot.back_off: -5m0s must be"},
		{"metrics: {listen: localhost}", `:1: metrics.listen: "localhost" must be host:port`},
		{"metrics: {listen: \":http\"}", `:1: metrics.listen: "http" is no port`},

		{"triggers: {sentinel_file: reboot}", ":1: triggers.sentinel_file: "},
		{"triggers: {sentinel_file: \"\"}", "triggers: none is set"},
		{"triggers: {sentinel_command: check}", ":1: triggers.sentinel_command: a list is expected"},
		{"triggers: {sentinel_command: [\"\"]}", ":1: triggers.sentinel_command: "},
		{"triggers: {needrestart: maybe}", `:1: triggers.needrestart: "maybe" is not true or false`},
		{"triggers: {update-engine: true}", ":1: triggers.update-engine: there is no such setting; here are sentinel_file"},
		{"blockers:\n  users:\n    grace: -5m", ":3: blockers.users.grace: -5m0s must not be negative"},
		{"blockers:\n  users: {blocks: true}", ":2: blockers.users.blocks: there is no such setting; here are block"},
		{"blockers: {commands: [check]}", ":1: blockers.commands[0]: a list is expected"},
		{"blockers: {commands: [[check], []]}", ":1: blockers.commands[1]: "},
		{"blockers: {prometheus: {url: \"prometheus:9090\"}}", ":1: blockers.prometheus.url: "},
		{"blockers: {prometheus: {ignore: a}}", "blockers.prometheus.url: "},
		{"blockers: {prometheus: {url: \"http://p:9090\", only: \"(\"}}", ":1: blockers.prometheus.only: "},
		{"blockers: {timeout: 0s}", ":1: blockers.timeout: 0s must be above 0"},
		{"hooks: {before: [[drain], [\"\"]]}", ":1: hooks.before[1]: "},
		{"hooks: {after: [undrain]}", ":1: hooks.after[0]: a list is expected"},
		{"hooks: {timeout: -1s}", ":1: hooks.timeout: "},
		{"health: {units: [nginx]}", `:1: health.units[0]: "nginx" is no full name`},
		{"health:\n  http:\n  - url: ftp://a/", ":3: health.http[0].url: "},
		{"health:\n  http:\n  - url: http://a/\n    status: ok", `:4: health.http[0].status: "ok" is not a whole number`},
		{"health: {tcp: [localhost]}", ":1: health.tcp[0]: "},
		{"health: {exec: [[]]}", ":1: health.exec[0]: "},
		{"health: {boot_complete: 1}", `:1: health.boot_complete: "1" is not true or false`},
		{"health: {deadline: -1s}", ":1: health.deadline: "},

		{"windows: {start: 02:00}", ":1: windows: a list is expected"},
		{"windows: [02:00]", ":1: windows[0]: a block of settings is expected"},
		{"windows:\n- length: 2h", ":2: windows[0].start: "},
		{"windows:\n- start: 2am\n  length: 2h", `:2: windows[0].start: "2am" is no time of day`},
		{"windows:\n- start: 02:00\n  length: 5m", ":3: windows[0].length: 5m0s must be longer than expected_duration, 5m0s"},
		{"windows:\n- start: 02:00\n  length: 2h\n- start: 02:00\n  length: 200h", ":5: windows[1].length: "},
		{"windows:\n- start: 02:00\n  length: 2h\n  days:\n  - mon\n  - noday", `:6: windows[0].days[1]: "noday" is no day`},
		{"windows:\n- start: 02:00\n  length: 2h\n  zone: Berlin", `:4: windows[0].zone: "Berlin" is no time zone`},
		{"blackouts:\n- from: 2026-12-20\n  to: 2026-12-20", ":3: blackouts[0].to: "},
		{"blackouts:\n- to: 2026-12-20", ":2: blackouts[0].from: "},
		{"expected_duration: -1m", ":1: expected_duration: -1m0s must not be negative"},
		{"jitter: 25h", ":1: jitter: 25h0m0s must be from 0s to 24h0m0s"},
	} {
		wrong(t, Input{Root: tree(t, map[string]string{etc: test.file})}, test.file, test.want)
	}
}

func wrong(t *testing.T, in Input, what, want string) {
	t.Helper()
	l, err := Load(in)
	if err == nil || l != nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s:\n%v, want %q", what, err, want)
	}
}

func TestWrongVariables(t *testing.T) {
	for _, test := range []struct {
		environ []string
		want    string
	}{
		{[]string{"LOCKSMITHD_POLL=soon"}, `environment variable LOCKSMITHD_POLL: poll: "soon" is not a duration`},
		{[]string{"LOCKSMITHD_POLL=2h"}, "environment variable LOCKSMITHD_POLL: poll: 2h0m0s must be"},
		{[]string{"LOCKSMITHD_REBOOT_WINDOW_STRAT=02:00"}, "environment variable LOCKSMITHD_REBOOT_WINDOW_STRAT: there is no such setting"},
		{[]string{"REBOOT_STRATEGY=best-effort"}, "environment variable REBOOT_STRATEGY: strategy: best-effort is gone: use etcd-lock"},
		{[]string{"REBOOT_WINDOW_START=02:00"}, "LOCKSMITHD_REBOOT_WINDOW_LENGTH is missing"},
		{[]string{"LOCKSMITHD_REBOOT_WINDOW_LENGTH=1h"}, "LOCKSMITHD_REBOOT_WINDOW_START is missing"},
		{[]string{"REBOOT_WINDOW_START=Mo 02:00", "REBOOT_WINDOW_LENGTH=1h"}, `environment variable REBOOT_WINDOW_START: start "Mo 02:00": "Mo" is no day`},
		{[]string{"REBOOT_WINDOW_START=02:00", "REBOOT_WINDOW_LENGTH=60"}, `length "60" must be a duration`},
		{[]string{"REBOOT_WINDOW_START=02:00", "REBOOT_WINDOW_LENGTH=5m"}, "environment variable REBOOT_WINDOW_LENGTH: windows[0].length: 5m0s must be longer"},
		{[]string{"LOCKSMITHD_ENDPOINT=http://a:1,b"}, "environment variable LOCKSMITHD_ENDPOINT: store.endpoints[1]: "},
		{[]string{"LOCKSMITHD_ENDPOINT="}, ""},
		{[]string{"LOCKSMITHD_WINDOWS=02:00"}, "environment variable LOCKSMITHD_WINDOWS: windows: a list is expected"},
		{[]string{"LOCKSMITHD_WINDOWS=[{start: "}, "environment variable LOCKSMITHD_WINDOWS: windows: "},
		{[]string{"LOCKSMITHD_WINDOWS=[{begin: 1}]"}, "environment variable LOCKSMITHD_WINDOWS: windows[0].begin: there is no such setting"},
		{[]string{"LOCKSMITHD_MACHINE_STAGE=1,2"}, `environment variable LOCKSMITHD_MACHINE_STAGE: machine.stage: "1,2" is not a whole number`},
		{[]string{"LOCKSMITHD_STORE_CA_FILE=ca.pem"}, "environment variable LOCKSMITHD_STORE_CA_FILE: store.ca_file: "},
		{[]string{"LOCKSMITHD_CONFIG=/no/such/file"}, "/no/such/file"},
	} {
		in := Input{Root: t.TempDir(), Environ: test.environ}
		if test.want == "" {
			load(t, in)
			continue
		}
		wrong(t, in, test.environ[0], test.want)
	}
	for _, flag := range []struct{ setting, value, want string }{
		{"stores", "x", "--set: stores: there is no such setting"},
		{"store", "x", "--set: store: there is no such setting"},
		{"store.prefix.x", "x", "--set: store.prefix.x: there is no such setting"},
		{"", "x", "--set: : there is no such setting"},
		{"poll", "", `--set: poll: "" is not a duration`},
		{"poll", "0s", "--set: poll: 0s must be"},
	} {
		wrong(t, Input{Root: t.TempDir(), Flags: []Override{{flag.setting, flag.value, "--set"}}}, flag.setting, flag.want)
	}
}

// TestAllThatIsWrongIsNamed: the operator sees it at once, and not one after another.
func TestAllThatIsWrongIsNamed(t *testing.T) {
	root := tree(t, map[string]string{etc: "poll: soon\nstor: {}\n", etc + ".d/a.yaml": "machine: {stage: x}\n"})
	_, err := Load(Input{Root: root, Environ: []string{"LOCKSMITHD_JITTER=x"}})
	for _, want := range []string{etc + ":1: poll: ", etc + ":2: stor: ", "a.yaml:1: machine.stage: ", "LOCKSMITHD_JITTER: jitter: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q among it", err, want)
		}
	}
}

func TestWrongFiles(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"too large":                     {etc: "#" + strings.Repeat("x", maxFileBytes)},
		"a folder":                      {etc + "/x": ""},
		"a drop-in that is a folder":    {etc + ".d/a.yaml/x": ""},
		"a link that leads nowhere":     {etc: "-> nowhere", usrLib: "poll: 1s"},
		"a drop-in that leads nowhere":  {etc + ".d/a.yaml": "-> nowhere"},
		"a link to itself":              {etc: "-> locksmithd.yaml"},
		"a drop-in folder that is none": {etc + ".d": "x"},
		"an open quote in update.conf":  {"etc/flatcar/update.conf": "REBOOT_STRATEGY=\"off\n"},
		"not UTF-8":                     {etc: "poll: \xff\n"},
	} {
		if _, err := Load(Input{Root: tree(t, files)}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	root := tree(t, map[string]string{etc + ".d/x": ""})
	if err := syscall.Mkfifo(filepath.Join(root, etc), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong(t, Input{Root: root}, "a pipe that nobody writes to", "is no regular file")
	if err := os.Remove(filepath.Join(root, etc)); err != nil {
		t.Fatal(err)
	}
	load(t, Input{Root: root})
}

// TestUpdateConf: what systemd's EnvironmentFile= makes of it.
func TestUpdateConf(t *testing.T) {
	text := "# GROUP=x\n;c=1\n  \nA=plain\nB=\"double \\\"quoted\\\" \\n$\"\nC='single \"x\" \\'\n\tD = spaces at both ends \t\nno assignment\nexport E=1\n" +
		"F=two\\\nlines\nG=\"quoted\nlines\"\nH=\nI=a\\ b\\\nJ\nK=\"a\"'b'c # no comment\r\nL=last"
	variables, err := parseVariables("f", text)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, v := range variables {
		got += v.name + "=" + v.value + "@" + v.origin[strings.LastIndex(v.origin, ":")+1:] + "|"
	}
	want := `A=plain@4|B=double "quoted" \n$@5|C=single "x" \@6|D=spaces at both ends@7|export E=1@9|F=twolines@10|G=quoted
lines@12|H=@14|I=a bJ@15|K=abc # no comment@17|L=last@18|`
	if got != want {
		t.Errorf("\n%s, want\n%s", got, want)
	}
	for _, open := range []string{"A='x", "A=\"x\nB=1\n", "A=\"x\\"} {
		if _, err := parseVariables("f", open); err == nil || !strings.HasPrefix(err.Error(), "f:1: A: ") {
			t.Errorf("%q: %v", open, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("store: {endpoints: [http://a:1]}\nwindows:\n- {start: 02:00, length: 2h, days: [mon], zone: UTC}\n", "A=b\nREBOOT_STRATEGY='off'\n", "windows", "[{start: 1:00}]")
	f.Add("blackouts: [{from: 2026-12-20, to: 2026-12-21}]\npoll: 5s", "REBOOT_WINDOW_START=\"Thu 23:00\"\nREBOOT_WINDOW_LENGTH=1h\n", "store.endpoints", "a:1,b:2")
	f.Add("? {a: b}\n: *x\n", "=\n\\\n\"", "reboot.command", "[[")
	root := f.TempDir()
	for _, folder := range []string{"etc/locksmith", "etc/flatcar"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, file, update, setting, value string) {
		for path, content := range map[string]string{etc: file, "etc/flatcar/update.conf": update} {
			if err := os.WriteFile(filepath.Join(root, path), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := Load(Input{Root: root, Flags: []Override{{setting, value, "--set"}}})
		if err != nil {
			return
		}
		if err := l.Config.Validate(); err != nil {
			t.Errorf("what was loaded is wrong: %v", err)
		}
		schedule, err := window.New(l.Config.Window, "machine-1", time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		for _, now := range []time.Time{{}, time.Unix(1e9, 0), time.Unix(1774747800, 0)} {
			if v := schedule.At(now, now); !v.Open && !v.Next.IsZero() && !schedule.At(v.Next, now).Open {
				t.Errorf("at %v: %+v, and then it is not open", now, v)
			}
		}
		if _, err := l.YAML(); err != nil {
			t.Error(err)
		}
		if _, err := l.JSON(); err != nil {
			t.Error(err)
		}
	})
}
