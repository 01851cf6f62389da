// Package fencegrpc carries fencing tokens in gRPC calls: client interceptors send the token of the call's context, server
// interceptors receive it, refuse what is already known to be stale, and put the token into the handler's context.
//
// The interceptors refuse early and save work; they do not protect the resource, because the handler may be overtaken
// between the check and its write, and a stream is checked only when it begins. The check that counts belongs with the
// write: in the transaction (fencesql), under the file's lock (fencefile) or, if all that is protected lives in this
// process, in fence.Guard.Do.
package fencegrpc

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/coordd/coordd/recipes/fence"
)

// MetadataKey is the key of the call's metadata with the text form of the token.
const MetadataKey = "fencing-token"

// Domain is the domain of every google.rpc.ErrorInfo of this package.
const Domain = "coordd"

// Reasons of a refusal, in google.rpc.ErrorInfo.
const (
	ReasonStale        = "STALE_TOKEN"
	ReasonIncomparable = "INCOMPARABLE_TOKEN" // of another cluster, resource or slot
	ReasonMissing      = "MISSING_TOKEN"
	ReasonMalformed    = "MALFORMED_TOKEN"
)

// ErrMissing is the error for a call without a token.
var ErrMissing = errors.New("fencegrpc: no " + MetadataKey + " in the metadata")

// UnaryServerInterceptor refuses calls whose token is missing, malformed, overtaken, or of something else; the handler
// finds the token with fence.FromContext. It raises the guard's mark to every token that it lets through, on reads too,
// and waits for a function that runs in the guard's Do. A nil guard checks nothing but that there is a well-formed token.
func UnaryServerInterceptor(guard *fence.Guard) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		ctx, err := receive(ctx, guard)
		if err != nil {
			return nil, err
		}
		return next(ctx, request)
	}
}

// StreamServerInterceptor does for streams what UnaryServerInterceptor does for calls, once, when the stream begins.
func StreamServerInterceptor(guard *fence.Guard) grpc.StreamServerInterceptor {
	return func(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		ctx, err := receive(stream.Context(), guard)
		if err != nil {
			return err
		}
		return next(service, &fencedStream{ServerStream: stream, ctx: ctx})
	}
}

type fencedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *fencedStream) Context() context.Context { return s.ctx }

func receive(ctx context.Context, guard *fence.Guard) (context.Context, error) {
	token, err := parse(metadata.ValueFromIncomingContext(ctx, MetadataKey))
	if err == nil && guard != nil {
		err = guard.Advance(token)
	}
	if err != nil {
		return nil, Error(err)
	}
	return fence.NewContext(ctx, token), nil
}

func parse(values []string) (fence.Token, error) {
	switch len(values) {
	case 0:
		return fence.Token{}, ErrMissing
	case 1:
		return fence.Parse(values[0])
	}
	return fence.Token{}, errors.Join(fence.ErrMalformed, errors.New("fencegrpc: several "+MetadataKey+" values"))
}

// Error turns an error about a token into what goes over the wire: INVALID_ARGUMENT for a malformed token,
// FAILED_PRECONDITION for every other, with a google.rpc.ErrorInfo that says why. It returns other errors, and nil, as
// they are. A handler answers with it when the check beside its write refuses.
func Error(err error) error {
	code, reason := codes.FailedPrecondition, ""
	switch {
	case errors.Is(err, fence.ErrStale):
		reason = ReasonStale
	case errors.Is(err, fence.ErrIncomparable):
		reason = ReasonIncomparable
	case errors.Is(err, ErrMissing):
		reason = ReasonMissing
	case errors.Is(err, fence.ErrMalformed):
		code, reason = codes.InvalidArgument, ReasonMalformed
	default:
		return err
	}
	detailed, detailErr := status.New(code, err.Error()).WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: Domain})
	if detailErr != nil {
		panic("fencegrpc: an ErrorInfo cannot be packed: " + detailErr.Error())
	}
	return detailed.Err()
}

// Reason returns why a call was refused: one of the Reason constants, "" if err is no refusal of a token.
func Reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == Domain {
			return info.Reason
		}
	}
	return ""
}

// UnaryClientInterceptor sends the token of the call's context along, in place of one that its metadata have. Calls
// without a token in their context pass unchanged.
func UnaryClientInterceptor() grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
		return invoke(send(ctx), method, request, reply, conn, o...)
	}
}

// StreamClientInterceptor does for streams what UnaryClientInterceptor does for calls.
func StreamClientInterceptor() grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
		return open(send(ctx), desc, conn, method, o...)
	}
}

func send(ctx context.Context) context.Context {
	token, ok := fence.FromContext(ctx)
	if !ok {
		return ctx
	}
	md, _ := metadata.FromOutgoingContext(ctx) // a copy
	if md == nil {
		md = metadata.MD{}
	}
	md.Set(MetadataKey, token.String())
	return metadata.NewOutgoingContext(ctx, md)
}
