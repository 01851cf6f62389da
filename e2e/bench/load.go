package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// load is the shape of a stream of requests.
type load struct {
	clients, connections, keys, valueBytes int
}

// result is one measurement.
type result struct {
	perSecond float64
	cpuPerOp  time.Duration // of all servers; 0 where it was not measured
	p50, p99  time.Duration
	longest   time.Duration

	disturbance // none: zero
}

// workload is a thing that both sides are asked to do.
type workload struct {
	name string
	run  func(ctx context.Context, s *side) (result, error)
}

// operation is one request of a client.
type operation func(ctx context.Context, kv pb.KVClient, rng *rand.Rand) error

func workloads(s settings) []workload {
	value := randomValue(s.load.valueBytes)
	put := func(ctx context.Context, kv pb.KVClient, rng *rand.Rand) error {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: key(rng, s.load.keys), Value: value})
		return err
	}
	get := func(serializable bool) operation {
		return func(ctx context.Context, kv pb.KVClient, rng *rand.Rand) error {
			_, err := kv.Range(ctx, &pb.RangeRequest{Key: key(rng, s.load.keys), Serializable: serializable})
			return err
		}
	}
	closedLoop := func(name string, l load, op operation) workload {
		return workload{name, func(ctx context.Context, side *side) (result, error) {
			return l.drive(ctx, side, s.duration, op)
		}}
	}
	alone := s.load
	alone.clients, alone.connections = 1, 1
	few := s.load
	few.clients, few.connections = 8, 4
	all := append([]workload{
		closedLoop("put", s.load, put),
		closedLoop("put, 1 client", alone, put),
		closedLoop("range, linearizable", s.load, get(false)),
		closedLoop("range, serializable", s.load, get(true)),
		{"put, 8 clients, defragmentation", func(ctx context.Context, side *side) (result, error) {
			return few.disturb(ctx, side, s.duration, put, side.defragment)
		}},
	}, handoffWorkload(s, concurrencyLibrary()), handoffWorkload(s, recipesLibrary()))
	return slices.DeleteFunc(all, func(w workload) bool { return !s.run.MatchString(w.name) })
}

// key draws one of n keys.
func key(rng *rand.Rand, n int) []byte { return keyAt(rng.IntN(n)) }

// keyAt is a key of 16 bytes.
func keyAt(i int) []byte { return binary.BigEndian.AppendUint64([]byte("bench/k/"), uint64(i)) }

// fill writes every key once, many in a transaction.
func (l load) fill(ctx context.Context, s *side) error {
	const perTxn = 100
	conns, err := l.dial(s)
	if err != nil {
		return err
	}
	defer closeAll(conns)
	value := randomValue(l.valueBytes)
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for i := range l.connections {
		kv := pb.NewKVClient(conns[i])
		g.Go(func() error {
			for {
				first := int(next.Add(perTxn)) - perTxn
				if first >= l.keys {
					return nil
				}
				txn := new(pb.TxnRequest)
				for k := first; k < min(first+perTxn, l.keys); k++ {
					put := &pb.PutRequest{Key: keyAt(k), Value: value}
					txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
				}
				if _, err := kv.Txn(ctx, txn); err != nil {
					return fmt.Errorf("fill: %w", err)
				}
			}
		})
	}
	return g.Wait()
}

func randomValue(n int) []byte {
	value := make([]byte, n)
	for i := range value {
		value[i] = byte(rand.Uint32())
	}
	return value
}

func closeAll(conns []*grpc.ClientConn) {
	for _, c := range conns {
		c.Close()
	}
}

// drive runs op in a closed loop of l.clients for d and measures.
func (l load) drive(ctx context.Context, s *side, d time.Duration, op operation) (result, error) {
	return l.driveWhile(ctx, s, op, func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// driveWhile is drive for as long as something else takes.
func (l load) driveWhile(ctx context.Context, s *side, op operation, other func(context.Context) error) (result, error) {
	conns, err := l.dial(s)
	if err != nil {
		return result{}, err
	}
	defer closeAll(conns)
	cpu, err := cpuOf(s)
	if err != nil {
		return result{}, err
	}
	var stop atomic.Bool
	latencies := make([][]time.Duration, l.clients)
	g, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	g.Go(func() error {
		defer stop.Store(true)
		return other(ctx)
	})
	for i := range l.clients {
		kv := pb.NewKVClient(conns[i%len(conns)])
		g.Go(func() error {
			rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
			for last := time.Now(); !stop.Load(); {
				if err := op(ctx, kv, rng); err != nil {
					return err
				}
				now := time.Now()
				latencies[i] = append(latencies[i], now.Sub(last))
				last = now
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return result{}, err
	}
	elapsed := time.Since(begin)
	after, err := cpuOf(s)
	if err != nil {
		return result{}, err
	}
	all := slices.Concat(latencies...)
	if len(all) == 0 {
		return result{}, fmt.Errorf("no request ended within %s", elapsed)
	}
	slices.Sort(all)
	return result{
		perSecond: float64(len(all)) / elapsed.Seconds(),
		cpuPerOp:  (after - cpu) / time.Duration(len(all)),
		p50:       all[len(all)/2],
		p99:       all[len(all)*99/100],
		longest:   all[len(all)-1],
	}, nil
}

// dial connects to the members in turn.
func (l load) dial(s *side) ([]*grpc.ClientConn, error) {
	endpoints := s.cluster.Endpoints()
	conns := make([]*grpc.ClientConn, l.connections)
	for i := range conns {
		target := strings.TrimPrefix(endpoints[i%len(endpoints)], "http://")
		c, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", target, err)
		}
		conns[i] = c
	}
	return conns, nil
}

// cpuOf returns the processor time that all members have used.
func cpuOf(s *side) (total time.Duration, err error) {
	for _, m := range s.cluster.Members {
		cpu, err := m.CPU()
		if err != nil {
			return 0, err
		}
		total += cpu
	}
	return total, nil
}
