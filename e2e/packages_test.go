package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// command runs a program in the repository's root and returns what it printed.
func command(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(within(t, 5*time.Minute), argv[0], argv[1:]...)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// TestInstall installs below another prefix: the units start what is there, and what an operator has changed stays.
func TestInstall(t *testing.T) {
	program(t, "bin/coordd")
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/coordd"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "etc/coordd/coordd.env"), []byte("COORDD_NAME=mine\n"))
	command(t, "make", "install", "DESTDIR="+root)
	for file, want := range map[string]string{
		"usr/local/lib/systemd/system/coordd.service":          "\nExecStart=/usr/local/bin/coordd\n",
		"usr/local/lib/systemd/system/coordd.socket":           "ListenStream",
		"usr/local/lib/systemd/system/locksmithd.service":      "\nExecStart=/usr/local/bin/locksmithd\n",
		"usr/local/lib/systemd/system/lock-restart@.service":   "\nExecStart=/usr/local/bin/locksmithctl restart %i\n",
		"usr/local/lib/systemd/system-preset/90-coordd.preset": "disable coordd.service",
		"usr/local/lib/sysusers.d/locksmith.conf":              "u locksmith",
		"usr/local/lib/tmpfiles.d/coordd.conf":                 "/var/lib/coordd",
		"etc/polkit-1/rules.d/50-locksmith.rules":              "org.freedesktop.login1.reboot",
		"etc/coordd/coordd.env":                                "COORDD_NAME=mine\n",
		"etc/locksmith/locksmith.env":                          "LOCKSMITHD_",
		"usr/local/share/bash-completion/completions/coordctl": "coordctl",
		"usr/local/share/zsh/site-functions/_locksmithctl":     "#compdef locksmithctl",
	} {
		if got := read(t, filepath.Join(root, file)); !bytes.Contains(got, []byte(want)) {
			t.Errorf("%s holds no %q:\n%.300s", file, want, got)
		}
	}
	version := func(path string) string { return command(t, path, "--version") }
	if got, want := version(filepath.Join(root, "usr/local/bin/locksmithctl")), version("bin/locksmithctl"); got != want {
		t.Errorf("installed is %q, not %q", got, want)
	}
}

// TestDebianPackages builds them twice, which must make no difference, and puts them into a root of their own, upgrades
// them, and takes them out again, as dpkg does.
func TestDebianPackages(t *testing.T) {
	program(t, "bin/coordd")
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("dpkg-deb is not installed")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make a system's users")
	}
	packages := buildPackages(t)
	root := newDebianRoot(t)
	dpkg := func(argv ...string) string {
		return command(t, append([]string{"dpkg", "--root=" + root, "--force-script-chrootless", "--force-depends", "--force-unsafe-io", "--log=/dev/null"}, argv...)...)
	}
	dpkg(append([]string{"--install"}, packages...)...)
	users := string(read(t, filepath.Join(root, "etc/passwd")))
	if !regexp.MustCompile(`(?m)^coordd:.*\n(.*\n)*locksmith:.*:/var/lib/locksmith:`).MatchString(users) {
		t.Errorf("users:\n%s", users)
	}
	if info, err := os.Stat(filepath.Join(root, "var/lib/coordd")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder of the data: %v, %v", info, err)
	}
	if enabled, _ := filepath.Glob(filepath.Join(root, "etc/systemd/system/*.wants/*")); len(enabled) > 0 {
		t.Errorf("enabled by the installation: %q", enabled)
	}
	settings := filepath.Join(root, "etc/locksmith/locksmith.env")
	write(t, settings, []byte("LOCKSMITHD_GROUP=mine\n"))
	write(t, filepath.Join(root, "var/lib/coordd/data"), []byte("data"))
	command(t, "systemctl", "--root="+root, "enable", "locksmithd.service")
	dpkg(append([]string{"--force-confold", "--install"}, packages...)...)
	if got := read(t, settings); string(got) != "LOCKSMITHD_GROUP=mine\n" {
		t.Errorf("the upgrade made the settings %q", got)
	}
	if enabled, _ := filepath.Glob(filepath.Join(root, "etc/systemd/system/*.wants/*")); len(enabled) != 1 {
		t.Errorf("enabled after the upgrade: %q, want locksmithd.service", enabled)
	}
	dpkg("--remove", "coordd", "locksmith")
	if enabled, _ := filepath.Glob(filepath.Join(root, "etc/systemd/system/*.wants/*")); len(enabled) > 0 {
		t.Errorf("enabled after the removal: %q", enabled)
	}
	read(t, settings)
	dpkg("--purge", "coordd", "locksmith")
	if _, err := os.Stat(settings); err == nil {
		t.Error("the settings are there after the purge")
	}
	read(t, filepath.Join(root, "var/lib/coordd/data")) // which no package takes away
}

// buildPackages builds the packages twice and looks at what they say and hold.
func buildPackages(t *testing.T) []string {
	t.Helper()
	dirs := []string{t.TempDir(), t.TempDir()}
	for _, dir := range dirs {
		command(t, "deploy/debian/build.sh", dir)
	}
	packages, _ := filepath.Glob(filepath.Join(dirs[0], "*.deb"))
	if len(packages) != 2 {
		t.Fatalf("packages %q, want two", packages)
	}
	for _, file := range packages {
		if again := filepath.Join(dirs[1], filepath.Base(file)); !bytes.Equal(read(t, file), read(t, again)) {
			t.Errorf("%s is another one each time", filepath.Base(file))
		}
		if info := command(t, "dpkg-deb", "--info", file); !regexp.MustCompile(`(?s)Version: \d.*Architecture: [a-z0-9]+\n.*Installed-Size: [1-9]`).MatchString(info) {
			t.Errorf("info:\n%s", info)
		}
		for line := range strings.Lines(command(t, "dpkg-deb", "--contents", file)) {
			if !strings.Contains(line, "root/root") || strings.Contains(line, "/usr/local") || strings.HasPrefix(line, "drwxrwx") {
				t.Errorf("%s holds %s", filepath.Base(file), line)
			}
		}
	}
	return packages
}

// newDebianRoot is an empty system in which dpkg can install.
func newDebianRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"status", "available"} {
		write(t, filepath.Join(root, "var/lib/dpkg", file), nil)
	}
	return root
}
