package api

import (
	"crypto"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"parley/model"
)

// issuer publishes a JWKS and counts who asks for it.
type issuer struct {
	*httptest.Server
	mu    sync.Mutex
	keys  []any
	down  bool
	asked atomic.Int32
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	is := &issuer{}
	is.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		is.asked.Add(1)
		is.mu.Lock()
		defer is.mu.Unlock()
		if is.down {
			http.Error(w, "away", http.StatusBadGateway)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"keys": is.keys})
	}))
	t.Cleanup(is.Close)
	return is
}

func (is *issuer) publish(keys ...any) {
	is.mu.Lock()
	defer is.mu.Unlock()
	is.keys = keys
}

func (is *issuer) setDown(down bool) {
	is.mu.Lock()
	defer is.mu.Unlock()
	is.down = down
}

func jwk(t *testing.T, kid string, signer crypto.Signer) map[string]any {
	t.Helper()
	k, err := jwkset.NewJWKFromKey(signer.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(k.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func with(m map[string]any, name string, value any) map[string]any {
	c := map[string]any{name: value}
	for k, v := range m {
		if k != name {
			c[k] = v
		}
	}
	return c
}

func TestJWKSKeys(t *testing.T) {
	s, is := signers(), newIssuer(t)
	secret := map[string]any{"kty": "oct", "kid": "oct", "k": "YW4tb2xkLXNlY3JldC1vZi1lbm91Z2gtYnl0ZXMtZm9yLWFsbA"}
	is.publish(
		jwk(t, "r", s.rsa), jwk(t, "e", s.ec), jwk(t, "d", s.ed), secret, "rubbish", map[string]any{"kty": "XYZ"},
		with(jwk(t, "enc", s.rsa2), "use", "enc"), with(jwk(t, "ps", s.rsa2), "alg", "PS256"), jwk(t, "", s.ec2),
	)
	keys := testKeys(t, KeyConfig{JWKSURL: is.URL, Secrets: []Secret{{Kid: "local", Value: secretA}}})
	if is.asked.Load() != 0 {
		t.Error("fetched before anybody asked")
	}
	for _, c := range []struct {
		name   string
		method jwt.SigningMethod
		kid    any
		signer any
		ok     bool
	}{
		{"local", jwt.SigningMethodHS256, "local", []byte(secretA), true},
		{"RSA", jwt.SigningMethodRS256, "r", s.rsa, true},
		{"EC", jwt.SigningMethodES256, "e", s.ec, true},
		{"Ed25519", jwt.SigningMethodEdDSA, "d", s.ed, true},
		{"without kid", jwt.SigningMethodES256, nil, s.ec, true},
		{"unknown kid, nameless key", jwt.SigningMethodES256, "new", s.ec2, true},
		{"unknown kid, named key", jwt.SigningMethodES256, "new", s.ec, false},
		{"another algorithm's kid", jwt.SigningMethodES256, "r", s.ec, false},
		{"a key for encryption", jwt.SigningMethodRS256, "enc", s.rsa2, false},
		{"a key for PS256", jwt.SigningMethodRS256, "ps", s.rsa2, false},
		{"a published secret", jwt.SigningMethodHS256, "oct", []byte(secretA), false},
	} {
		_, err := keys.verify(sign(t, c.method, c.kid, c.signer, claimsOf("Tom")))
		if c.ok != (err == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestJWKSRotation(t *testing.T) {
	s, is := signers(), newIssuer(t)
	is.publish(jwk(t, "one", s.ec))
	keys := testKeys(t, KeyConfig{JWKSURL: is.URL})
	now := time.Now()
	keys.now = func() time.Time { return now }
	one := sign(t, jwt.SigningMethodES256, "one", s.ec, claimsOf("Tom"))
	two := sign(t, jwt.SigningMethodES256, "two", s.ec2, claimsOf("Tom"))
	odd := sign(t, jwt.SigningMethodES256, "odd", s.ec2, claimsOf("Tom"))

	check := func(when, token string, ok bool, asked int32) {
		t.Helper()
		if _, err := keys.verify(token); ok != (err == nil) {
			t.Errorf("%s: %v", when, err)
		}
		if n := is.asked.Load(); n != asked {
			t.Errorf("%s: asked %d times, want %d", when, n, asked)
		}
	}
	check("first", one, true, 1)
	check("again", one, true, 1)
	is.publish(jwk(t, "one", s.ec), jwk(t, "two", s.ec2))
	check("a new kid is looked for at once", two, true, 2)
	check("but only once a minute", odd, false, 2)
	now = now.Add(61 * time.Second)
	check("a minute later", odd, false, 3)
	check("both are good", one, true, 3)
	is.setDown(true)
	now = now.Add(61 * time.Second)
	check("away", odd, false, 4)
	check("what was seen stays good", two, true, 4)
}

func TestWithdrawnJWKGoes(t *testing.T) {
	s, is := signers(), newIssuer(t)
	is.publish(jwk(t, "one", s.ec))
	keys := testKeys(t, KeyConfig{JWKSURL: is.URL})
	var ahead atomic.Int64
	keys.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	one := sign(t, jwt.SigningMethodES256, "one", s.ec, claimsOf("Tom"))
	if _, err := keys.verify(one); err != nil {
		t.Fatal(err)
	}
	is.publish(jwk(t, "two", s.ec2))
	ahead.Store(int64(jwksStaleAfter + time.Second))
	if _, err := keys.verify(one); err != nil {
		t.Errorf("the fetch in the background is waited for: %v", err)
	}
	keys.remote.fetching.Lock() // until it has ended
	keys.remote.fetching.Unlock()
	waitFor(t, func() bool { return keys.remote.state().attempts == 2 })
	ahead.Add(int64(maxTokenAge))
	if _, err := keys.verify(one); !model.IsCode(err, model.Unauthenticated) {
		t.Errorf("a withdrawn key is still good: %v", err)
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

func TestJWKSAway(t *testing.T) {
	s, is := signers(), newIssuer(t)
	is.setDown(true)
	is.publish(jwk(t, "one", s.ec))
	keys := testKeys(t, KeyConfig{JWKSURL: is.URL, Secrets: []Secret{{Value: secretA}}})
	now := time.Now()
	keys.now = func() time.Time { return now }
	one := sign(t, jwt.SigningMethodES256, "one", s.ec, claimsOf("Tom"))

	if _, err := keys.verify(clientToken(t, "Tom")); err != nil {
		t.Errorf("a local key needs no JWKS: %v", err)
	}
	if _, err := keys.verify(one); !model.IsCode(err, model.Unavailable) {
		t.Errorf("nobody can tell yet, but the answer is %v", err)
	}
	if _, err := keys.verify("rubbish"); !model.IsCode(err, model.Unauthenticated) {
		t.Errorf("rubbish is rubbish without any key, but the answer is %v", err)
	}
	if n := is.asked.Load(); n != 1 {
		t.Errorf("asked %d times at once", n)
	}
	srv := testServer(t, Config{Keys: keys}, nil)
	res := call(t, srv, "GET", "/v1/whoami", "Authorization: Bearer "+one)
	wantProblem(t, res, model.Unavailable)
	res = call(t, srv, "GET", "/v1/events", "Authorization: Bearer "+one)
	wantRetry(t, res)

	is.setDown(false)
	now = now.Add(jwksRetryEvery)
	if _, err := keys.verify(one); err != nil {
		t.Errorf("back again: %v", err)
	}
}

func TestJWKSIsFetchedOnceForMany(t *testing.T) {
	s, is := signers(), newIssuer(t)
	is.publish(jwk(t, "one", s.ec))
	keys := testKeys(t, KeyConfig{JWKSURL: is.URL})
	one := sign(t, jwt.SigningMethodES256, "one", s.ec, claimsOf("Tom"))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := keys.verify(one); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := is.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
