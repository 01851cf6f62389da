package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coordd/coordd/cmd/environment"
	"github.com/spf13/pflag"
)

func parse(t *testing.T, args string, environ ...string) (*options, error) {
	t.Helper()
	o, flags := &options{}, pflag.NewFlagSet("locksmithd", pflag.ContinueOnError)
	o.bind(flags)
	if err := flags.Parse(strings.Fields(args)); err != nil {
		t.Fatal(err)
	}
	_, err := environment.Set(flags, environmentPrefix, environ)
	return o, err
}

func TestEnvironment(t *testing.T) {
	o, err := parse(t, "--group=flag",
		"LOCKSMITHD_GROUP=variable", "LOCKSMITHD_ENDPOINTS=http://a:1,http://b:2", "LOCKSMITHD_REASON=",
		"LOCKSMITHD_NO_SUCH=1", "GROUP=other")
	if err != nil {
		t.Fatal(err)
	}
	if o.group != "flag" {
		t.Errorf("group %q, want the flag's", o.group)
	}
	if !slices.Equal(o.client.Endpoints, []string{"http://a:1", "http://b:2"}) {
		t.Errorf("endpoints %q, want the variable's", o.client.Endpoints)
	}
	if o.reason == "" {
		t.Error("an empty variable has taken the default away")
	}
	if _, err := parse(t, "", "LOCKSMITHD_POLL=soon"); err == nil || !strings.Contains(err.Error(), "LOCKSMITHD_POLL") {
		t.Errorf("bad value: %v, want the variable's name", err)
	}
}

func TestRebootCommandIsCheckedAtStart(t *testing.T) {
	for _, command := range []string{"", " ", "no-such-program now"} {
		o := &options{rebootCommand: command}
		if _, err := o.host(); err == nil || !strings.Contains(err.Error(), "--reboot-command") {
			t.Errorf("reboot command %q: %v, want an error that names the flag", command, err)
		}
	}
	o := &options{rebootCommand: "true now"}
	if host, err := o.host(); err != nil || !slices.Equal(host.RebootCommand, []string{"true", "now"}) {
		t.Errorf("host %+v, %v", host, err)
	}
}

func TestMachineID(t *testing.T) {
	file := filepath.Join(t.TempDir(), "machine-id")
	o, err := parse(t, "--machine-id-file="+file)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := o.machineID(); err == nil {
		t.Errorf("id %q from a missing file", id)
	}
	if err := os.WriteFile(file, []byte("4f2e81a0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := o.machineID(); err != nil || id != "4f2e81a0" {
		t.Errorf("id %q, %v", id, err)
	}
	o.id = "given"
	if id, err := o.machineID(); err != nil || id != "given" {
		t.Errorf("id %q, %v, want the flag's", id, err)
	}
}
