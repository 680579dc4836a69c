package api

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	minSecretBytes = 32
	minRSABits     = 2048 // RFC 7518, section 3.3
	leeway         = 30 * time.Second
)

// Secret is a shared secret for HS256. Kid may be empty.
type Secret struct{ Kid, Value string }

// PublicKey is a PEM file with an RSA, P-256 or Ed25519 public key, or a certificate of one. Kid may be empty.
type PublicKey struct{ Kid, Path string }

// KeyConfig says whose tokens are believed.
type KeyConfig struct {
	Secrets    []Secret
	PublicKeys []PublicKey
	JWKSURL    string // https, or http on loopback; fetched when the first token asks for it
	Issuer     string // checked when set
	Audience   string // checked when set
	Log        *slog.Logger
}

// Keys verifies tokens. It is safe for concurrent use and starts no goroutine
// but the occasional fetch of a JWKS, which ends by itself.
type Keys struct {
	local  keySet
	remote *jwks // nil: none
	parser *jwt.Parser
	cache  tokenCache
	now    func() time.Time
}

// key is a verification key, bound to the one algorithm it may be used with.
type key struct {
	kid   string // empty: nameless
	alg   string
	value any
}

type keySet []key

// NewKeys reads the keys of c. Its error names every problem, and no secret.
func NewKeys(c KeyConfig) (*Keys, error) {
	k := &Keys{now: time.Now}
	var errs []error
	for i, s := range c.Secrets {
		if len(s.Value) < minSecretBytes {
			errs = append(errs, fmt.Errorf("secret %d has %d bytes, at least %d are needed", i+1, len(s.Value), minSecretBytes))
		}
		k.local = append(k.local, key{kid: s.Kid, alg: jwt.SigningMethodHS256.Alg(), value: []byte(s.Value)})
	}
	for _, p := range c.PublicKeys {
		read, err := readPublicKey(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		k.local = append(k.local, read)
	}
	if kid, twice := k.local.repeatedKid(); twice {
		errs = append(errs, fmt.Errorf("two keys are named %q: a kid must name one key", kid))
	}
	if c.JWKSURL != "" {
		if err := checkJWKSURL(c.JWKSURL); err != nil {
			errs = append(errs, err)
		}
		log := cmp.Or(c.Log, slog.New(slog.DiscardHandler))
		k.remote = newJWKS(c.JWKSURL, log, func() time.Time { return k.now() })
	}
	if len(c.Secrets)+len(c.PublicKeys) == 0 && c.JWKSURL == "" {
		errs = append(errs, errors.New("no key to check tokens with: set a secret, a public key or a JWKS URL"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	k.parser = newParser(c, func() time.Time { return k.now() })
	return k, nil
}

func newParser(c KeyConfig, now func() time.Time) *jwt.Parser {
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{
			jwt.SigningMethodHS256.Alg(), jwt.SigningMethodRS256.Alg(),
			jwt.SigningMethodES256.Alg(), jwt.SigningMethodEdDSA.Alg(),
		}),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway),
		jwt.WithTimeFunc(now), jwt.WithStrictDecoding(),
	}
	if c.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Issuer))
	}
	if c.Audience != "" {
		options = append(options, jwt.WithAudience(c.Audience))
	}
	return jwt.NewParser(options...)
}

// verify checks a token's signature and claims; whether it was revoked since is
// for the caller to ask. A token once found good is remembered for at most a
// minute, so that a withdrawn key stops working, and never beyond its exp.
func (k *Keys) verify(raw string) (token, error) {
	if len(raw) > maxTokenBytes {
		return token{}, unauthenticated("the token is longer than any of ours")
	}
	sum, now := sha256.Sum256([]byte(raw)), k.now()
	if t, ok := k.cache.get(sum, now); ok && now.Before(t.expiresAt.Add(leeway)) {
		return t, nil
	}
	t, err := k.check(raw)
	if err == nil {
		k.cache.put(sum, t, now)
	}
	return t, err
}

// candidates are the keys that a token's header lets it be checked with (API.md
// section 2). away is set when a JWKS that might hold more cannot be had.
func (k *Keys) candidates(t *jwt.Token) (found jwt.VerificationKeySet, away, err error) {
	if _, critical := t.Header["crit"]; critical {
		return found, nil, errors.New("critical extensions are not understood")
	}
	alg := t.Method.Alg()
	raw, named := t.Header["kid"]
	kid, isText := raw.(string)
	if named && !isText {
		return found, nil, errors.New("kid is not a string")
	}
	if named && k.local.has(kid) {
		return k.local.pick(alg, func(c key) bool { return c.kid == kid }), nil, nil
	}
	all := k.local
	if k.remote != nil {
		var set keySet
		set, away = k.remote.keys(kid, named)
		if named && set.has(kid) {
			return set.pick(alg, func(c key) bool { return c.kid == kid }), nil, nil
		}
		all = append(all[:len(all):len(all)], set...)
	}
	return all.pick(alg, func(c key) bool { return !named || c.kid == "" }), away, nil
}

// has reports whether kid names a key of the set; the empty kid names none.
func (s keySet) has(kid string) bool {
	for _, k := range s {
		if kid != "" && k.kid == kid {
			return true
		}
	}
	return false
}

func (s keySet) pick(alg string, wanted func(key) bool) (found jwt.VerificationKeySet) {
	for _, k := range s {
		if k.alg == alg && wanted(k) {
			found.Keys = append(found.Keys, k.value)
		}
	}
	return found
}

func (s keySet) repeatedKid() (string, bool) {
	seen := map[string]bool{}
	for _, k := range s {
		if k.kid != "" && seen[k.kid] {
			return k.kid, true
		}
		seen[k.kid] = true
	}
	return "", false
}

func readPublicKey(p PublicKey) (key, error) {
	data, err := os.ReadFile(p.Path)
	if err != nil {
		return key{}, fmt.Errorf("public key: %w", err)
	}
	block, rest := pem.Decode(data)
	if block == nil {
		return key{}, fmt.Errorf("public key %s: not a PEM file", p.Path)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return key{}, fmt.Errorf("public key %s: holds more than one PEM block, one is expected", p.Path)
	}
	value, err := parsePublicKey(block)
	if err != nil {
		return key{}, fmt.Errorf("public key %s: %w", p.Path, err)
	}
	alg, err := algorithmOf(value)
	if err != nil {
		return key{}, fmt.Errorf("public key %s: %w", p.Path, err)
	}
	return key{kid: p.Kid, alg: alg, value: value}, nil
}

func parsePublicKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
		return nil, errors.New("is a private key: keep that where tokens are signed, and give the public one here")
	default:
		return nil, fmt.Errorf("is a %q, not a public key", block.Type)
	}
}

// algorithmOf binds a public key to the only algorithm it may be used with.
func algorithmOf(public any) (string, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return "", fmt.Errorf("RSA key of %d bits, at least %d are needed", k.N.BitLen(), minRSABits)
		}
		return jwt.SigningMethodRS256.Alg(), nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return "", fmt.Errorf("EC key on curve %s, only P-256 (ES256) is supported", k.Curve.Params().Name)
		}
		return jwt.SigningMethodES256.Alg(), nil
	case ed25519.PublicKey:
		return jwt.SigningMethodEdDSA.Alg(), nil
	default:
		return "", fmt.Errorf("keys of type %T are not supported: use RSA, P-256 or Ed25519", public)
	}
}

// checkJWKSURL refuses what an onlooker on the way could answer in the issuer's stead.
func checkJWKSURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return errors.New("the JWKS URL is not an absolute URL")
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return nil
	}
	return errors.New("the JWKS URL must be https (http only on loopback)")
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
