package fence

import "context"

type contextKey struct{}

// NewContext returns a context that carries t. fencehttp and fencegrpc send and receive it.
func NewContext(ctx context.Context, t Token) context.Context {
	return context.WithValue(ctx, contextKey{}, t)
}

// FromContext returns the token that ctx carries, if it carries one.
func FromContext(ctx context.Context) (Token, bool) {
	t, ok := ctx.Value(contextKey{}).(Token)
	return t, ok && !t.IsZero()
}
