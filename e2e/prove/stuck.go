package main

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// stuckRequests makes one transaction in so many arrive late, as one that was stuck in
// the network: the client is told at once that the connection broke, and tries again.
// Another one arrives in time, and its reply is lost.
func stuckRequests(oneIn int) grpc.DialOption {
	broken := status.Error(codes.Unavailable, "the connection broke")
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if txn, ok := req.(*pb.TxnRequest); !ok || !ofRecipes(txn) {
			return invoke(ctx, method, req, reply, cc, opts...)
		}
		switch rand.N(oneIn) {
		case 0:
			outgoing, _ := metadata.FromOutgoingContext(ctx)
			late, cancel := context.WithTimeout(metadata.NewOutgoingContext(context.Background(), outgoing), 20*time.Second)
			delay := rand.N(2 * roamTTLSeconds * time.Second)
			go func() {
				defer cancel()
				time.Sleep(delay)
				_ = invoke(late, method, req, &pb.TxnResponse{}, cc) // nobody waits for it any more
			}()
			return broken
		case 1:
			if err := invoke(ctx, method, req, reply, cc, opts...); err != nil {
				return err
			}
			return broken
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	})
}

// ofRecipes tells transactions that change what recipes keep.
func ofRecipes(txn *pb.TxnRequest) bool {
	for _, op := range txn.Success {
		if strings.HasPrefix(string(op.GetRequestPut().GetKey()), "/coordd/") || op.GetRequestDeleteRange() != nil {
			return true
		}
	}
	return false
}
