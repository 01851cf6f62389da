package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHost(t *testing.T) {
	h := &Host{BootIDFile: filepath.Join(t.TempDir(), "boot-id"), SentinelFile: filepath.Join(t.TempDir(), "wanted")}
	if id, err := h.BootID(); err == nil {
		t.Errorf("boot id %q of a missing file", id)
	}
	write(t, h.BootIDFile, " \n")
	if id, err := h.BootID(); err == nil {
		t.Errorf("boot id %q of an empty file", id)
	}
	write(t, h.BootIDFile, "b00t\n")
	if id, err := h.BootID(); err != nil || id != "b00t" {
		t.Errorf("boot id %q, %v", id, err)
	}
	if wanted, err := h.Wanted(); err != nil || wanted {
		t.Errorf("wanted %t, %v, without a sentinel file", wanted, err)
	}
	write(t, h.SentinelFile, "")
	if wanted, err := h.Wanted(); err != nil || !wanted {
		t.Errorf("wanted %t, %v, with a sentinel file", wanted, err)
	}
}

func TestHostReboot(t *testing.T) {
	for _, test := range []struct {
		command []string
		want    string // in the error; empty: success
	}{
		{[]string{"true"}, ""},
		{[]string{"sh", "-c", "echo an inhibitor is active >&2; exit 3"}, `exit status 3: "an inhibitor is active"`},
		{[]string{"false"}, "exit status 1"},
		{[]string{"/nowhere/reboot"}, "no such file"},
		{nil, "empty"},
	} {
		err := (&Host{RebootCommand: test.command}).Reboot(t.Context())
		if (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %q", test.command, err, test.want)
		}
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
