package rpc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// InProcess returns a client of this member's KV service for what speaks another
// protocol in this process. Its calls are checked as those that come by gRPC.
// Where users are on they are made in the name of user, whoever asks; where user is
// empty, in that of the certificate of the peer in a call's context. The client
// ends with the server.
func (s *Server) InProcess(user string) *clientv3.Client {
	c := clientv3.NewCtxClient(s.stopping)
	c.KV = clientv3.NewKVFromKVClient(inProcessKV{localKV{&kvServer{Server: s}}, user}, c)
	return c
}

// inProcessKV is the KV service as its own client, by way of what gRPC's calls go
// through. It awaits no outcome longer than its caller does.
type inProcessKV struct {
	localKV // what is not of use
	user    string
}

func (k inProcessKV) Range(ctx context.Context, r *pb.RangeRequest, _ ...grpc.CallOption) (*pb.RangeResponse, error) {
	return inProcess(k, ctx, pb.KV_Range_FullMethodName, r, k.server.Range)
}

func (k inProcessKV) Put(ctx context.Context, r *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	return inProcess(k, ctx, pb.KV_Put_FullMethodName, r, k.server.Put)
}

func (k inProcessKV) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest, _ ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	return inProcess(k, ctx, pb.KV_DeleteRange_FullMethodName, r, k.server.DeleteRange)
}

func (k inProcessKV) Txn(ctx context.Context, r *pb.TxnRequest, _ ...grpc.CallOption) (*pb.TxnResponse, error) {
	return inProcess(k, ctx, pb.KV_Txn_FullMethodName, r, k.server.Txn)
}

// inProcess makes one call.
func inProcess[Q, R any](k inProcessKV, ctx context.Context, method string, r Q, call func(context.Context, Q) (R, error)) (response R, err error) {
	if k.user != "" {
		ctx = context.WithValue(ctx, actingFor{}, k.user)
	}
	info := &grpc.UnaryServerInfo{Server: k.server, FullMethod: method}
	answer, err := k.server.interceptUnary(ctx, r, info, func(ctx context.Context, _ any) (any, error) { return call(ctx, r) })
	if err != nil {
		return response, err
	}
	return answer.(R), nil
}

// actingFor is the key of a context's value: the user in whose name this member
// itself makes a call. It cannot come from outside.
type actingFor struct{}
