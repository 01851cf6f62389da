package coordtest

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Loss is how an answer gets lost.
type Loss uint8

const (
	// BreakConnection breaks the connection in place of the answer: the call fails at once, with codes.Unavailable.
	BreakConnection Loss = iota
	// StaySilent keeps the connection and never answers: the call waits until its context ends.
	StaySilent
)

// drops are the answers to a client that are yet to be lost.
type drops struct {
	left int // below 0: all
	how  Loss
}

// takeDrop says whether the next answer is to be lost.
func (l *link) takeDrop() (how Loss, drop bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drops.left > 0 {
		l.drops.left--
		return l.drops.how, true
	}
	return l.drops.how, l.drops.left < 0
}

// dropReply is the server's interceptor around every unary call that was let in: it loses the answer when it is made.
func dropReply(ctx context.Context, r any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	answer, err := handle(ctx, r)
	from, _ := peer.FromContext(ctx)
	client := from.Addr.(addr).link
	how, drop := client.takeDrop()
	switch {
	case !drop:
		return answer, err
	case how == BreakConnection:
		client.breakAll()
	default:
		<-ctx.Done()
	}
	return nil, status.Error(codes.Unavailable, "coordtest: this answer is lost")
}
