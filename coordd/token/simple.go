package token

import (
	"crypto/rand"
	"crypto/sha256"
	"time"

	"github.com/coordd/coordd/kvcore/auth"
)

// Hash returns what members keep of a simple token.
func Hash(token string) auth.TokenHash { return sha256.Sum256([]byte(token)) }

// simple tokens are random text.
type simple struct {
	tokens *auth.Tokens
	ttl    time.Duration
	now    func() time.Time
}

// simpleBytes is the length of what rand.Text returns: 26 letters and digits
// with at least 128 bits of randomness.
const simpleBytes = 26

func (p *simple) Issue(auth.Identity) (token string, err error) { return rand.Text(), nil }

func (p *simple) Replicated() bool { return true }

func (p *simple) Identify(token string, revision uint64) (auth.Identity, bool) {
	if len(token) != simpleBytes {
		return auth.Identity{}, false
	}
	user, ok := p.tokens.Use(Hash(token), p.now(), p.ttl)
	if !ok {
		return auth.Identity{}, false
	}
	return auth.Identity{User: user, Revision: revision}, true
}
