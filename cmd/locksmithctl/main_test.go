package main

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"locksmithctl": main})
}

// TestScripts runs each script of testdata in a group of its own.
func TestScripts(t *testing.T) {
	endpoint := coorddtest.Start(t)
	nobody := "http://127.0.0.1:1" // where nothing listens
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("LOCKSMITHCTL_ENDPOINT", endpoint)
			env.Setenv("LOCKSMITHCTL_GROUP", filepath.Base(env.WorkDir))
			env.Setenv("ENDPOINT", endpoint)
			env.Setenv("NOBODY", nobody)
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": cmdExits},
	})
}

// cmdExits runs a command that must end with an exit code: exits CODE COMMAND [ARGUMENT…].
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENT…]")
	}
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func TestDoubleDashes(t *testing.T) {
	for args, want := range map[string]string{
		"-endpoint http://a status":  "--endpoint http://a status",
		"--endpoint=http://a status": "--endpoint=http://a status",
		"-etcd-cafile=ca.pem status": "--etcd-cafile=ca.pem status",
		"status -o json":             "status -o json",
		"status -output json":        "status --output json",
		"set-max -1":                 "set-max -- -1",
		"set-max -1 -group a":        "set-max --group a -- -1",
		"lock -- -group":             "lock -- -group",
		"policy -max -1":             "policy --max -1",
		"policy --max -1 -2":         "policy --max -1 -- -2",
		"policy -max=-1":             "policy --max=-1",
		"-debug set-max -1":          "--debug set-max -- -1",
		"-h":                         "-h",
		"-help":                      "--help",
	} {
		got := strings.Join(doubleDashes(newRootCommand(nil), strings.Fields(args)), " ")
		if got != want {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
	}
}
