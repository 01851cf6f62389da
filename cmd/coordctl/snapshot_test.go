package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// coordctl runs one command line in this process.
func inProcess(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// backup is a backup that etcd 3.7.3 has written.
func backup(t *testing.T) []byte {
	t.Helper()
	packed, err := os.Open("../../coordd/restore/testdata/etcd-3.7.3.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func backupFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup.db")
	if err := os.WriteFile(path, backup(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// snapshotServer streams a backup in pieces, and then fails where it is told to.
type snapshotServer struct {
	pb.UnimplementedMaintenanceServer
	data []byte
	err  error
}

func (s *snapshotServer) Snapshot(_ *pb.SnapshotRequest, stream grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	store, sum := s.data[:len(s.data)-sha256.Size], s.data[len(s.data)-sha256.Size:]
	for len(store) > 0 {
		n := min(10_000, len(store))
		response := &pb.SnapshotResponse{Blob: store[:n], RemainingBytes: uint64(len(store) - n), Version: "3.7.0"}
		if err := stream.Send(response); err != nil {
			return err
		}
		store = store[n:]
	}
	if s.err != nil {
		return s.err
	}
	return stream.Send(&pb.SnapshotResponse{Blob: sum})
}

// start returns the server's address.
func (s *snapshotServer) start(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterMaintenanceServer(server, s)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

func TestSnapshotSave(t *testing.T) {
	data := backup(t)
	endpoint := (&snapshotServer{data: data}).start(t)
	path := filepath.Join(t.TempDir(), "saved.db")
	code, out, errs := inProcess(t, "--endpoints", endpoint, "snapshot", "save", path)
	if want := "Snapshot saved at " + path + "\nServer version 3.7.0\n"; code != 0 || out != want {
		t.Errorf("exit code %d, output %q, want %q; %s", code, out, want, errs)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the file is not what was sent (%v)", err)
	}
	if _, err := os.Stat(path + ".part"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the partial file: %v", err)
	}
}

// TestSnapshotSaveFails: what is not whole and right never gets the name, and
// what had it before stays.
func TestSnapshotSaveFails(t *testing.T) {
	data := backup(t)
	wrong := bytes.Clone(data)
	wrong[len(wrong)-1] ^= 1
	for _, tc := range []struct {
		name   string
		server *snapshotServer
		args   []string
		says   string
		code   int
	}{
		{"stream breaks", &snapshotServer{data: data, err: errors.New("disk on fire")}, nil, "disk on fire", exitInterrupted},
		{"damaged on the way", &snapshotServer{data: wrong}, nil, "checksum is wrong", exitInterrupted},
		{"no checksum", &snapshotServer{data: data[:len(data)-1]}, nil, "no checksum", exitInterrupted},
		{"two members", &snapshotServer{data: data}, []string{"--endpoints", "127.0.0.1:1"}, "must name one", exitInterrupted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "saved.db")
			if err := os.WriteFile(path, []byte("the one of yesterday"), 0o600); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"--endpoints", tc.server.start(t), "snapshot", "save", path}, tc.args...)
			code, _, errs := inProcess(t, args...)
			if code != tc.code || !strings.Contains(errs, tc.says) {
				t.Errorf("exit code %d, %s; want %d and %q", code, errs, tc.code, tc.says)
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			if err != nil || len(entries) != 1 {
				t.Errorf("files %v, %v", entries, err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != "the one of yesterday" {
				t.Errorf("the earlier backup is %q, %v", got, err)
			}
		})
	}
}

func TestSnapshotStatus(t *testing.T) {
	path := backupFile(t)
	for format, want := range map[string]string{
		"simple": "5944feda, 50, 14, 25 kB, 3.7.0\n",
		"json":   `{"hash":1497693914,"revision":50,"totalKey":14,"totalSize":24576,"version":"3.7.0"}` + "\n",
		"fields": "\"Hash\" : 1497693914\n\"Revision\" : 50\n\"Keys\" : 14\n\"Size\" : 24576\n\"Version\" : 3.7.0\n",
	} {
		if code, out, errs := inProcess(t, "snapshot", "status", path, "-w", format); code != 0 || out != want {
			t.Errorf("%s: exit code %d, output %q, want %q; %s", format, code, out, want, errs)
		}
	}
	if code, out, _ := inProcess(t, "snapshot", "status", path, "-w", "table"); code != 0 || !strings.Contains(out, "TOTAL KEYS") {
		t.Errorf("table: exit code %d, output\n%s", code, out)
	}
}

func TestSnapshotRestore(t *testing.T) {
	path := backupFile(t)
	for _, args := range [][]string{
		{"snapshot", "restore"},
		{"snapshot", "restore", path, "other"},
		{"snapshot", "restore", path, "--mark-compacted"},
		{"snapshot", "restore", path, "--bump-revision", "10"},
		{"snapshot", "save"},
		{"snapshot", "status", path, "other"},
	} {
		if code, _, errs := inProcess(t, args...); code != exitBadArguments {
			t.Errorf("%q: exit code %d, %s", args, code, errs)
		}
	}
	dir := filepath.Join(t.TempDir(), "data")
	args := []string{"snapshot", "restore", path, "--data-dir", dir, "--name", "a", "--bump-revision", "10", "--mark-compacted"}
	if code, out, errs := inProcess(t, args...); code != 0 || out != "" || !strings.Contains(errs, dir) {
		t.Fatalf("exit code %d, output %q, %s", code, out, errs)
	}
	if code, _, errs := inProcess(t, args...); code != exitError || !strings.Contains(errs, "not empty") {
		t.Errorf("into a directory that is not empty: exit code %d, %s", code, errs)
	}
	if code, out, errs := inProcess(t, "debug", "hash", "--data-dir", dir); code != 0 || !strings.HasSuffix(out, ", 60, 60\n") {
		t.Errorf("exit code %d, hash %q, %s", code, out, errs)
	}
}

// TestDebugHash: each hash that etcdutl computed of the same file.
func TestDebugHash(t *testing.T) {
	path := backupFile(t)
	want, err := os.ReadFile("../../coordd/restore/testdata/etcd-3.7.3.hashes")
	if err != nil {
		t.Fatal(err)
	}
	rev := 30
	for line := range strings.Lines(string(want)) {
		if code, out, errs := inProcess(t, "debug", "hash", path, "--rev", strconv.Itoa(rev), "-w", "json"); code != 0 || out != line {
			t.Errorf("revision %d: exit code %d, %s, want %s; %s", rev, code, out, line, errs)
		}
		rev++
	}
	if code, _, errs := inProcess(t, "debug", "hash", path, "--rev", "29"); code != exitError || !strings.Contains(errs, "compacted") {
		t.Errorf("a compacted revision: exit code %d, %s", code, errs)
	}
}
