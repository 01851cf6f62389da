// Package token makes the tokens that stand for users whose password was
// checked, and knows whom a token stands for. There are simple tokens, which
// members remember, and JSON Web Tokens, which anyone with the key can check.
package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coordd/coordd/kvcore/auth"
)

// ErrOption says that the setting of tokens cannot be used.
var ErrOption = errors.New("token: invalid option")

// ErrVerifyOnly says that tokens cannot be made: there is a public key alone.
var ErrVerifyOnly = errors.New("token: no private key to sign with")

// Provider makes and recognises tokens. Its methods may be called concurrently.
type Provider interface {
	// Issue returns a new token for a user whose password was checked at a
	// revision of the users.
	Issue(id auth.Identity) (token string, err error)

	// Replicated tells whether members know those tokens only that they were
	// told the hash of.
	Replicated() bool

	// Identify returns whom a token stands for; revision is that of the users
	// before the call. It is false for a token that has expired or that is
	// none.
	Identify(token string, revision uint64) (id auth.Identity, ok bool)
}

// Options is the setting of tokens, parsed.
type Options struct {
	method, publicKeyFile, privateKeyFile string // of JSON Web Tokens; method is empty for simple ones
	ttl                                   time.Duration
}

// defaultTTL is of JSON Web Tokens.
const defaultTTL = 5 * time.Minute

// Parse reads the setting of tokens: "simple", or "jwt,sign-method=RS256" with
// pub-key=file, priv-key=file and ttl=duration. It reads no file. It fails with
// ErrOption.
func Parse(setting string) (Options, error) {
	kind, rest, some := strings.Cut(setting, ",")
	var pairs []string
	if some {
		pairs = strings.Split(rest, ",")
	}
	switch kind {
	case "simple":
		if some {
			return Options{}, fmt.Errorf("%w: simple tokens have none", ErrOption)
		}
		return Options{}, nil
	case "jwt":
		return parseJWT(pairs)
	}
	return Options{}, fmt.Errorf("%w: tokens of kind %q; there are simple and jwt", ErrOption, kind)
}

func parseJWT(pairs []string) (Options, error) {
	o := Options{ttl: defaultTTL}
	var seen []string
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || value == "" || slices.Contains(seen, name) {
			return Options{}, fmt.Errorf("%w: %q; give each as name=value, once", ErrOption, pair)
		}
		seen = append(seen, name)
		switch name {
		case "sign-method":
			o.method = value
		case "pub-key":
			o.publicKeyFile = value
		case "priv-key":
			o.privateKeyFile = value
		case "ttl":
			ttl, err := time.ParseDuration(value)
			if err != nil || ttl <= 0 {
				return Options{}, fmt.Errorf("%w: ttl=%s is no duration above zero, as 5m", ErrOption, value)
			}
			o.ttl = ttl
		default:
			return Options{}, fmt.Errorf("%w: %q; there are sign-method, pub-key, priv-key and ttl", ErrOption, name)
		}
	}
	if signingMethod(o.method) == nil {
		return Options{}, fmt.Errorf("%w: sign-method=%s; there are RS, PS, ES and HS with 256, 384 or 512, and EdDSA", ErrOption, o.method)
	}
	return o, nil
}

// Open returns the provider that the options ask for, with its keys read. Simple
// tokens are remembered in tokens and end after ttl without use.
func (o Options) Open(tokens *auth.Tokens, ttl time.Duration, now func() time.Time) (Provider, error) {
	if o.method == "" {
		return &simple{tokens: tokens, ttl: ttl, now: now}, nil
	}
	return openJWT(o, now)
}
