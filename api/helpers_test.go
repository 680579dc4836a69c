package api

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/handlers"
	"parley/model"
)

const (
	secretA = "an-old-secret-of-enough-bytes-for-all"
	secretB = "a-new-secret-of-enough-bytes-for-all!"
	secretC = "somebody-elses-secret-of-enough-bytes"
)

// signers are made once: RSA keys take their time.
var signers = sync.OnceValue(func() (s struct {
	rsa, rsa2 *rsa.PrivateKey
	ec, ec2   *ecdsa.PrivateKey
	ed, ed2   ed25519.PrivateKey
}) {
	s.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	s.rsa2, _ = rsa.GenerateKey(rand.Reader, 2048)
	s.ec, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.ec2, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, s.ed, _ = ed25519.GenerateKey(rand.Reader)
	_, s.ed2, _ = ed25519.GenerateKey(rand.Reader)
	return s
})

func claimsOf(sub string, more ...any) jwt.MapClaims {
	c := jwt.MapClaims{"sub": sub, "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	for i := 0; i < len(more); i += 2 {
		if more[i+1] == nil {
			delete(c, more[i].(string))
		} else {
			c[more[i].(string)] = more[i+1]
		}
	}
	return c
}

func sign(t testing.TB, method jwt.SigningMethod, kid any, signer any, claims jwt.Claims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != nil {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(signer)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func hs256(t testing.TB, secret string, claims jwt.Claims) string {
	t.Helper()
	return sign(t, jwt.SigningMethodHS256, nil, []byte(secret), claims)
}

func clientToken(t testing.TB, client string) string { return hs256(t, secretA, claimsOf(client)) }

func serverToken(t testing.TB) string {
	return hs256(t, secretA, claimsOf("", "scope", "read server", "sub", nil))
}

func pemFile(t *testing.T, blockType string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func publicPEM(t *testing.T, signer crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pemFile(t, "PUBLIC KEY", der)
}

func testKeys(t testing.TB, c KeyConfig) *Keys {
	t.Helper()
	if len(c.Secrets)+len(c.PublicKeys) == 0 && c.JWKSURL == "" {
		c.Secrets = []Secret{{Value: secretA}}
	}
	k, err := NewKeys(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// testServer serves routes of the test's own beside those that need no handlers.
func testServer(t testing.TB, cfg Config, routes func(s *server) []*route) *server {
	t.Helper()
	if cfg.Keys == nil {
		cfg.Keys = testKeys(t, KeyConfig{})
	}
	s := newServer(cfg)
	list := []*route{
		get("/healthz", public(healthy)).quietly(),
		get("/readyz", public(s.ready)).quietly(),
		get("/problems/{code}", public(problemPage)),
		get("/v1/events", s.client(whoami)).streams(),
		get("/v1/whoami", s.client(whoami)),
		post("/v1/whoami", others, s.client(whoami)),
		post("/v1/send", sends, s.client(whoami)),
		put("/v1/server", s.serverOnly(whoami)),
		get("/v1/clients/{id}", s.client(whoami)),
		get("/v1/clients/{id}/kick", s.client(whoami)),
	}
	if routes != nil {
		list = append(list, routes(s)...)
	}
	s.handle(list)
	return s
}

type whoamiAnswer struct {
	Client, Session, ID string
	Server              bool
}

func whoami(w http.ResponseWriter, r *http.Request, caller model.Caller) error {
	return json.NewEncoder(w).Encode(whoamiAnswer{caller.Client, caller.Session, r.PathValue("id"), caller.Server})
}

// call sends one request; headers come as "Name: value".
func call(t testing.TB, h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// wantProblem checks everything that is true of every error, and returns the body.
func wantProblem(t testing.TB, res *httptest.ResponseRecorder, code model.Code) handlers.Problem {
	t.Helper()
	p, _ := model.ProblemOf(code)
	var got handlers.Problem
	dec := json.NewDecoder(bytes.NewReader(res.Body.Bytes()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil {
		t.Fatalf("status %d, not a problem: %v: %s", res.Code, err, res.Body)
	}
	if got.Code != code || res.Code != p.Status || got.Status != p.Status {
		t.Fatalf("answered %d %s (%s), want %d %s", res.Code, got.Code, got.Detail, p.Status, code)
	}
	if got.Type != "/problems/"+string(code) || got.Title != p.Title || got.Detail == "" {
		t.Errorf("incomplete problem %+v", got)
	}
	if ct := res.Header().Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("Content-Type %q", ct)
	}
	if id := res.Header().Get("X-Request-Id"); id == "" || id != got.RequestID {
		t.Errorf("X-Request-Id %q, in the body %q", id, got.RequestID)
	}
	if code == model.Unauthenticated && res.Header().Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("WWW-Authenticate %q", res.Header().Get("WWW-Authenticate"))
	}
	return got
}

func wantCaller(t testing.TB, res *httptest.ResponseRecorder) whoamiAnswer {
	t.Helper()
	if res.Code != http.StatusOK {
		t.Fatalf("answered %d: %s", res.Code, res.Body)
	}
	var got whoamiAnswer
	if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

// logTo returns a logger and what it wrote.
func logTo() (*slog.Logger, *lockedBuffer) {
	var b lockedBuffer
	return slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})), &b
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func redeemNothing(context.Context, string, string) (model.Caller, error) {
	return model.Caller{}, unauthenticated("no such ticket")
}
