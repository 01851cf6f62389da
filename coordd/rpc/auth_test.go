package rpc

import (
	"testing"
	"time"

	"github.com/coordd/coordd/coordd/token"
	"github.com/coordd/coordd/kvcore"
)

// simpleTokens is the provider that a member has by default.
func simpleTokens(t *testing.T, store *kvcore.Store) token.Provider {
	t.Helper()
	options, err := token.Parse("simple")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := options.Open(store.Tokens(), time.Minute, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return provider
}
