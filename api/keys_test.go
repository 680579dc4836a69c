package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/model"
)

func TestNewKeysNamesEveryProblem(t *testing.T) {
	private, err := x509.MarshalPKCS8PrivateKey(signers().ec)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	two := publicPEM(t, signers().ec)
	data, err := os.ReadFile(two)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(two, append(data, data...), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = NewKeys(KeyConfig{
		Secrets: []Secret{{Value: "short-secret"}, {Kid: "k", Value: secretA}, {Kid: "k", Value: secretB}},
		PublicKeys: []PublicKey{
			{Path: "/nowhere/key.pem"}, {Path: pemFile(t, "PRIVATE KEY", private)}, {Path: pemFile(t, "EGG", nil)},
			{Path: publicPEM(t, small)}, {Path: publicPEM(t, p384)}, {Path: two},
		},
		JWKSURL: "http://keys.example/jwks.json",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"secret 1 has 12 bytes", `named "k"`, "/nowhere/key.pem", "private key", `"EGG"`, "1024 bits", "P-384", "more than one PEM block", "must be https"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in:\n%v", want, err)
		}
	}
	for _, secret := range []string{"short-secret", secretA} {
		if strings.Contains(err.Error(), secret) {
			t.Error("a secret is in the error")
		}
	}
	if _, err := NewKeys(KeyConfig{}); err == nil {
		t.Error("no key at all is accepted")
	}
	for _, url := range []string{"https://keys.example/jwks.json", "http://127.0.0.1:99/", "http://localhost/x", "http://[::1]:1/"} {
		if _, err := NewKeys(KeyConfig{JWKSURL: url}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestAlgorithms(t *testing.T) {
	s := signers()
	pkcs1 := pemFile(t, "RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&s.rsa.PublicKey))
	keys := testKeys(t, KeyConfig{
		Secrets:    []Secret{{Value: secretA}},
		PublicKeys: []PublicKey{{Path: pkcs1}, {Path: publicPEM(t, s.ec)}, {Path: publicPEM(t, s.ed)}},
	})
	rsaDER, err := x509.MarshalPKIXPublicKey(&s.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	rsaPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: rsaDER})
	none := sign(t, jwt.SigningMethodNone, nil, jwt.UnsafeAllowNoneSignatureType, claimsOf("Tom"))
	good := hs256(t, secretA, claimsOf("Tom"))
	for _, c := range []struct {
		name, token string
		ok          bool
	}{
		{"HS256", good, true},
		{"RS256", sign(t, jwt.SigningMethodRS256, nil, s.rsa, claimsOf("Tom")), true},
		{"ES256", sign(t, jwt.SigningMethodES256, nil, s.ec, claimsOf("Tom")), true},
		{"EdDSA", sign(t, jwt.SigningMethodEdDSA, nil, s.ed, claimsOf("Tom")), true},
		{"none", none, false},
		{"none in other letters", strings.Replace(none, none[:strings.Index(none, ".")], base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"nOnE"}`)), 1), false},
		{"HS384", sign(t, jwt.SigningMethodHS384, nil, []byte(secretA), claimsOf("Tom")), false},
		{"HS512", sign(t, jwt.SigningMethodHS512, nil, []byte(secretA), claimsOf("Tom")), false},
		{"RS512", sign(t, jwt.SigningMethodRS512, nil, s.rsa, claimsOf("Tom")), false},
		{"PS256", sign(t, jwt.SigningMethodPS256, nil, s.rsa, claimsOf("Tom")), false},
		{"another secret", hs256(t, secretC, claimsOf("Tom")), false},
		{"another RSA key", sign(t, jwt.SigningMethodRS256, nil, s.rsa2, claimsOf("Tom")), false},
		{"another EC key", sign(t, jwt.SigningMethodES256, nil, s.ec2, claimsOf("Tom")), false},
		{"another Ed25519 key", sign(t, jwt.SigningMethodEdDSA, nil, s.ed2, claimsOf("Tom")), false},
		{"public key as secret, PEM", sign(t, jwt.SigningMethodHS256, nil, rsaPEM, claimsOf("Tom")), false},
		{"public key as secret, DER", sign(t, jwt.SigningMethodHS256, nil, rsaDER, claimsOf("Tom")), false},
		{"signature cut", good[:len(good)-4], false},
		{"no signature", good[:strings.LastIndex(good, ".")+1], false},
		{"two parts", good[:strings.LastIndex(good, ".")], false},
		{"four parts", good + ".x", false},
		{"padding", good + "=", false},
		{"empty", "", false},
		{"dots", "..", false},
		{"garbage", "hello", false},
		{"very long", strings.Repeat("x", 1<<20), false},
	} {
		got, err := keys.verify(c.token)
		if c.ok && (err != nil || got.subject != "Tom") {
			t.Errorf("%s: refused: %v", c.name, err)
		}
		if !c.ok && !model.IsCode(err, model.Unauthenticated) {
			t.Errorf("%s: got %v, %v", c.name, got, err)
		}
		if err != nil && len(c.token) > 20 && strings.Contains(err.Error(), c.token[:20]) {
			t.Errorf("%s: the token is in the error", c.name)
		}
	}
}

func TestKid(t *testing.T) {
	s := signers()
	keys := testKeys(t, KeyConfig{
		Secrets:    []Secret{{Kid: "a", Value: secretA}, {Kid: "b", Value: secretB}, {Value: secretC}},
		PublicKeys: []PublicKey{{Kid: "r", Path: publicPEM(t, s.rsa)}, {Path: publicPEM(t, s.rsa2)}},
	})
	hs := jwt.SigningMethodHS256
	for _, c := range []struct {
		name   string
		method jwt.SigningMethod
		kid    any
		signer any
		ok     bool
	}{
		{"named", hs, "a", []byte(secretA), true},
		{"named, signed with another", hs, "a", []byte(secretB), false},
		{"named, signed with a nameless one", hs, "a", []byte(secretC), false},
		{"unknown, nameless", hs, "z", []byte(secretC), true},
		{"unknown, signed with a named one", hs, "z", []byte(secretA), false},
		{"none, named a", hs, nil, []byte(secretA), true},
		{"none, named b", hs, nil, []byte(secretB), true},
		{"none, nameless", hs, nil, []byte(secretC), true},
		{"empty counts as unknown", hs, "", []byte(secretA), false},
		{"empty, nameless", hs, "", []byte(secretC), true},
		{"of another algorithm", hs, "r", []byte(secretA), false},
		{"RSA named", jwt.SigningMethodRS256, "r", s.rsa, true},
		{"RSA unknown", jwt.SigningMethodRS256, "q", s.rsa2, true},
		{"RSA unknown, signed with the named one", jwt.SigningMethodRS256, "q", s.rsa, false},
		{"RSA with a secret's kid", jwt.SigningMethodRS256, "a", s.rsa2, false},
		{"not a string", hs, 7, []byte(secretC), false},
		{"null", hs, jwt.ClaimStrings(nil), []byte(secretC), false},
	} {
		_, err := keys.verify(sign(t, c.method, c.kid, c.signer, claimsOf("Tom")))
		if c.ok != (err == nil) {
			t.Errorf("kid %s: %v", c.name, err)
		}
	}

	critical := jwt.NewWithClaims(hs, claimsOf("Tom"))
	critical.Header["crit"] = []string{"exp"}
	text, err := critical.SignedString([]byte(secretC))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.verify(text); err == nil {
		t.Error("a critical header that we do not understand is accepted")
	}
}

func TestClaims(t *testing.T) {
	keys := testKeys(t, KeyConfig{})
	strict := testKeys(t, KeyConfig{Secrets: []Secret{{Value: secretA}}, Issuer: "https://app.example", Audience: "parley"})
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for _, c := range []struct {
		name   string
		keys   *Keys
		claims jwt.MapClaims
		ok     bool
	}{
		{"plain", keys, claimsOf("Tom"), true},
		{"no exp", keys, claimsOf("Tom", "exp", nil), false},
		{"exp a string", keys, claimsOf("Tom", "exp", "tomorrow"), false},
		{"exp beyond all time", keys, claimsOf("Tom", "exp", 1e300), false},
		{"expired within the leeway", keys, claimsOf("Tom", "exp", at(-20*time.Second)), true},
		{"expired", keys, claimsOf("Tom", "exp", at(-40*time.Second)), false},
		{"nbf within the leeway", keys, claimsOf("Tom", "nbf", at(20*time.Second)), true},
		{"nbf ahead", keys, claimsOf("Tom", "nbf", at(40*time.Second)), false},
		{"iat within the leeway", keys, claimsOf("Tom", "iat", at(20*time.Second)), true},
		{"iat ahead", keys, claimsOf("Tom", "iat", at(40*time.Second)), false},
		{"no iat", keys, claimsOf("Tom", "iat", nil), true},
		{"fractions", keys, claimsOf("Tom", "exp", float64(at(time.Hour))+.5, "iat", float64(at(-time.Hour))+.5), true},
		{"no sub", keys, claimsOf("", "sub", nil), false},
		{"empty sub", keys, claimsOf(""), false},
		{"sub a number", keys, claimsOf("", "sub", 7), false},
		{"sub .", keys, claimsOf("."), false},
		{"sub ..", keys, claimsOf(".."), false},
		{"sub with space in front", keys, claimsOf(" Tom"), false},
		{"sub with control character", keys, claimsOf("T\nom"), false},
		{"sub of 64", keys, claimsOf(strings.Repeat("小", 64)), true},
		{"sub of 65", keys, claimsOf(strings.Repeat("x", 65)), false},
		{"server without sub", keys, claimsOf("", "sub", nil, "scope", "server"), true},
		{"server with any sub", keys, claimsOf(" job \n", "scope", "a server b"), true},
		{"server in part of a word alone", keys, claimsOf("", "sub", nil, "scope", "servers no-server"), false},
		{"scope a list", keys, claimsOf("Tom", "scope", []string{"server"}), false},
		{"grant", keys, claimsOf("Tom", "op", "invite"), false},
		{"grant with scope", keys, claimsOf("Tom", "op", "", "scope", "server"), false},
		{"op null", keys, claimsOf("Tom", "op", jwt.ClaimStrings(nil)), false},
		{"iss and aud", strict, claimsOf("Tom", "iss", "https://app.example", "aud", "parley"), true},
		{"aud among others", strict, claimsOf("Tom", "iss", "https://app.example", "aud", []string{"x", "parley"}), true},
		{"no iss", strict, claimsOf("Tom", "aud", "parley"), false},
		{"wrong iss", strict, claimsOf("Tom", "iss", "https://app.example.org", "aud", "parley"), false},
		{"no aud", strict, claimsOf("Tom", "iss", "https://app.example"), false},
		{"wrong aud", strict, claimsOf("Tom", "iss", "https://app.example", "aud", "other"), false},
	} {
		_, err := c.keys.verify(hs256(t, secretA, c.claims))
		if c.ok != (err == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// rawClaims signs claims byte for byte.
func rawClaims(t testing.TB, claims string) string {
	t.Helper()
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(`{"alg":"HS256"}`)) + "." + enc([]byte(claims))
	sig, err := jwt.SigningMethodHS256.Sign(text, []byte(secretA))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + enc(sig)
}

func TestClaimsAreReadStrictly(t *testing.T) {
	keys := testKeys(t, KeyConfig{})
	if _, err := keys.verify(rawClaims(t, `{"sub":"Tom","exp":9999999999,"other":{"a":[1]}}`)); err != nil {
		t.Fatal(err)
	}
	for _, claims := range []string{
		`null`, `[]`, `7`, ``, `{`, `{"sub":"Tom","exp":9999999999}{}`,
		`{"sub":"Tom","sub":"Jerry","exp":9999999999}`,
		`{"SUB":"Tom","exp":9999999999}`,
		"{\"sub\":\"T\xff\",\"exp\":9999999999}",
		`{"sub":"T\ud800","exp":9999999999}`,
		`{"sub":"Tom","exp":9999999999,"op":null}`,
		`{"sub":"Tom","exp":null}`,
	} {
		if got, err := keys.verify(rawClaims(t, claims)); !model.IsCode(err, model.Unauthenticated) {
			t.Errorf("%s: %v, %v", claims, got, err)
		}
	}
}

func TestTokenCacheForgets(t *testing.T) {
	keys := testKeys(t, KeyConfig{})
	now := time.Now()
	keys.now = func() time.Time { return now }
	short := hs256(t, secretA, claimsOf("Tom", "exp", now.Add(10*time.Second).Unix()))
	long := hs256(t, secretA, claimsOf("Tom"))
	for _, token := range []string{short, long} {
		if _, err := keys.verify(token); err != nil {
			t.Fatal(err)
		}
	}
	keys.local = nil // whatever is still accepted comes from the cache
	now = now.Add(25 * time.Second)
	for _, token := range []string{short, long} {
		if _, err := keys.verify(token); err != nil {
			t.Errorf("after 25 s: %v", err)
		}
	}
	now = now.Add(17 * time.Second) // beyond exp and leeway of the short one
	if _, err := keys.verify(short); err == nil {
		t.Error("a cached token outlives its exp")
	}
	if _, err := keys.verify(long); err != nil {
		t.Errorf("after 42 s: %v", err)
	}
	now = now.Add(20 * time.Second)
	if _, err := keys.verify(long); err == nil {
		t.Error("a cached token is accepted for more than a minute after its key has gone")
	}
}

func TestTokenCacheIsBounded(t *testing.T) {
	var c tokenCache
	now := time.Now()
	for i := range 3 * generationCapacity {
		c.put([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, token{}, now)
	}
	if n := len(c.young) + len(c.old); n > 2*generationCapacity {
		t.Errorf("%d tokens are held", n)
	}
}
