package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/coordd/coordd/kvcore/auth"
)

var alice = auth.Identity{User: "alice", Revision: 7}

// clock is a time that tests move.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func newClock() *clock { return &clock{time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)} }

func TestParse(t *testing.T) {
	for setting, wrong := range map[string]string{
		"simple":                "",
		"jwt,sign-method=RS256": "",
		"jwt,ttl=1h,sign-method=HS512,priv-key=a,pub-key=b": "",
		"jwt,sign-method=EdDSA":                             "",
		"":                                                  "kind",
		"none":                                              "kind",
		"simple,ttl=1m":                                     "have none",
		"jwt":                                               "sign-method",
		"jwt,sign-method=none":                              "sign-method=none",
		"jwt,sign-method=RS1":                               "sign-method=RS1",
		"jwt,sign-method":                                   "name=value",
		"jwt,sign-method=":                                  "name=value",
		"jwt,sign-method=RS256,ttl=0":                       "ttl=0",
		"jwt,sign-method=RS256,ttl=x":                       "ttl=x",
		"jwt,sign-method=RS256,sign-method=RS256": "once",
		"jwt,sign-method=RS256,private-key=a":     "there are sign-method",
	} {
		_, err := Parse(setting)
		if wrong == "" && err != nil || wrong != "" && (!errors.Is(err, ErrOption) || !strings.Contains(err.Error(), wrong)) {
			t.Errorf("%q: %v, want %q in it", setting, err, wrong)
		}
	}
}

func openSetting(t *testing.T, c *clock, setting string) Provider {
	t.Helper()
	o, err := Parse(setting)
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.Open(new(auth.Tokens), time.Minute, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantIdentity(t *testing.T, p Provider, token string, want auth.Identity) {
	t.Helper()
	if got, ok := p.Identify(token, 9); got != want || ok != (want != auth.Identity{}) {
		t.Errorf("%.20s… stands for %v (%t), want %v", token, got, ok, want)
	}
}

func TestSimpleTokens(t *testing.T) {
	c := newClock()
	tokens := new(auth.Tokens)
	p, err := Options{}.Open(tokens, time.Minute, c.now)
	if err != nil || !p.Replicated() {
		t.Fatal(err, p.Replicated())
	}
	token, err := p.Issue(alice)
	if err != nil {
		t.Fatal(err)
	}
	other, err := p.Issue(alice)
	if err != nil || other == token {
		t.Fatalf("tokens %s and %s, %v", token, other, err)
	}
	wantIdentity(t, p, token, auth.Identity{}) // members do not know it yet
	tokens.Assign(Hash(token), "alice")
	wantIdentity(t, p, token, auth.Identity{User: "alice", Revision: 9})
	for _, wrong := range []string{"", other, token + "x", strings.ToLower(token)} {
		wantIdentity(t, p, wrong, auth.Identity{})
	}
	c.Time = c.Add(time.Minute)
	wantIdentity(t, p, token, auth.Identity{User: "alice", Revision: 9})
	c.Time = c.Add(time.Minute + 1)
	wantIdentity(t, p, token, auth.Identity{})
}

// keyFiles writes a key pair in PEM.
func keyFiles(t *testing.T, private crypto.Signer) (privateFile, publicFile string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return keyFile(t, "PRIVATE KEY", der), keyFile(t, "PUBLIC KEY", public)
}

func keyFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newKey(t *testing.T, method string) crypto.Signer {
	t.Helper()
	curves := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}
	var key crypto.Signer
	var err error
	switch {
	case method == "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case curves[method] != nil:
		key, err = ecdsa.GenerateKey(curves[method], rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSignedTokens(t *testing.T) {
	for _, method := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			private, public := keyFiles(t, newKey(t, method))
			setting := "jwt,ttl=1h,sign-method=" + method
			p := openSetting(t, c, setting+",priv-key="+private)
			token, err := p.Issue(alice)
			if err != nil || p.Replicated() {
				t.Fatal(err, p.Replicated())
			}
			wantIdentity(t, p, token, alice)
			wantIdentity(t, p, token[:len(token)-4]+"AAAA", auth.Identity{})
			if !strings.HasPrefix(method, "HS") {
				both := openSetting(t, c, setting+",pub-key="+public+",priv-key="+private)
				wantIdentity(t, both, token, alice)
				checker := openSetting(t, c, setting+",pub-key="+public)
				wantIdentity(t, checker, token, alice)
				if _, err := checker.Issue(alice); !errors.Is(err, ErrVerifyOnly) {
					t.Errorf("signed with a public key: %v", err)
				}
			}
			c.Time = c.Add(time.Hour)
			wantIdentity(t, p, token, auth.Identity{})
		})
	}
}

func TestKeysMustFit(t *testing.T) {
	rsaKey, rsaPublic := keyFiles(t, newKey(t, "RS256"))
	_, otherPublic := keyFiles(t, newKey(t, "RS256"))
	p384, _ := keyFiles(t, newKey(t, "ES384"))
	for _, setting := range []string{
		"sign-method=RS256",
		"sign-method=HS256",
		"sign-method=HS256,pub-key=" + rsaPublic,
		"sign-method=RS256,priv-key=" + rsaPublic,
		"sign-method=RS256,pub-key=" + rsaKey,
		"sign-method=RS256,priv-key=" + rsaKey + ",pub-key=" + otherPublic,
		"sign-method=ES256,priv-key=" + rsaKey,
		"sign-method=ES256,priv-key=" + p384,
		"sign-method=EdDSA,priv-key=" + rsaKey,
		"sign-method=RS256,priv-key=/does/not/exist",
	} {
		o, err := Parse("jwt," + setting)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Open(nil, 0, time.Now); !errors.Is(err, ErrOption) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

// Who knows the public key alone must not be able to make tokens.
func TestForgedTokensAreRefused(t *testing.T) {
	c := newClock()
	key := newKey(t, "RS256")
	private, publicFile := keyFiles(t, key)
	p := openSetting(t, c, "jwt,sign-method=RS256,priv-key="+private)
	public, err := os.ReadFile(publicFile)
	if err != nil {
		t.Fatal(err)
	}
	claims := func() jwt.MapClaims {
		return jwt.MapClaims{"username": "root", "revision": 1, "exp": c.Add(time.Hour).Unix()}
	}
	sign := func(method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
		t.Helper()
		token, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	with := func(name string, value any) jwt.MapClaims {
		changed := claims()
		if changed[name] = value; value == nil {
			delete(changed, name)
		}
		return changed
	}
	wantIdentity(t, p, sign(jwt.SigningMethodRS256, key, claims()), auth.Identity{User: "root", Revision: 1})
	for name, token := range map[string]string{
		"signed with the public key as a secret": sign(jwt.SigningMethodHS256, public, claims()),
		"not signed":                             sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims()),
		"another method of the same key":         sign(jwt.SigningMethodRS512, key, claims()),
		"another key":                            sign(jwt.SigningMethodRS256, newKey(t, "RS256"), claims()),
		"expired":                                sign(jwt.SigningMethodRS256, key, with("exp", c.Add(-1).Unix())),
		"no user":                                sign(jwt.SigningMethodRS256, key, with("username", nil)),
		"a number for a user":                    sign(jwt.SigningMethodRS256, key, with("username", 1)),
		"no revision":                            sign(jwt.SigningMethodRS256, key, with("revision", nil)),
		"a negative revision":                    sign(jwt.SigningMethodRS256, key, with("revision", -1)),
		"a revision without bounds":              sign(jwt.SigningMethodRS256, key, with("revision", 1e300)),
		"nothing":                                "",
		"dots":                                   "..",
	} {
		if id, ok := p.Identify(token, 9); ok {
			t.Errorf("%s: stands for %v", name, id)
		}
	}
}

// FuzzIdentify: no token makes a provider fail, and none can be made from
// others that stands for someone else.
func FuzzIdentify(f *testing.F) {
	c := newClock()
	secret := filepath.Join(f.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		f.Fatal(err)
	}
	var providers []Provider
	for _, setting := range []string{"simple", "jwt,sign-method=HS256,priv-key=" + secret} {
		o, err := Parse(setting)
		if err != nil {
			f.Fatal(err)
		}
		p, err := o.Open(new(auth.Tokens), time.Minute, c.now)
		if err != nil {
			f.Fatal(err)
		}
		token, err := p.Issue(alice)
		if err != nil {
			f.Fatal(err)
		}
		providers = append(providers, p)
		f.Add(token)
		f.Add(token[:len(token)/2])
	}
	f.Add("eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6InJvb3QiLCJyZXZpc2lvbiI6MX0.")
	f.Fuzz(func(t *testing.T, token string) {
		for _, p := range providers {
			if id, ok := p.Identify(token, 9); ok && (id != alice || p.Replicated()) {
				t.Errorf("%q stands for %v", token, id)
			}
		}
	})
}

// FuzzParse: settings are parsed or refused.
func FuzzParse(f *testing.F) {
	f.Add("jwt,sign-method=RS256,ttl=5m,pub-key=a,priv-key=b")
	f.Add("simple")
	f.Fuzz(func(t *testing.T, setting string) {
		if o, err := Parse(setting); err == nil && setting != "simple" && signingMethod(o.method) == nil {
			t.Errorf("%q is parsed to %s", setting, fmt.Sprint(o))
		}
	})
}
