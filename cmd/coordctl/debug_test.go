package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coordd/coordd/coordd/coorddtest"
	"github.com/coordd/coordd/coordd/datadir"
	"github.com/coordd/coordd/coordd/disk"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/proto/coordpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// stoppedMember returns the data directory of a member that has put k1 to k20
// and does not run any more.
func stoppedMember(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	server, err := coorddtest.Run(dir, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	c, err := clientv3.New(clientv3.Config{Endpoints: server.ClientURLs(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := 1; i <= 20; i++ {
		if _, err := c.Put(t.Context(), fmt.Sprintf("k%d", i), "value"); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "data")
}

func TestDebugWAL(t *testing.T) {
	dir := stoppedMember(t)
	code, out, errs := inProcess(t, "debug", "wal", "--data-dir", dir, "-w", "json")
	if code != 0 {
		t.Fatalf("exit code %d, %s", code, errs)
	}
	var puts []string
	var last logRecord
	for line := range strings.Lines(out) {
		var r logRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if len(r.Commands) == 1 && strings.HasPrefix(r.Commands[0], "put ") {
			puts = append(puts, r.Commands[0])
			last = r
		}
	}
	if len(puts) != 20 || puts[0] != `put "k1", 5 bytes` || puts[19] != `put "k20", 5 bytes` {
		t.Errorf("puts %q", puts)
	}
	_, out, _ = inProcess(t, "debug", "wal", "--data-dir", dir, "--from", fmt.Sprint(last.Index-1), "--to", fmt.Sprint(last.Index))
	if strings.Count(out, "put") != 2 || !strings.Contains(out, `"k19"`) || strings.Contains(out, "hard-state") {
		t.Errorf("two indexes:\n%s", out)
	}
	flip(t, filepath.Join(datadir.Layout{Data: dir}.Log(), last.Segment), last.Offset+30)
	code, out, errs = inProcess(t, "debug", "wal", "--data-dir", dir)
	if code == 0 && !strings.Contains(out, "torn: ") || code != 0 && !strings.Contains(errs, fmt.Sprintf("offset %d", last.Offset)) {
		t.Errorf("damage at offset %d: exit code %d, %s\n%s", last.Offset, code, errs, out)
	}
}

// TestDebugWALNamesDamage: in the middle of the log it is no torn write.
func TestDebugWALNamesDamage(t *testing.T) {
	dir := stoppedMember(t)
	segments, err := filepath.Glob(filepath.Join(datadir.Layout{Data: dir}.Log(), "*.wal"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	flip(t, segments[0], 4096+40) // in the first frame
	before, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	code, _, errs := inProcess(t, "debug", "wal", "--data-dir", dir)
	if code != exitError || !strings.Contains(errs, filepath.Base(segments[0])+": offset 4096") || !strings.Contains(errs, "does not start on it") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if after, err := os.ReadFile(segments[0]); err != nil || string(after) != string(before) {
		t.Errorf("the log was changed (%v)", err)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDebugDB(t *testing.T) {
	path := backupFile(t)
	for _, tc := range []struct {
		args []string
		want []string // each is in the output
	}{
		{nil, []string{"meta    scheduledCompactRev = 30.0\n", "revisions 21.0 to 50.0", "bucket  lease                     4 entries"}},
		{[]string{"--key", "key/3"}, []string{"key     42.0 deleted \"key/3\"\n", "\"key/3\" = \"back\", created at 50, version 1\n"}},
		{[]string{"--rev", "44"}, []string{"44.0 \"a\" = \"1\"", "44.1 \"b\" = \"2\"", "44.2 deleted \"key/5\"\n"}},
		{[]string{"--bucket", "key", "--limit", "1"}, []string{"more than --limit 1\n"}},
		{[]string{"--bucket", "authRoles"}, []string{"reader, read \"key/\" to \"key0\"\n"}},
		{[]string{"--bucket", "authUsers"}, []string{"alice with roles reader\n"}},
		{[]string{"--bucket", "lease"}, []string{", 86400 s\n"}},
		{[]string{"--bucket", "meta", "--hex"}, []string{"7465726d = 0000000000000002\n"}},
		{[]string{"--bucket", "lease", "-w", "json"}, []string{`{"bucket":"lease","key":"`}},
	} {
		code, out, errs := inProcess(t, append([]string{"debug", "db", path}, tc.args...)...)
		if code != 0 {
			t.Errorf("%q: exit code %d, %s", tc.args, code, errs)
		}
		for _, want := range tc.want {
			if !strings.Contains(out, want) {
				t.Errorf("%q: %q is not in\n%s", tc.args, want, out)
			}
		}
	}
	for _, args := range [][]string{{"--bucket", "none"}, {"--bucket", "lease", "--key", "k"}, {"a second file"}} {
		if code, _, errs := inProcess(t, append([]string{"debug", "db", path}, args...)...); code != exitBadArguments {
			t.Errorf("%q: exit code %d, %s", args, code, errs)
		}
	}
}

func TestDebugSnap(t *testing.T) {
	dir := stoppedMember(t)
	layout := datadir.Layout{Data: dir}
	store, err := os.ReadFile(layout.Store())
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"0000000000000002-00000000000000ff.snap.db": store,
		"0000000000000002-0000000000000100.snap.db": store[:5000],
		"0000000000000002-0000000000000101.delta":   delta(t),
		"0000000000000002-0000000000000102.delta":   delta(t)[:10],
		"receive-1.tmp": store[:100],
	} {
		if err := os.WriteFile(filepath.Join(layout.Snap(), name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errs := inProcess(t, "debug", "snap", "--data-dir", dir)
	lines := strings.Split(out, "\n")
	if code != 0 || len(lines) != 7 {
		t.Fatalf("exit code %d, %s\n%s", code, errs, out)
	}
	for i, want := range []string{"its name says term 2 index 255", "UNSOUND", "to be merged, up to entry 257 of term 2", "UNSOUND", "the store, up to entry", "was being received"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %q, want %q in it", lines[i], want)
		}
	}
	if strings.Contains(lines[2], "UNSOUND") {
		t.Errorf("a sound delta: %q", lines[2])
	}
}

// delta returns what a leader sends of a store with one record.
func delta(t *testing.T) []byte {
	t.Helper()
	b := backend.NewMemory()
	defer b.Close()
	batch := b.Begin(257, 2)
	batch.Put(backend.Key, []byte("k"), []byte("v"))
	if err := b.Commit(batch); err != nil {
		t.Fatal(err)
	}
	r := b.Reader()
	defer r.Release()
	var out bytes.Buffer
	if _, err := backend.WriteDelta(&out, r, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestDebugRefusesWhileMemberRuns: what is being written cannot be judged.
func TestDebugRefusesWhileMemberRuns(t *testing.T) {
	dir := t.TempDir()
	layout := datadir.Layout{Data: dir}
	if err := os.MkdirAll(layout.Member(), 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := disk.OS().Lock(layout.Lock())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := os.MkdirAll(layout.Snap(), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"wal", "snap"} {
		if code, _, errs := inProcess(t, "debug", what, "--data-dir", dir); code != exitError || !strings.Contains(errs, "the member runs") {
			t.Errorf("%s: exit code %d, %s", what, code, errs)
		}
	}
}

// TestDescribeEntry: no password is shown, and nothing undecodable hinders.
func TestDescribeEntry(t *testing.T) {
	user := &pb.AuthUserAddRequest{Name: "alice", Password: "secret", HashedPassword: "secret"}
	onBehalf, err := coordpb.OnBehalf("root", 3, &pb.PutRequest{Key: []byte("k"), Lease: 7})
	if err != nil {
		t.Fatal(err)
	}
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}},
	}}}}
	batch, err := coordpb.AppendBatch(nil, 1, 2, []proto.Message{user, onBehalf, txn})
	if err != nil {
		t.Fatal(err)
	}
	change, err := proto.Marshal(&raftpb.ConfChange{
		Type: raftpb.ConfChangeAddLearnerNode.Enum(), NodeId: new(uint64(0xabc)), Context: batch,
	})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(describeEntry(&raftpb.Entry{Type: raftpb.EntryConfChange.Enum(), Data: change}), "; ")
	want := `abc becomes learner; AuthUserAdd name=alice; by root: put "k", 0 bytes, lease 0000000000000007; txn of 0 compares {delete "a" and all behind} else {}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := describeEntry(&raftpb.Entry{Data: []byte("junk")}); len(got) != 1 || !strings.Contains(got[0], "not decodable") {
		t.Errorf("junk is %q", got)
	}
}
