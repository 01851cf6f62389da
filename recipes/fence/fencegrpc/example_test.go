package fencegrpc_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/coordd/coordd/recipes/fence"
	"github.com/coordd/coordd/recipes/fence/fencegrpc"
)

// A service, here gRPC's own health service, refuses the calls of a holder that was paused while another took over.
func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	guard := fence.NewGuard(lock)
	server := grpc.NewServer(
		grpc.UnaryInterceptor(fencegrpc.UnaryServerInterceptor(guard)),
		grpc.StreamInterceptor(fencegrpc.StreamServerInterceptor(guard)))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go server.Serve(listener)
	defer server.Stop()

	conn, err := grpc.NewClient(listener.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(fencegrpc.UnaryClientInterceptor()),
		grpc.WithStreamInterceptor(fencegrpc.StreamClientInterceptor()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)
	for _, token := range []fence.Token{granted(lock, 41), granted(lock, 57), granted(lock, 41)} { // or Hold.Token
		ctx := fence.NewContext(context.Background(), token)
		_, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		fmt.Printf("%v %q\n", status.Code(err), fencegrpc.Reason(err))
	}
	// Output:
	// OK ""
	// OK ""
	// FailedPrecondition "STALE_TOKEN"
}
