package fencegrpc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/coordd/coordd/recipes/fence"
	"github.com/coordd/coordd/recipes/fence/fencegrpc"
)

const lock = "/coordd/locks/report"

func granted(resource string, revision int64) fence.Token {
	token, err := fence.New(fence.Fields{Cluster: 1, Mode: fence.Exclusive, Resource: resource, Revision: revision})
	if err != nil {
		panic(err)
	}
	return token
}

// service answers with the token that the interceptor found, in a trailer.
type service struct {
	grpc_health_v1.UnimplementedHealthServer
	err error // of Check
}

func (s *service) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	token, _ := fence.FromContext(ctx)
	return &grpc_health_v1.HealthCheckResponse{}, errors.Join(s.err, grpc.SetTrailer(ctx, metadata.Pairs("found", token.String())))
}

func (s *service) Watch(_ *grpc_health_v1.HealthCheckRequest, stream grpc_health_v1.Health_WatchServer) error {
	token, _ := fence.FromContext(stream.Context())
	stream.SetTrailer(metadata.Pairs("found", token.String()))
	return stream.Send(&grpc_health_v1.HealthCheckResponse{})
}

// dial starts a server behind the interceptors and returns a client with them.
func dial(t testing.TB, guard *fence.Guard, s *service) grpc_health_v1.HealthClient {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer(
		grpc.UnaryInterceptor(fencegrpc.UnaryServerInterceptor(guard)), grpc.StreamInterceptor(fencegrpc.StreamServerInterceptor(guard)))
	grpc_health_v1.RegisterHealthServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(fencegrpc.UnaryClientInterceptor()), grpc.WithStreamInterceptor(fencegrpc.StreamClientInterceptor()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := conn.Close()
		server.Stop()
		if err := errors.Join(err, <-done); err != nil {
			t.Error(err)
		}
	})
	return grpc_health_v1.NewHealthClient(conn)
}

// call makes one unary call or one stream with one answer, and returns the token that the handler found.
func call(ctx context.Context, client grpc_health_v1.HealthClient, stream bool) (string, error) {
	if !stream {
		var trailer metadata.MD
		_, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Trailer(&trailer))
		return fmt.Sprint(trailer["found"]), err
	}
	s, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	for err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) == codes.Unknown { // the end of the stream
		err = nil
	}
	return fmt.Sprint(s.Trailer()["found"]), err
}

func TestInterceptors(t *testing.T) {
	for _, stream := range []bool{false, true} {
		guard := fence.NewGuard(lock)
		if err := guard.Advance(granted(lock, 7)); err != nil {
			t.Fatal(err)
		}
		client := dial(t, guard, &service{})
		raw := func(values ...string) context.Context {
			ctx := t.Context()
			for _, v := range values {
				ctx = metadata.AppendToOutgoingContext(ctx, fencegrpc.MetadataKey, v)
			}
			return ctx
		}
		token := func(resource string, revision int64) context.Context {
			return fence.NewContext(raw("replaced"), granted(resource, revision))
		}
		for _, c := range []struct {
			what   string
			ctx    context.Context
			code   codes.Code
			reason string
		}{
			{"none", raw(), codes.FailedPrecondition, fencegrpc.ReasonMissing},
			{"mangled", raw("f1:zz"), codes.InvalidArgument, fencegrpc.ReasonMalformed},
			{"two", raw(granted(lock, 8).String(), granted(lock, 9).String()), codes.InvalidArgument, fencegrpc.ReasonMalformed},
			{"stale", token(lock, 6), codes.FailedPrecondition, fencegrpc.ReasonStale},
			{"another resource", token("/other", 9), codes.FailedPrecondition, fencegrpc.ReasonIncomparable},
			{"current", token(lock, 7), codes.OK, ""},
			{"newer", token(lock, 8), codes.OK, ""},
			{"overtaken meanwhile", token(lock, 7), codes.FailedPrecondition, fencegrpc.ReasonStale},
		} {
			found, err := call(c.ctx, client, stream)
			if status.Code(err) != c.code || fencegrpc.Reason(err) != c.reason {
				t.Errorf("%s, stream %t: %v with reason %q, want %v with %q", c.what, stream, err, fencegrpc.Reason(err), c.code, c.reason)
			}
			sent, _ := fence.FromContext(c.ctx)
			if want := fmt.Sprint([]string{sent.String()}); c.code == codes.OK && found != want {
				t.Errorf("%s, stream %t: the handler found %s, want %s", c.what, stream, found, want)
			}
		}
	}
}

// The handler's own check, beside the write, refuses in the same way.
func TestErrorOfTheHandler(t *testing.T) {
	broken := status.Error(codes.DataLoss, "broken")
	for err, want := range map[error]string{
		fencegrpc.Error(fmt.Errorf("write: %w", &fence.StaleError{Token: granted(lock, 5)})): fencegrpc.ReasonStale,
		fencegrpc.Error(broken): "",
	} {
		client := dial(t, nil, &service{err: err})
		_, got := call(fence.NewContext(t.Context(), granted(lock, 5)), client, false)
		if got == nil || fencegrpc.Reason(got) != want {
			t.Errorf("%v arrives as %v with reason %q", err, got, fencegrpc.Reason(got))
		}
	}
	if err := fencegrpc.Error(nil); err != nil || fencegrpc.Reason(nil) != "" {
		t.Errorf("no error: %v", err)
	}
}
