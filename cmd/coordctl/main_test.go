package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/e2e/cluster"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"coordctl": main})
}

// suites are the scripts and the servers that they run against.
var suites = []struct {
	scripts string
	servers map[string]func(testing.TB) string // each returns an endpoint
}{
	{"testdata/*.txtar", map[string]func(testing.TB) string{"coordd": coorddtest.Start}},
	{"testdata/operations/*.txtar", map[string]func(testing.TB) string{"etcd": startEtcd, "coordd": coorddtest.Start}},
	{"testdata/etcd/*.txtar", map[string]func(testing.TB) string{"etcd": startEtcd}},
}

// TestScripts runs each script against a server of its own, so that revisions are the same in every run.
func TestScripts(t *testing.T) {
	for _, suite := range suites {
		scripts, err := filepath.Glob(suite.scripts)
		if err != nil || len(scripts) == 0 {
			t.Fatalf("no scripts in %s: %v", suite.scripts, err)
		}
		for server, start := range suite.servers {
			for _, script := range scripts {
				name := strings.TrimSuffix(strings.TrimPrefix(script, "testdata/"), ".txtar")
				t.Run(server+"/"+name, func(t *testing.T) {
					t.Parallel()
					runScript(t, script, strings.TrimPrefix(start(t), "http://"))
				})
			}
		}
	}
}

func runScript(t *testing.T, script, endpoint string) {
	testscript.Run(t, testscript.Params{
		Files: []string{script},
		Setup: func(env *testscript.Env) error {
			env.Setenv("COORDCTL_ENDPOINTS", endpoint)
			env.Setenv("ENDPOINT", endpoint)
			// Under -race every process would otherwise wait a second at its end.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  cmdExits,
			"lines":  cmdLines,
			"masked": cmdMasked,
			"save":   cmdSave,
		},
	})
}

// startEtcd runs a real etcd until the test ends, and returns its client URL. Its IDs are the same in every run.
func startEtcd(t testing.TB) (endpoint string) {
	t.Helper()
	const peer = "http://127.0.0.1:1" // nobody else is in its cluster
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	etcd, err := cluster.Start(ctx, cluster.Spec{
		Program: "../../e2e/peers/bin/etcd", Size: 1, Dir: t.TempDir(),
		Flags: []string{"--initial-advertise-peer-urls", peer, "--initial-cluster", "n1=" + peer},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Kill)
	return etcd.Endpoints()[0]
}

// cmdExits runs a command that must end with an exit code: exits CODE COMMAND [ARGUMENT…].
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENT…]")
	}
	var exit *exec.ExitError
	code := 0
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// cmdLines runs a command until it has written some lines, interrupts it, and demands that it then ends well. The
// first lines are in the file lines: lines COUNT COMMAND [ARGUMENT…].
func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: lines COUNT COMMAND [ARGUMENT…]")
	}
	count, err := strconv.Atoi(args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // a hung command fails the test by name
	defer cancel()
	executable := filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], args[1])
	command := exec.CommandContext(ctx, executable, args[2:]...)
	command.Dir = ts.MkAbs(".")
	command.Env = []string{"COORDCTL_ENDPOINTS=" + ts.Getenv("COORDCTL_ENDPOINTS"), "PATH=" + ts.Getenv("PATH")}
	var stderr strings.Builder
	command.Stderr = &stderr
	output, err := command.StdoutPipe()
	ts.Check(err)
	ts.Check(command.Start())
	var lines strings.Builder
	scanner := bufio.NewScanner(output)
	for range count {
		if !scanner.Scan() {
			break
		}
		lines.WriteString(scanner.Text() + "\n")
	}
	command.Process.Signal(os.Interrupt) // fails if the command has ended, which Wait tells better
	for scanner.Scan() {                 // Wait must not come before the end of the output
	}
	if err := command.Wait(); err != nil {
		ts.Fatalf("%v after its interruption; stderr:\n%s", err, stderr.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs("lines"), []byte(lines.String()), 0o600))
}

// masks replace what differs from run to run or from server to server.
var masks = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`("(?:cluster_id|member_id|ID|id|lease)":)"?[0-9a-f]+"?`), `${1}ID`},
	{regexp.MustCompile(`("(?:ClusterID|MemberID|ID|Leader|PrevLease)" : )[0-9a-f]{2,}`), `${1}ID`},
	{regexp.MustCompile(`("raft_term":)\d+`), `${1}TERM`},
	{regexp.MustCompile(`("RaftTerm" : )[1-9]\d*`), `${1}TERM`},
	{regexp.MustCompile(`\b[0-9a-f]{15,16}\b`), `ID`},
}

// cmdMasked compares standard output, or a file, with another file after masking IDs and Raft terms: masked FILE WANT.
func cmdMasked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: masked FILE WANT")
	}
	got := strings.ReplaceAll(ts.ReadFile(args[0]), ts.Getenv("ENDPOINT"), "ENDPOINT")
	for _, m := range masks {
		got = m.what.ReplaceAllString(got, m.with)
	}
	if diff := cmp.Diff(ts.ReadFile(args[1]), got); diff != "" {
		ts.Fatalf("%s differs from %s (-want +got):\n%s", args[0], args[1], diff)
	}
}

// cmdSave sets a variable to what a pattern's group matches in standard output: save NAME PATTERN.
func cmdSave(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: save NAME PATTERN")
	}
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("no match for %s", args[1])
	}
	ts.Setenv(args[0], found[1])
}
