package main

import (
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// notOurs lists what etcdctl has and coordctl has not, with the reason. A flag is "command --flag".
var notOurs = map[string]string{}

// TestHasAllOfEtcdctl walks the help of the real etcdctl: coordctl has its commands and their flags.
func TestHasAllOfEtcdctl(t *testing.T) {
	root := newRootCommand()
	found := commandTree(t, nil)
	if len(found) < 50 {
		t.Fatalf("etcdctl's help has %d commands only", len(found))
	}
	missing := map[string]bool{}
	for path, flags := range found {
		cmd, ok := find(root, path)
		if !ok {
			missing[path] = true
			continue
		}
		for _, flag := range flags {
			if !hasFlag(cmd, flag) {
				missing[strings.TrimSpace(path+" "+flag)] = true
			}
		}
	}
	if want := slices.Sorted(maps.Keys(notOurs)); !slices.Equal(slices.Sorted(maps.Keys(missing)), want) {
		t.Errorf("etcdctl's that coordctl lacks: %q\nlisted as such: %q", slices.Sorted(maps.Keys(missing)), want)
	}
}

// TestEveryCommandTeaches: each command's help has an example.
func TestEveryCommandTeaches(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s has no example or no short help", c.CommandPath())
		}
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk(newRootCommand())
}

var (
	commandLine = regexp.MustCompile(`(?m)^  ([a-z][a-z-]*) +\S`)
	flagLine    = regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+)`)
)

// commandTree returns the flags of a command of etcdctl's, and of all below it, by the command's path.
func commandTree(t *testing.T, path []string) map[string][]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), etcdctl, append(path, "--help")...).Output()
	if err != nil {
		t.Fatalf("etcdctl %q --help: %v", path, err)
	}
	if len(path) == 0 { // it shows its global flags elsewhere
		options, err := exec.CommandContext(t.Context(), etcdctl, "options").Output()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, options...)
	}
	_, body, _ := strings.Cut(string(out), "\nUsage:\n")
	tree := map[string][]string{strings.Join(path, " "): nil}
	for _, flag := range flagLine.FindAllStringSubmatch(body, -1) {
		tree[strings.Join(path, " ")] = append(tree[strings.Join(path, " ")], flag[1])
	}
	for _, command := range commandLine.FindAllStringSubmatch(body, -1) {
		if command[1] != "help" && command[1] != "etcdctl" { // the usage line looks like a command
			maps.Copy(tree, commandTree(t, append(slices.Clone(path), command[1])))
		}
	}
	return tree
}

func find(root *cobra.Command, path string) (*cobra.Command, bool) {
	cmd, rest, err := root.Find(strings.Fields(path))
	return cmd, err == nil && len(rest) == 0 && strings.TrimSpace(strings.TrimPrefix(cmd.CommandPath(), root.Name())) == path
}

func hasFlag(cmd *cobra.Command, flag string) bool {
	cmd.InitDefaultHelpFlag()
	name := strings.TrimPrefix(flag, "--")
	for _, fs := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags(), cmd.InheritedFlags()} {
		if fs.Lookup(name) != nil {
			return true
		}
	}
	return false
}
