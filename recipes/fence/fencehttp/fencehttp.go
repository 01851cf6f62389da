// Package fencehttp carries fencing tokens in HTTP requests: a client transport sends the token of the request's context,
// a middleware receives it, refuses what is already known to be stale, and puts the token into the handler's context.
//
// The middleware refuses early and saves work; it does not protect the resource, because the handler may be overtaken
// between the check and its write. The check that counts belongs with the write: in the transaction (fencesql), under
// the file's lock (fencefile) or, if all that is protected lives in this process, in fence.Guard.Do.
package fencehttp

import (
	"errors"
	"net/http"

	"github.com/coordd/coordd/recipes/fence"
)

// Header is the request header with the text form of the token.
const Header = "Fencing-Token"

// ErrMissing is the error for a request without a token.
var ErrMissing = errors.New("fencehttp: no " + Header + " header")

// Handler returns next behind a check of the request's token: 428 without one, 400 if it is malformed or there are
// several, 412 if it was overtaken or belongs to something else. It raises the guard's mark to every token that it lets
// through, on reads too, and waits for a function that runs in the guard's Do. next finds the token with
// fence.FromContext. A nil guard checks nothing but that there is a well-formed token.
func Handler(guard *fence.Guard, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := parse(r.Header.Values(Header))
		if err == nil && guard != nil {
			err = guard.Advance(token)
		}
		if err != nil {
			http.Error(w, err.Error(), Status(err))
			return
		}
		next.ServeHTTP(w, r.WithContext(fence.NewContext(r.Context(), token)))
	})
}

func parse(values []string) (fence.Token, error) {
	switch len(values) {
	case 0:
		return fence.Token{}, ErrMissing
	case 1:
		return fence.Parse(values[0])
	}
	return fence.Token{}, errors.Join(fence.ErrMalformed, errors.New("fencehttp: several "+Header+" headers"))
}

// Status is the HTTP status with which to answer err: 428, 400 or 412 for the errors of tokens, 500 for every other. A
// handler answers with it when the check beside its write refuses.
func Status(err error) int {
	switch {
	case errors.Is(err, ErrMissing):
		return http.StatusPreconditionRequired
	case errors.Is(err, fence.ErrMalformed):
		return http.StatusBadRequest
	case errors.Is(err, fence.ErrStale), errors.Is(err, fence.ErrIncomparable):
		return http.StatusPreconditionFailed
	}
	return http.StatusInternalServerError
}

// Transport sends the token of the request's context along, in place of one that the request has. Requests without a
// token in their context pass unchanged. It is safe for concurrent use.
type Transport struct {
	Base http.RoundTripper // http.DefaultTransport if nil
}

// RoundTrip sends r.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if token, ok := fence.FromContext(r.Context()); ok {
		r = r.Clone(r.Context()) // a RoundTripper must not change the caller's request
		r.Header.Set(Header, token.String())
	}
	return base.RoundTrip(r)
}
