package auth

import (
	"testing"
	"time"
)

const ttl = time.Minute

var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// after is a moment some seconds after the epoch of these tests.
func after(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

func wantUser(t *testing.T, tokens *Tokens, seconds int, hash TokenHash, want string) {
	t.Helper()
	if got, ok := tokens.Use(hash, after(seconds), ttl); got != want || ok != (want != "") {
		t.Errorf("after %d s token %x is %q's (%t), want %q", seconds, hash[:1], got, ok, want)
	}
}

func TestTokensLiveForTTLSinceLastUse(t *testing.T) {
	var tokens Tokens
	a, b, c := TokenHash{1}, TokenHash{2}, TokenHash{3}
	wantUser(t, &tokens, 0, a, "")
	tokens.Assign(a, "alice")
	tokens.Assign(b, "bob")
	wantUser(t, &tokens, 0, a, "alice")
	tokens.Assign(c, "carol")
	wantUser(t, &tokens, 50, a, "alice") // the time of carol's begins here
	wantUser(t, &tokens, 61, b, "")
	wantUser(t, &tokens, 109, a, "alice")
	wantUser(t, &tokens, 110, c, "carol")
	wantUser(t, &tokens, 170, a, "")
	wantUser(t, &tokens, 170, c, "carol")
	if len(tokens.byHash) != 1 || tokens.order.Len() != 1 {
		t.Errorf("%d tokens and %d in order are kept, want the one that lives", len(tokens.byHash), tokens.order.Len())
	}
}

func TestTokensEndWithTheirUser(t *testing.T) {
	var tokens Tokens
	for i := range byte(6) {
		tokens.Assign(TokenHash{i}, []string{"alice", "bob"}[i%2])
	}
	tokens.Drop("alice")
	for i := range byte(6) {
		wantUser(t, &tokens, 0, TokenHash{i}, []string{"", "bob"}[i%2])
	}
	tokens.Clear()
	wantUser(t, &tokens, 0, TokenHash{1}, "")
	tokens.Assign(TokenHash{1}, "bob")
	wantUser(t, &tokens, 0, TokenHash{1}, "bob")
}

func TestTokensAreBounded(t *testing.T) {
	var tokens Tokens
	hash := func(i int) TokenHash { return TokenHash{byte(i), byte(i >> 8), byte(i >> 16)} }
	for i := range maxTokens {
		tokens.Assign(hash(i), "alice")
	}
	wantUser(t, &tokens, 0, hash(0), "alice")
	tokens.Assign(hash(maxTokens), "alice")
	wantUser(t, &tokens, 0, hash(0), "alice") // used since
	wantUser(t, &tokens, 0, hash(1), "")      // the longest unused
	wantUser(t, &tokens, 0, hash(2), "alice")
	wantUser(t, &tokens, 0, hash(maxTokens), "alice")
	if len(tokens.byHash) != maxTokens || tokens.order.Len() != maxTokens {
		t.Errorf("%d tokens, %d in order", len(tokens.byHash), tokens.order.Len())
	}
	tokens.Assign(hash(2), "bob") // the same again, as from a log read twice
	wantUser(t, &tokens, 0, hash(2), "bob")
}
