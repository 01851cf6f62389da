package main

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// now is a clock that all processes of the machine share.
func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("prove: no CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// fastStore makes a store's clock run fast for a client: a lease that lasts 99 s by the
// store's own clock is one of 100 s whose store is one per cent fast. So each lease is
// asked for less by some seconds, and the client is told that it got what it asked for.
func fastStore(seconds int64) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			grant, ok := req.(*pb.LeaseGrantRequest)
			if !ok {
				return invoke(ctx, method, req, reply, cc, opts...)
			}
			less := proto.Clone(grant).(*pb.LeaseGrantRequest)
			less.TTL -= seconds
			err := invoke(ctx, method, less, reply, cc, opts...)
			reply.(*pb.LeaseGrantResponse).TTL += seconds
			return err
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			stream, err := open(ctx, desc, cc, method, opts...)
			return fastStream{stream, seconds}, err
		}),
	}
}

type fastStream struct {
	grpc.ClientStream
	seconds int64
}

func (s fastStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if reply, ok := m.(*pb.LeaseKeepAliveResponse); ok && err == nil && reply.TTL > 0 {
		reply.TTL += s.seconds
	}
	return err
}
