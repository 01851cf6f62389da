package kvcore_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/coordd/coordd/kvcore"
	"github.com/coordd/coordd/kvcore/backend"
	"github.com/coordd/coordd/kvcore/kvtest"
	"github.com/coordd/coordd/proto/coordpb"
)

// Whatever decodes can be applied, flushed and read again.
func FuzzApply(f *testing.F) {
	for seed := range uint64(20) {
		g := &kvtest.Generator{Rand: rand.New(rand.NewPCG(seed, 1)), Model: kvtest.NewModel(), Term: 1}
		var reqs []proto.Message
		for range 6 {
			reqs = append(reqs, g.Command())
		}
		data, err := coordpb.AppendBatch(nil, 1, seed, reqs)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		reqs, err := coordpb.DecodeBatch(data)
		if err != nil {
			return
		}
		s, err := kvcore.Open(backend.NewMemory(), kvcore.Defaults())
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range s.Apply(1, 1, reqs) {
			if (r.Err == nil) == (r.Response == nil) {
				t.Errorf("result %d is %+v", i, r)
			}
		}
		s.CompactStep(100)
		if _, err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		want, err := s.HashKV(0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := kvtest.CrashMemory(s)
		if err != nil {
			t.Fatal(err)
		}
		if s, err = kvcore.Open(b, kvcore.Defaults()); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got, err := s.HashKV(0); got != want || err != nil {
			t.Errorf("hash after restart %+v, %v, want %+v", got, err, want)
		}
		if _, err := s.Range(t.Context(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}); err != nil {
			t.Error(err)
		}
	})
}

// What is no delta leaves a store as it was; what is one leaves one that opens,
// or says what is wrong with it.
func FuzzMergeDelta(f *testing.F) {
	source, err := kvcore.Open(backend.NewMemory(), kvcore.Defaults())
	if err != nil {
		f.Fatal(err)
	}
	defer source.Close()
	source.Apply(1, 1, []proto.Message{put("a", "1"), &pb.LeaseGrantRequest{ID: 5, TTL: 60}, put("b", "2"), put("a", "3")})
	if _, err := source.Flush(); err != nil {
		f.Fatal(err)
	}
	snapshot, err := source.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	defer snapshot.Close()
	delta, ok := snapshot.Delta(snapshot.Held())
	if !ok {
		f.Fatal("no delta to what the store itself holds")
	}
	var stream bytes.Buffer
	if _, err := delta.WriteTo(&stream); err != nil {
		f.Fatal(err)
	}
	f.Add(stream.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4 { // a checksum that is right lets through what is behind it
			body := data[:len(data)-4]
			data = binary.BigEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
		}
		b := backend.NewMemory()
		if err := kvcore.MergeDelta(b, bytes.NewReader(data)); err != nil {
			if index, _ := b.Applied(); index != 0 {
				t.Errorf("refused with %v, but applied is %d", err, index)
			}
			b.Close()
			return
		}
		s, err := kvcore.Open(b, kvcore.Defaults())
		if err != nil {
			b.Close()
			return
		}
		defer s.Close()
		if _, err := s.HashKV(0); err != nil {
			t.Error(err)
		}
		if _, err := s.Range(t.Context(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}); err != nil {
			t.Error(err)
		}
	})
}
