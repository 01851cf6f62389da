package token

import (
	"crypto"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/coordd/coordd/kvcore/auth"
)

// Claims of a JSON Web Token beside "exp", by etcd's names.
const (
	claimUser     = "username"
	claimRevision = "revision"
)

// maxRevision is the largest revision that a number in JSON holds exactly.
const maxRevision = 1 << 53

// signed tokens carry all that there is to know of them.
type signed struct {
	method  jwt.SigningMethod
	private any // nil: tokens are checked, not made
	public  any
	ttl     time.Duration
	now     func() time.Time
	parser  *jwt.Parser
}

// signingMethod returns the method of that name, but for "none", which would
// make everyone's tokens good; nil if there is no such method.
func signingMethod(name string) jwt.SigningMethod {
	method := jwt.GetSigningMethod(name)
	if method == jwt.SigningMethodNone {
		return nil
	}
	return method
}

func openJWT(o Options, now func() time.Time) (*signed, error) {
	p := &signed{method: signingMethod(o.method), ttl: o.ttl, now: now}
	private, err := readKey(o.privateKeyFile)
	if err != nil {
		return nil, err
	}
	public, err := readKey(o.publicKeyFile)
	if err != nil {
		return nil, err
	}
	if err := p.setKeys(private, public); err != nil {
		return nil, fmt.Errorf("%w: keys for %s: %w", ErrOption, o.method, err)
	}
	p.parser = jwt.NewParser(jwt.WithValidMethods([]string{p.method.Alg()}), jwt.WithTimeFunc(now))
	return p, p.probe()
}

// probe finds a key that does not fit the method, as one of another curve.
func (p *signed) probe() error {
	if p.private == nil {
		return nil
	}
	if _, err := p.Issue(auth.Identity{}); err != nil {
		return fmt.Errorf("%w: key for %s: %w", ErrOption, p.method.Alg(), err)
	}
	return nil
}

func readKey(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	key, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOption, err)
	}
	return key, nil
}

// setKeys takes the keys in PEM, but for HMAC, whose one key is the private
// file's content. A private key implies the public one.
func (p *signed) setKeys(private, public []byte) (err error) {
	switch p.method.(type) {
	case *jwt.SigningMethodHMAC:
		if len(private) == 0 {
			return errors.New("give priv-key")
		}
		p.private, p.public = private, private
		return nil
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		return setPair(p, private, public, jwt.ParseRSAPrivateKeyFromPEM, jwt.ParseRSAPublicKeyFromPEM)
	case *jwt.SigningMethodECDSA:
		return setPair(p, private, public, jwt.ParseECPrivateKeyFromPEM, jwt.ParseECPublicKeyFromPEM)
	case *jwt.SigningMethodEd25519:
		return setPair(p, private, public, jwt.ParseEdPrivateKeyFromPEM, jwt.ParseEdPublicKeyFromPEM)
	default:
		return fmt.Errorf("method %s is not served", p.method.Alg())
	}
}

// setPair parses the keys that are given. At least one must be, and two must
// belong together.
func setPair[Private, Public any](p *signed, private, public []byte, parsePrivate func([]byte) (Private, error), parsePublic func([]byte) (Public, error)) error {
	if len(private) == 0 && len(public) == 0 {
		return errors.New("give priv-key, or pub-key to check tokens only")
	}
	if len(public) > 0 {
		key, err := parsePublic(public)
		if err != nil {
			return fmt.Errorf("pub-key: %w", err)
		}
		p.public = key
	}
	if len(private) == 0 {
		return nil
	}
	key, err := parsePrivate(private)
	if err != nil {
		return fmt.Errorf("priv-key: %w", err)
	}
	signer, ok := any(key).(crypto.Signer)
	if !ok {
		return fmt.Errorf("priv-key: a %T does not sign", key)
	}
	own, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if p.public != nil && (!ok || !own.Equal(p.public)) {
		return errors.New("priv-key and pub-key do not belong together")
	}
	p.private, p.public = key, signer.Public()
	return nil
}

func (p *signed) Issue(id auth.Identity) (token string, err error) {
	if p.private == nil {
		return "", ErrVerifyOnly
	}
	token, err = jwt.NewWithClaims(p.method, jwt.MapClaims{
		claimUser:     id.User,
		claimRevision: id.Revision,
		"exp":         p.now().Add(p.ttl).Unix(),
	}).SignedString(p.private)
	if err != nil {
		return "", fmt.Errorf("token: sign: %w", err)
	}
	return token, nil
}

func (p *signed) Replicated() bool { return false }

func (p *signed) Identify(token string, _ uint64) (auth.Identity, bool) {
	parsed, err := p.parser.Parse(token, func(*jwt.Token) (any, error) { return p.public, nil })
	if err != nil {
		return auth.Identity{}, false
	}
	claims, _ := parsed.Claims.(jwt.MapClaims)
	user, isText := claims[claimUser].(string)
	revision, isNumber := claims[claimRevision].(float64)
	if !isText || !isNumber || !(revision >= 0 && revision <= maxRevision) {
		return auth.Identity{}, false
	}
	return auth.Identity{User: user, Revision: uint64(revision)}, true
}
