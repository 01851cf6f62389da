package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const etcdctl = "../../e2e/peers/bin/etcdctl"

// step is a command line for both tools.
type step struct {
	args  string
	stdin string
	// text says why what coordctl prints is not what etcdctl does, on purpose. Exit codes and the server's errors still
	// have to be equal.
	text string
	// code says why the exit codes differ as well.
	code string
}

// TestSameAsEtcdctl runs the same command lines with etcdctl and with coordctl, each against an etcd of its own that
// has seen the same before.
func TestSameAsEtcdctl(t *testing.T) {
	for name, steps := range map[string][]step{
		"keys":   keySteps,
		"leases": leaseSteps,
		"roles":  authSteps,
		"rest":   clusterSteps,
		"wrong":  wrongSteps,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			theirs := &tool{program: etcdctl, endpoint: strings.TrimPrefix(startEtcd(t), "http://")}
			ours := &tool{program: coordctl(t), endpoint: strings.TrimPrefix(startEtcd(t), "http://")}
			for _, s := range steps {
				compareTools(t, theirs, ours, s)
			}
		})
	}
}

var keySteps = []step{
	{args: "put a 1"},
	{args: "put a 2 --prev-kv"},
	{args: "put a 3 --prev-kv -w json"},
	{args: "put a 4 --prev-kv -w fields"},
	{args: "put a 5 --prev-kv -w protobuf"},
	{args: "put a 6 --prev-kv --hex"},
	{args: "put b", stdin: "from stdin\n"},
	{args: "put c -- -5"},
	{args: "put c --ignore-lease 7"},
	{args: "put c --ignore-value"},
	{args: "get a"},
	{args: "get a -w json"},
	{args: "get a -w fields"},
	{args: "get a -w protobuf"},
	{args: "get a --hex"},
	{args: "get a --hex -w fields"},
	{args: "get a --hex -w json"},
	{args: "get a --print-value-only"},
	{args: "get --prefix ''"},
	{args: "get --from-key b --keys-only"},
	{args: "get a c --order DESCEND --sort-by MODIFY --limit 1"},
	{args: "get --prefix '' --sort-by value --order ascend"},
	{args: "get --prefix '' --count-only -w fields"},
	{args: "get --prefix '' --min-mod-rev 4 --max-mod-rev 7 --min-create-rev 1 --max-create-rev 9"},
	{args: "get a --rev 3 --consistency s"},
	{args: "get a --stream"},
	{args: "get --prefix '' --stream -w json"},
	{args: "get absent"},
	{args: "get absent -w json"},
	{args: "get a --rev 99"},
	{args: "get ''"},
	{args: "put '' x"},
	{args: "put absent --ignore-value"},
	{args: "put a 1 --lease 1234"},
	{args: "txn", stdin: "mod(\"a\") > \"0\"\n\nput d 1\nget a\ndel b --prev-kv\n\nget d\n\n"},
	{args: "txn -w json", stdin: "val(\"a\") = \"nothing\"\n\n\nget a\nput d 2 --prev-kv\ndel --prefix x\n\n"},
	{args: "txn -w fields", stdin: "\nget a\nput d 3 --prev-kv\n\n\n"},
	{args: "txn -w protobuf", stdin: "\nget a\nput d 3 --prev-kv\n\n\n"},
	{args: "txn -i", stdin: "\n\n\n"},
	{args: "txn", stdin: "\nput d 1\nput d 2\n\n\n"},
	{args: "txn", stdin: "frob\n\n\n\n"},
	{args: "txn", stdin: ""},
	{args: "compaction 5"},
	{args: "compaction 6 --physical -w table"},
	{args: "compaction 7 -w json", text: "etcdctl prints a sentence in every format"},
	{args: "compaction 5"},
	{args: "compaction 99"},
	{args: "get a --rev 2"},
	{args: "watch a --rev 2"},
	{args: "del a --prev-kv"},
	{args: "del b c --range -w json"},
	{args: "del c --prev-kv -w fields"},
	{args: "del --prefix d --prev-kv -w protobuf"},
	{args: "del --from-key ''"},
	{args: "endpoint hashkv"},
	{args: "endpoint hashkv -w json"},
	{args: "endpoint hashkv -w fields"},
	{args: "endpoint hashkv -w table"},
	{args: "get a -w table", text: "etcdctl has no table of keys", code: "etcdctl has no table of keys"},
	{args: "put a 1 -w table"},
	{args: "watch -i", stdin: "frob\n"},
}

var leaseSteps = []step{
	{args: "lease grant 600"},
	{args: "lease grant 600 -w json"},
	{args: "lease grant 600 -w fields"},
	{args: "lease grant 600 -w protobuf", text: "etcdctl writes only the header, bare"},
	{args: "lease grant 9999999999"},
	{args: "lease list"},
	{args: "lease list -w json"},
	{args: "lease list -w fields"},
	{args: "lease timetolive 1234"},
	{args: "lease timetolive 1234 -w json"},
	{args: "lease timetolive 1234 --keys -w fields"},
	{args: "lease timetolive 1234 --keys -w fields --hex"},
	{args: "lease revoke 1234"},
	{args: "lease keep-alive 1234"},
	{args: "lease keep-alive --once 1234"},
	{args: "lock a -- sh -c 'test $ETCD_LOCK_REV = 2 && test ${ETCD_LOCK_KEY%/*} = a'"},
	{args: "lock a --ttl 20 -- sh -c 'exit 7'"},
	{args: "lock a no-such-program"},
}

var authSteps = []step{
	{args: "auth status"},
	{args: "auth status -w json"},
	{args: "auth status -w protobuf"},
	{args: "auth status -w fields", text: "etcdctl has no fields of it", code: "etcdctl has no fields of it"},
	{args: "auth enable"},
	{args: "auth disable"},
	{args: "role add r1"},
	{args: "role add r1"},
	{args: "role add r2 -w json"},
	{args: "role add r3 -w fields"},
	{args: "role add r4 -w protobuf"},
	{args: "role list"},
	{args: "role list -w json"},
	{args: "role list -w fields"},
	{args: "role grant-permission r1 read k"},
	{args: "role grant-permission r1 write a f"},
	{args: "role grant-permission r1 readwrite --prefix p/"},
	{args: "role grant-permission r1 read --from-key x"},
	{args: "role grant-permission r2 readwrite --prefix ''"},
	{args: "role grant-permission r3 read ''"},
	{args: "role grant-permission r1 execute k"},
	{args: "role grant-permission absent read k"},
	{args: "role grant-permission r1 read --prefix --from-key k"},
	{args: "role grant-permission r1 read --prefix a b"},
	{args: "role get r1"},
	{args: "role get r1 -w json"},
	{args: "role get r1 -w fields"},
	{args: "role get r1 -w protobuf"},
	{args: "role get r2"},
	{args: "role get r3"},
	{args: "role get absent"},
	{args: "role revoke-permission r1 k"},
	{args: "role revoke-permission r1 a f"},
	{args: "role revoke-permission r1 --from-key x"},
	{args: "role revoke-permission r1 absent"},
	{args: "role revoke-permission r1 --prefix p/ -w json"},
	{args: "role delete r4"},
	{args: "role delete r4"},
	{args: "user add root:rootpw"},
	{args: "user add alice", stdin: "alicepw\nalicepw\n", text: "etcdctl prompts also where nobody sees it"},
	{args: "user add bob --interactive=false", stdin: "bobpw\n"},
	{args: "user add carol --new-user-password carolpw -w json"},
	{args: "user add host --no-password -w fields"},
	{args: "user add alice:again"},
	{args: "user add dave", stdin: "one\ntwo\n", text: "etcdctl prompts also where nobody sees it"},
	{args: "user add dave", text: "etcdctl prompts also where nobody sees it"},
	{args: "user add :pw"},
	{args: "user grant-role alice r2"},
	{args: "user grant-role alice r1 -w fields"},
	{args: "user grant-role alice absent"},
	{args: "user grant-role absent r1"},
	{args: "user get alice"},
	{args: "user get alice -w json"},
	{args: "user get alice -w protobuf"},
	{args: "user get alice --detail"},
	{args: "user get alice --detail -w json", text: "etcdctl mixes the user's name, as text, into the JSON"},
	{args: "user get bob --detail"},
	{args: "user get bob"},
	{args: "user get absent"},
	{args: "user list"},
	{args: "user list -w json"},
	{args: "user list -w fields", text: "etcdctl has no fields of it", code: "etcdctl has no fields of it"},
	{args: "user revoke-role alice r1"},
	{args: "user revoke-role alice r1"},
	{args: "user passwd bob", stdin: "new\nnew\n", text: "etcdctl prompts also where nobody sees it"},
	{args: "user passwd bob --interactive=false -w json", stdin: "newer\n"},
	{args: "user passwd absent --interactive=false", stdin: "newer\n"},
	{args: "auth enable"},
	{args: "get a"},
	{args: "--user alice:wrong get a"},
	{args: "--user alice:alicepw put a 1"},
	{args: "--user alice --password alicepw get a"},
	{args: "--user alice get a", stdin: "alicepw\n", text: "etcdctl prompts also where nobody sees it"},
	{args: "--user bob:newer get a"},
	{args: "--user bob:newer user list"},
	{args: "--user alice:alicepw endpoint health"},
	{args: "--auth-jwt-token nonsense get a"},
	{args: "--user root:rootpw role get root"},
	{args: "--user root:rootpw user get root"},
	{args: "--user root:rootpw user delete host"},
	{args: "--user root:rootpw user delete host"},
	{args: "--user root:rootpw user delete root"},
	{args: "--user root:rootpw role delete r2"},
	{args: "--user root:rootpw user get alice"},
	{args: "--user root:rootpw auth status"},
	{args: "--user root:rootpw auth disable"},
	{args: "auth status"},
}

var clusterSteps = []step{
	{args: "version", text: "each has its own"},
	{args: "member list"},
	{args: "member list -w json"},
	{args: "member list -w json --hex"},
	{args: "member list -w fields"},
	{args: "member list -w fields --hex"},
	{args: "member list -w table"},
	{args: "member list -w protobuf"},
	{args: "member list --consistency s"},
	{args: "member promote 1234"},
	{args: "member remove 1234"},
	{args: "member update 1234 --peer-urls=http://127.0.0.1:9"},
	{args: "member update cdaf6bb53bef0be3 --peer-urls=http://127.0.0.1:7"},
	{args: "member list -w json"},
	{args: "member update cdaf6bb53bef0be3 --peer-urls=http://127.0.0.1:1 -w json --hex"},
	{args: "move-leader 1234"},
	{args: "move-leader 1234 -w json"},
	{args: "alarm list"},
	{args: "alarm list -w json"},
	{args: "alarm list -w fields"},
	{args: "alarm list -w protobuf"},
	{args: "alarm disarm"},
	{args: "downgrade validate 3.6"},
	{args: "downgrade validate 3.6 -w json"},
	{args: "downgrade validate 3.6 -w protobuf"},
	{args: "downgrade validate 3.6 -w fields", text: "etcdctl has no fields of it", code: "etcdctl has no fields of it"},
	{args: "downgrade validate 3.5"},
	{args: "downgrade validate nonsense"},
	{args: "downgrade cancel"},
	{args: "defrag"},
	{args: "defrag --cluster"},
	{args: "endpoint status"},
	{args: "endpoint status -w json"},
	{args: "endpoint status -w fields"},
	{args: "endpoint status -w table"},
	{args: "endpoint health"},
	{args: "endpoint health --cluster -w json"},
	{args: "endpoint health -w fields"},
	{args: "endpoint stat --cluster"},
	{args: "member add n2 --peer-urls=http://127.0.0.1:2,http://127.0.0.1:3 --learner"},
	{args: "member add n3 --peer-urls=http://127.0.0.1:4 --learner"},
	{args: "member add n3 --peer-urls=http://127.0.0.1:1 --learner"},
	{args: "member add n3 --peer-urls=nonsense --learner"},
}

var wrongSteps = []step{
	{args: "frob"},
	{args: "get a --frob"},
	{args: "get"},
	{args: "get a b --prefix"},
	{args: "get a --prefix --from-key"},
	{args: "get a --keys-only --count-only"},
	{args: "get a --count-only"},
	{args: "get a --print-value-only -w json"},
	{args: "get a --order up"},
	{args: "get a --sort-by size"},
	{args: "get a --consistency x"},
	{args: "get a --limit many"},
	{args: "get a -w yaml"},
	{args: "put"},
	{args: "put a"},
	{args: "put a b --ignore-value"},
	{args: "put a b --lease xyz"},
	{args: "del"},
	{args: "del a b c"},
	{args: "del a --prefix --from-key"},
	{args: "txn x"},
	{args: "compaction"},
	{args: "compaction newest"},
	{args: "watch"},
	{args: "watch a --"},
	{args: "watch a b --prefix"},
	{args: "lease grant"},
	{args: "lease grant soon"},
	{args: "lease revoke"},
	{args: "lease revoke xyz"},
	{args: "lease timetolive"},
	{args: "lease keep-alive"},
	{args: "member add"},
	{args: "member add n2"},
	{args: "member add n2 http://127.0.0.1:2"},
	{args: "member remove"},
	{args: "member remove xyz"},
	{args: "member update 1"},
	{args: "member update"},
	{args: "member promote xyz"},
	{args: "move-leader"},
	{args: "move-leader xyz"},
	{args: "alarm list x"},
	{args: "alarm disarm x"},
	{args: "defrag -w yaml"},
	{args: "endpoint health -w protobuf"},
	{args: "endpoint status -w protobuf"},
	{args: "downgrade validate"},
	{args: "downgrade enable a b"},
	{args: "lock"},
	{args: "elect"},
	{args: "elect a"},
	{args: "elect a b c"},
	{args: "elect -l a b"},
	{args: "make-mirror"},
	{args: "make-mirror --dest-prefix a --no-dest-prefix 127.0.0.1:1"},
	{args: "check perf --load huge"},
	{args: "check datascale --load huge"},
	{args: "completion"},
	{args: "completion tcsh"},
	{args: "auth enable x"},
	{args: "auth status x"},
	{args: "user add"},
	{args: "user get"},
	{args: "user list x"},
	{args: "user grant-role a"},
	{args: "user list -w table"},
	{args: "role add"},
	{args: "role list x"},
	{args: "role grant-permission r read"},
	{args: "role revoke-permission r"},
	{args: "--cert '' get a"},
	{args: "--cacert absent.pem get a"},
	{args: "--endpoints 127.0.0.1:1 --command-timeout 200ms get a"},
	{args: "--endpoints 127.0.0.1:1 --command-timeout 200ms lease grant 10"},
	{args: "--endpoints 127.0.0.1:1 --command-timeout 200ms member list"},
	{args: "--endpoints 127.0.0.1:1 --command-timeout 200ms endpoint health"},
	{args: "--endpoints 127.0.0.1:1 --command-timeout 200ms endpoint status"},
	{args: "--endpoints 127.0.0.1:1 --command-timeout 200ms defrag"},
	{args: "--endpoints 127.0.0.1:1 --dial-timeout 200ms --user a:b get a"},
	{args: "user frob", text: "etcdctl prints its help", code: "and takes that for success"},
}

// tool is a program and the server it talks to.
type tool struct {
	program, endpoint string
}

// outcome is what came of a command line, without what differs between servers and runs.
type outcome struct {
	Stdout string
	Server []string // errors of the server that stderr tells of
	Code   int
}

func compareTools(t *testing.T, theirs, ours *tool, s step) {
	t.Helper()
	want, _ := theirs.run(t, s)
	got, stderr := ours.run(t, s)
	if s.text != "" {
		if want.Stdout == got.Stdout && s.code == "" {
			t.Errorf("%s: the outputs are the same after all", s.args)
		}
		want.Stdout, got.Stdout = "", ""
	}
	if s.code != "" {
		want.Code, got.Code = 0, 0
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-etcdctl +coordctl):\n%s%s", s.args, diff, stderr)
	}
}

func (x *tool) run(t *testing.T, s step) (o outcome, stderr string) {
	t.Helper()
	words, err := splitWords(s.args)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(words, "--endpoints") { // a second one would add to the first
		words = append([]string{"--endpoints", x.endpoint}, words...)
	}
	command := exec.CommandContext(t.Context(), x.program, words...)
	command.Stdin = strings.NewReader(s.stdin)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	command.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	var exit *exec.ExitError
	if err := command.Run(); errors.As(err, &exit) {
		o.Code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	o.Stdout = x.mask(out.String())
	o.Server = serverErrors(errs.String())
	return o, errs.String()
}

// runMasks replace what differs from run to run.
var runMasks = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`took("?[ :=]+"?|s? )[0-9.]+[mµn]?s`), `took${1}TIME`},
	{regexp.MustCompile(`("Took" : )\S+`), `${1}TIME`},
	{regexp.MustCompile(`│ +[0-9.]+[mµn]s`), `│ TIME`},
	{regexp.MustCompile(`lease [0-9a-f]{16}`), `lease ID`},
	{regexp.MustCompile(`Member +[0-9a-f]+ added`), `Member ID added`},
	{regexp.MustCompile(`(?m)^[0-9a-f]{16}$`), `ID`},
	{regexp.MustCompile(`("id":|"ID" : )\d+`), `${1}ID`},
	{regexp.MustCompile(`"ID":\d+,"TTL"`), `"ID":ID,"TTL"`},
	{regexp.MustCompile(`("(?:raftIndex|raftAppliedIndex|dbSize|dbSizeInUse)":)\d+`), `${1}N`},
	{regexp.MustCompile(`("(?:RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse)" : )\d+`), `${1}N`},
	{regexp.MustCompile(`[0-9.]+ [kM]B, [0-9.]+ [kM]B, \d+%`), `SIZES`},
	{regexp.MustCompile(`\d+, \d+, \d+, , , false`), `INDEXES`},
}

func (x *tool) mask(output string) string {
	output = strings.ReplaceAll(output, x.endpoint, "ENDPOINT:NUMBER")
	for _, m := range runMasks {
		output = m.what.ReplaceAllString(output, m.with)
	}
	return output
}

var serverError = regexp.MustCompile(`etcdserver: [^"()\n]*[^"()\n ]`)

// serverErrors returns the errors of the server in a tool's stderr, without etcdctl's log, which is in JSON.
func serverErrors(stderr string) (found []string) {
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "{") {
			found = append(found, serverError.FindAllString(line, -1)...)
		}
	}
	return found
}

// coordctl returns the program under test, which is this one under another name.
func coordctl(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "coordctl")
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	return program
}
