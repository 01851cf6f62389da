package main

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/testing/protocmp"
)

func TestParseCompare(t *testing.T) {
	for line, want := range map[string]*pb.Compare{
		`mod("k") > "7"`:         {Key: []byte("k"), Target: pb.Compare_MOD, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_ModRevision{ModRevision: 7}},
		`m("k")<"7"`:             {Key: []byte("k"), Target: pb.Compare_MOD, Result: pb.Compare_LESS, TargetUnion: &pb.Compare_ModRevision{ModRevision: 7}},
		`create("k") = "0"`:      {Key: []byte("k"), Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 0}},
		`version("k") != "2"`:    {Key: []byte("k"), Target: pb.Compare_VERSION, Result: pb.Compare_NOT_EQUAL, TargetUnion: &pb.Compare_Version{Version: 2}},
		`val("a)b") = "x \"y\""`: {Key: []byte("a)b"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte(`x "y"`)}},
		`val("\x00\n") = ""`:     {Key: []byte("\x00\n"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte{}}},
		`lease("k") = "1f"`:      {Key: []byte("k"), Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: 0x1f}},
	} {
		got, err := parseCompare(line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if diff := cmp.Diff(want, got.GetCompare(), protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		`put a b`:                 {"put", "a", "b"},
		"  put\ta   b ":           {"put", "a", "b"},
		`put "a b" 'c "d" \n'`:    {"put", "a b", `c "d" \n`},
		`put "tab\tnul\x00" ""`:   {"put", "tab\tnul\x00", ""},
		`put it's {"json":"yes"}`: {"put", "it's", `{"json":"yes"}`},
	} {
		got, err := splitWords(line)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

// FuzzTxnScript looks for scripts that make the reader, or the client's constructors behind it, panic.
func FuzzTxnScript(f *testing.F) {
	f.Add("mod(\"k\") > \"0\"\n\nput k 'v w' --prev-kv\nget --prefix k\n\ndel k --from-key\n\n")
	f.Add("\nget k --help\n\n\n")
	f.Add("val(\"a\") = \"\\xff\"\n\nput -- -k -v\nget '' --prefix --limit -1\n\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		script := &txnScript{in: bufio.NewReader(strings.NewReader(text))}
		if err := script.read(io.Discard); err == nil && !strings.Contains(text, "\n") {
			t.Errorf("%q has no blocks but was accepted", text)
		}
	})
}
