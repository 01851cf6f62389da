package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coordd/coordd/locksmith/config"
)

func TestConfigCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "locksmithd.yaml")
	if err := os.WriteFile(file, []byte("machine: {group: file, zone: file}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"LOCKSMITHD_CONFIG=" + file, "LOCKSMITHD_POLL=7s", "LOCKSMITHD_GROUP=variable"}
	for _, test := range []struct {
		args string
		want []string // in the output, or in the error if the first begins with "error "
	}{
		{"config", []string{"group: variable # environment variable LOCKSMITHD_GROUP\n", "zone: file # " + file + ":1\n", "poll: 7s # environment", "jitter: 0s # default\n"}},
		{"config --group=flag --set poll=9s", []string{"group: flag # --group\n", "poll: 9s # --set\n"}},
		{"config --endpoint http://a:1,http://b:2 --reboot-command=/sbin/kexec --output=json", []string{`"store.endpoints": "--endpoint"`, `"http://b:2"`, `"/sbin/kexec"`}},
		{"config --poll=soon --set jitter=99h", []string{"error --poll: poll: "}},
		{"config --set poll", []string{`error "poll" must be setting=value`}},
		{"config --output xml", []string{`error locksmithd: --output: "xml" must be yaml or json`}},
		{"config --config /no/such/file", []string{"error config: open /no/such/file"}},
		{"config more", []string{"error unknown command"}},
	} {
		out, err := &strings.Builder{}, error(nil)
		cmd := newCommand(environ)
		cmd.SetArgs(strings.Fields(test.args))
		cmd.SetOut(out)
		err = cmd.ExecuteContext(t.Context())
		if wrong, ok := strings.CutPrefix(test.want[0], "error "); ok {
			if err == nil || !strings.Contains(err.Error(), wrong) || out.Len() > 0 {
				t.Errorf("%s: %v, %q, want %q", test.args, err, out, wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.args, err)
		}
		for _, want := range test.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is missing in\n%s", test.args, want, out)
			}
		}
	}
}

// TestMissingPrograms: a hook that is not there would be known with the slot in hand, after people were warned.
func TestMissingPrograms(t *testing.T) {
	var c config.Config
	c.Defaults()
	c.Hooks.Before = [][]string{{"true"}, {"/no/such/drain", "--now"}}
	c.Health.Exec = [][]string{{"no-such-selftest"}}
	got := strings.Join(missingPrograms(&c), "\n")
	if want := "hooks.before[1]: exec: \"/no/such/drain\": stat /no/such/drain: no such file or directory\n" +
		"health.exec[0]: exec: \"no-such-selftest\": executable file not found in $PATH"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
