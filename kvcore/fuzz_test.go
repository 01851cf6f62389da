package kvcore_test

import (
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
