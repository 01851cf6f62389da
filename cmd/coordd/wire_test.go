package main

import (
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coordd/coordd/coordd"
	"github.com/coordd/coordd/e2e/wiretest"
	"github.com/spf13/pflag"
)

// ofEtcd are the flags of the real etcd.
func ofEtcd(t *testing.T) []string {
	t.Helper()
	help, err := exec.Command("../../e2e/peers/bin/etcd", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("etcd --help: %v; build it first with 'make peers'", err)
	}
	names := map[string]bool{"config-file": true} // stands in the help's introduction
	for _, m := range regexp.MustCompile(`(?m)^\s+--([a-z0-9-]+)`).FindAllStringSubmatch(string(help), -1) {
		names[m[1]] = true
	}
	delete(names, "version")
	return slices.Sorted(maps.Keys(names))
}

// TestFlagsAreEtcds: every flag that etcd's help names is taken, and docs/WIRE.md says
// what becomes of it.
func TestFlagsAreEtcds(t *testing.T) {
	cmd := newCommand(t.Output())
	unserved := map[string]unserved{}
	for _, u := range unservedFlags() {
		unserved[u.name] = u
	}
	served := map[string]bool{}
	theirs := ofEtcd(t)
	var without, refused, old []string
	for _, name := range theirs {
		u, sets := unserved[name]
		switch {
		case !sets && cmd.Flags().Lookup(name) == nil:
			t.Errorf("--%s of etcd is unknown, and nothing says why", name)
		case !sets:
			served[name] = true
		case len(u.harmless) == 0:
			without = append(without, "| `--"+name+"` | any | "+u.why+" |")
		default:
			refused = append(refused, "| `--"+name+"` | "+harmless(u)+" | "+u.why+" |")
		}
		delete(unserved, name)
	}
	for _, name := range slices.Sorted(maps.Keys(unserved)) { // etcd takes them and no longer says so
		old = append(old, "`--"+name+"`")
	}
	wiretest.Check(t, "../../docs/WIRE.md", "flags", servedFlags(served))
	wiretest.Check(t, "../../docs/WIRE.md", "flags without effect", slices.Concat(
		[]string{"| flag | values that are taken | why |", "|---|---|---|"}, without, refused,
		[]string{"| " + strings.Join(old, ", ") + " | any | not in etcd's help: old, or of experiments |"}))
}

func harmless(u unserved) string {
	var values []string
	for _, v := range u.harmless {
		if v == "" {
			v = "empty"
		}
		values = append(values, v)
	}
	return strings.Join(values, ", ")
}

// servedFlags lists the flags by section, as --help does.
func servedFlags(etcds map[string]bool) []string {
	rows := []string{"| section | flags |", "|---|---|"}
	cfg, log, general := coordd.Defaults(), new(logFlags), newFlagSet()
	general.String("config-file", "", "")
	for _, s := range append(bindFlags(newFlagSet(), &cfg), log.bind(newFlagSet()), section{"Settings", general}) {
		var names []string
		s.flags.VisitAll(func(f *pflag.Flag) {
			name := "`--" + f.Name + "`"
			if !etcds[f.Name] {
				name += " (coordd's own)"
			}
			names = append(names, name)
		})
		rows = append(rows, "| "+s.title+" | "+strings.Join(names, ", ")+" |")
	}
	return rows
}
