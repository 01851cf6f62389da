package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/locksmith/slots"
	"github.com/rogpeppe/go-internal/testscript"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"locksmithctl": main})
}

// TestScripts runs each script of testdata in a group of its own.
func TestScripts(t *testing.T) { runScripts(t, "testdata/*.txtar", coorddtest.Start(t)) }

// TestScriptsAlone runs those scripts that need a store of their own.
func TestScriptsAlone(t *testing.T) {
	for _, name := range []string{"damage", "dryrun"} {
		t.Run(name, func(t *testing.T) { runScripts(t, "testdata/alone/"+name+".txtar", coorddtest.Start(t)) })
	}
}

func runScripts(t *testing.T, pattern, endpoint string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts %s: %d, %v", pattern, len(files), err)
	}
	nobody := "http://127.0.0.1:1" // where nothing listens
	client, err := slots.NewClient(slots.ClientConfig{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	// put KEY [VALUE] writes to the store or, without a value, deletes.
	put := func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 1 || len(args) > 2 {
			ts.Fatalf("usage: put KEY [VALUE]")
		}
		op := clientv3.OpDelete(args[0])
		if len(args) == 2 {
			op = clientv3.OpPut(args[0], args[1])
		}
		_, err := client.Do(t.Context(), op)
		ts.Check(err)
	}
	// revision FILE writes the store's revision to a file.
	revision := func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: revision FILE")
		}
		resp, err := client.Get(t.Context(), "x")
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), fmt.Appendln(nil, resp.Header.Revision), 0o600))
	}
	testscript.Run(t, testscript.Params{
		Files: files,
		Setup: func(env *testscript.Env) error {
			env.Setenv("LOCKSMITHCTL_ENDPOINT", endpoint)
			env.Setenv("LOCKSMITHCTL_GROUP", filepath.Base(env.WorkDir))
			env.Setenv("ENDPOINT", endpoint)
			env.Setenv("NOBODY", nobody)
			env.Setenv("ESCAPE", "over\x1b[2Jthe\nedge")
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": cmdExits, "put": put, "revision": revision},
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
