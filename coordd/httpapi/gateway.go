package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/coordd/coordd/proto/v3electionpb"
	"github.com/coordd/coordd/proto/v3lockpb"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	gw "go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// bodyFactor is how much larger than the request it holds a JSON body may be:
// base64 takes a third more, escapes and names the rest.
const bodyFactor = 2

// NewGateway returns the handler of /v3/: etcd's API as JSON over HTTP, with the
// same names and answers as etcd's own gateway; and of /coord.v1/ in the same way. Calls go over conn to a member's
// gRPC server. Bodies beyond twice maxRequestBytes are refused, and those of more
// than maxParts objects.
//
// Fields may be written as in the proto files or in camelCase, 64-bit numbers as
// strings or not; answers use the proto names, strings, and leave out zeros.
// Bytes are base64. Streams are answered with one JSON object a line.
func NewGateway(conn grpc.ClientConnInterface, maxRequestBytes, maxParts int) (http.Handler, error) {
	mux := runtime.NewServeMux(runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.HTTPBodyMarshaler{
		Marshaler: &runtime.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
			UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
		},
	}))
	ctx := context.Background() // what is registered lasts as long as the mux
	err := errors.Join(
		gw.RegisterKVHandlerClient(ctx, mux, pb.NewKVClient(conn)),
		gw.RegisterWatchHandlerClient(ctx, mux, pb.NewWatchClient(conn)),
		gw.RegisterLeaseHandlerClient(ctx, mux, pb.NewLeaseClient(conn)),
		gw.RegisterClusterHandlerClient(ctx, mux, pb.NewClusterClient(conn)),
		gw.RegisterMaintenanceHandlerClient(ctx, mux, pb.NewMaintenanceClient(conn)),
		gw.RegisterAuthHandlerClient(ctx, mux, pb.NewAuthClient(conn)),
		routeLock(mux, v3lockpb.NewLockClient(conn)),
		routeElection(mux, v3electionpb.NewElectionClient(conn)),
		routeCoord(mux, conn),
	)
	if err != nil {
		return nil, fmt.Errorf("httpapi: gateway: %w", err)
	}
	return boundBody(mux, int64(bodyFactor*maxRequestBytes), maxParts), nil
}

func routeLock(mux *runtime.ServeMux, c v3lockpb.LockClient) error {
	return errors.Join(
		route(mux, "/v3/lock/lock", v3lockpb.Lock_Lock_FullMethodName, c.Lock),
		route(mux, "/v3/lock/unlock", v3lockpb.Lock_Unlock_FullMethodName, c.Unlock),
	)
}

func routeElection(mux *runtime.ServeMux, c v3electionpb.ElectionClient) error {
	return errors.Join(
		route(mux, "/v3/election/campaign", v3electionpb.Election_Campaign_FullMethodName, c.Campaign),
		route(mux, "/v3/election/proclaim", v3electionpb.Election_Proclaim_FullMethodName, c.Proclaim),
		route(mux, "/v3/election/leader", v3electionpb.Election_Leader_FullMethodName, c.Leader),
		route(mux, "/v3/election/resign", v3electionpb.Election_Resign_FullMethodName, c.Resign),
		routeStream(mux, "/v3/election/observe", v3electionpb.Election_Observe_FullMethodName, c.Observe),
	)
}

// message is a pointer to a request, so that one can be made.
type message[T any] interface {
	*T
	proto.Message
}

// route serves a unary method as those of etcd's generated gateway are.
func route[T any, Q message[T], R proto.Message](mux *runtime.ServeMux, path, method string, call func(context.Context, Q, ...grpc.CallOption) (R, error)) error {
	return handle(mux, path, method, func(ctx context.Context, in, out runtime.Marshaler, w http.ResponseWriter, r *http.Request) error {
		request := Q(new(T))
		if err := decode(in, r, request); err != nil {
			return err
		}
		var md runtime.ServerMetadata
		response, err := call(ctx, request, grpc.Header(&md.HeaderMD), grpc.Trailer(&md.TrailerMD))
		if err != nil {
			return err
		}
		runtime.ForwardResponseMessage(runtime.NewServerMetadataContext(ctx, md), mux, out, w, r, response)
		return nil
	})
}

// routeStream is route for a method that answers with a stream.
func routeStream[T any, Q message[T], R any, S message[R]](mux *runtime.ServeMux, path, method string, call func(context.Context, Q, ...grpc.CallOption) (grpc.ServerStreamingClient[R], error)) error {
	return handle(mux, path, method, func(ctx context.Context, in, out runtime.Marshaler, w http.ResponseWriter, r *http.Request) error {
		request := Q(new(T))
		if err := decode(in, r, request); err != nil {
			return err
		}
		stream, err := call(ctx, request)
		if err != nil {
			return err
		}
		header, err := stream.Header()
		if err != nil {
			return err
		}
		ctx = runtime.NewServerMetadataContext(ctx, runtime.ServerMetadata{HeaderMD: header})
		runtime.ForwardResponseStream(ctx, mux, out, w, r, func() (proto.Message, error) {
			m, err := stream.Recv()
			return S(m), err
		})
		return nil
	})
}

// handle routes a POST to serve, which has either answered or returns why not.
func handle(mux *runtime.ServeMux, path, method string, serve func(ctx context.Context, in, out runtime.Marshaler, w http.ResponseWriter, r *http.Request) error) error {
	return mux.HandlePath(http.MethodPost, path, func(w http.ResponseWriter, r *http.Request, _ map[string]string) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		in, out := runtime.MarshalerForRequest(mux, r)
		ctx, err := runtime.AnnotateContext(ctx, mux, r, method, runtime.WithHTTPPathPattern(path))
		if err == nil {
			err = serve(ctx, in, out, w, r)
		}
		if err != nil {
			runtime.HTTPError(r.Context(), mux, out, w, r, err)
		}
	})
}

// decode reads the request that the body holds; an empty body is an empty one.
func decode(in runtime.Marshaler, r *http.Request, request proto.Message) error {
	if err := in.NewDecoder(r.Body).Decode(request); err != nil && !errors.Is(err, io.EOF) {
		return status.Errorf(codes.InvalidArgument, "%v", err)
	}
	// Only once the body is read does net/http notice that the client goes away.
	_, err := io.Copy(io.Discard, r.Body)
	return err
}

// boundBody refuses bodies of more than limit bytes: at once where the client
// says how large its body is, and else when it has sent so much. It also serves
// what clients of old etcd ask for under /v3beta/.
func boundBody(next http.Handler, limit int64, maxParts int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/v3beta/"); ok {
			r.URL.Path = "/v3/" + rest
		}
		if r.ContentLength > limit {
			tooLarge := status.Convert(rpctypes.ErrGRPCRequestTooLarge)
			w.Header().Set("Connection", "close") // do not read on to the next request
			writeJSON(w, http.StatusRequestEntityTooLarge, "application/json", struct {
				Code    codes.Code `json:"code"`
				Message string     `json:"message"`
			}{tooLarge.Code(), tooLarge.Message()})
			return
		}
		r.Body = &countedParts{http.MaxBytesReader(w, r.Body, limit), maxParts}
		next.ServeHTTP(w, r)
	})
}

var errTooManyParts = errors.New("too many objects in the request")

// countedParts is a body that fails where more objects begin than are allowed: an
// empty one takes three bytes here and a hundred once it is decoded.
type countedParts struct {
	io.ReadCloser
	left int
}

func (c *countedParts) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if c.left -= bytes.Count(p[:n], []byte{'{'}); c.left < 0 {
		return 0, errTooManyParts
	}
	return n, err
}
