package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// claimsOf checks a token's signature and returns its header and claims.
func claimsOf(t *testing.T, raw, secret string) (map[string]any, jwt.MapClaims) {
	t.Helper()
	claims := jwt.MapClaims{}
	tok, err := jwt.ParseWithClaims(strings.TrimSpace(raw), claims, func(*jwt.Token) (any, error) { return []byte(secret), nil })
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return tok.Header, claims
}

func TestToken(t *testing.T) {
	env := map[string]string{"PARLEY_JWT_SECRETS": "k1:" + longSecret + "," + strings.Repeat("x", 32), "PARLEY_JWT_ISSUER": "me", "PARLEY_JWT_AUDIENCE": "parley"}
	for _, tt := range []struct {
		name string
		args []string
		want jwt.MapClaims
		ttl  time.Duration
	}{
		{"client", []string{"--client", "Tom"}, jwt.MapClaims{"sub": "Tom"}, time.Hour},
		{"server", []string{"--server"}, jwt.MapClaims{"scope": "server"}, time.Hour},
		{"both", []string{"--client=Tom", "--server", "--ttl=10m"}, jwt.MapClaims{"sub": "Tom", "scope": "server"}, 10 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(t.Context(), append([]string{"token"}, tt.args...), environment(env), &out, &errs); code != 0 {
				t.Fatalf("exit code %d: %s", code, &errs)
			}
			header, got := claimsOf(t, out.String(), longSecret)
			if header["kid"] != "k1" {
				t.Errorf("header %v", header)
			}
			if ttl := got["exp"].(float64) - got["iat"].(float64); ttl != tt.ttl.Seconds() {
				t.Errorf("good for %v s", ttl)
			}
			delete(got, "exp")
			delete(got, "iat")
			tt.want["iss"], tt.want["aud"] = "me", "parley"
			if !maps.Equal(got, tt.want) {
				t.Errorf("claims %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTokenGrant(t *testing.T) {
	env := map[string]string{"PARLEY_JWT_SECRETS": longSecret, "PARLEY_JWT_ISSUER": "me"}
	for _, tt := range []struct {
		args string
		want string // the claims, or what the error names
		bad  bool
	}{
		{args: "--grant invite --conversation C --client Tom --members Tom,Mary", want: `{"cid":"C","iss":"me","life":3600,"mem":["Tom","Mary"],"op":"invite","sub":"Tom"}`},
		{args: "--grant invite --conversation C --client Tom --members Tom --jti X --ttl 6h", want: `{"cid":"C","iss":"me","jti":"X","life":21600,"mem":["Tom"],"op":"invite","sub":"Tom"}`},
		{args: "--grant create --client Tom", want: `{"iss":"me","life":3600,"mem":["Tom"],"op":"create","sub":"Tom"}`},
		{args: "--grant create --client Tom --members Mary,Tom,Mary --ttl 1m", want: `{"iss":"me","life":60,"mem":["Tom","Mary"],"op":"create","sub":"Tom"}`},
		{args: "--grant history --client Tom --conversation C", want: `{"cid":"C","iss":"me","life":3600,"op":"history","sub":"Tom"}`},
		{args: "--grant block --client Tom --members Mary", want: `{"iss":"me","life":3600,"mem":["Mary"],"op":"block","sub":"Tom"}`},
		{args: "--grant unblock --client Tom --conversation C", want: `{"cid":"C","iss":"me","life":3600,"op":"unblock","sub":"Tom"}`},

		{args: "--grant eat --client Tom", want: `--grant "eat" is none of create`, bad: true},
		{args: "--grant history --conversation C --server", want: "--grant and --server exclude", bad: true},
		{args: "--grant history --conversation C", want: "--client Tom", bad: true},
		{args: "--grant history --client Tom", want: "--conversation ID", bad: true},
		{args: "--grant history --client Tom --conversation C --members Tom", want: "--members", bad: true},
		{args: "--grant create --client Tom --conversation C", want: "--conversation", bad: true},
		{args: "--grant kick --client Tom --conversation C", want: "--members Mary", bad: true},
		{args: "--grant block --client Tom", want: "--members or both", bad: true},
		{args: "--grant kick --client Tom --members Mary", want: "--conversation ID", bad: true},
		{args: "--grant kick --client Tom --conversation C --members Mary,..", want: `--members: ".."`, bad: true},
		{args: "--grant kick --client Tom --conversation C --members Mary --ttl 6h1s", want: "6h at most", bad: true},
		{args: "--client Tom --members Mary", want: "--members is for a grant", bad: true},
		{args: "--server --jti X --conversation C", want: "--jti is for a grant", bad: true},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"token"}, strings.Fields(tt.args)...), environment(env), &out, &errs)
		if tt.bad {
			if code != 2 || !strings.Contains(errs.String(), tt.want) || out.Len() > 0 {
				t.Errorf("%s: exit code %d: %s%s", tt.args, code, &errs, &out)
			}
			continue
		}
		if code != 0 {
			t.Errorf("%s: exit code %d: %s", tt.args, code, &errs)
			continue
		}
		_, got := claimsOf(t, out.String(), longSecret)
		got["life"] = got["exp"].(float64) - got["iat"].(float64)
		delete(got, "iat")
		delete(got, "exp")
		if b, err := json.Marshal(got); err != nil || string(b) != tt.want {
			t.Errorf("%s: %s, want %s", tt.args, b, tt.want)
		}
	}
}

func TestTokenWithoutSecret(t *testing.T) {
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"token", "--client=Tom"}, environment(map[string]string{"PARLEY_JWKS_URL": "https://id.example/keys"}), &out, &errs)
	if code != 1 || !strings.Contains(errs.String(), "PARLEY_JWT_SECRETS") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
}

// Processes that start at once on a new data folder agree on one key.
func TestGeneratedKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	secrets := make([]string, 8)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			c := config{dataDir: dir}
			if _, err := c.useGenerated(); err != nil {
				t.Error(err)
				return
			}
			secrets[i] = c.secrets[0].Value
		})
	}
	wg.Wait()
	for _, s := range secrets {
		if s != secrets[0] || len(s) < 32 {
			t.Errorf("keys differ or are short: %d and %d bytes", len(s), len(secrets[0]))
		}
	}
	path := filepath.Join(dir, keyFile)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&config{dataDir: dir}).useGenerated(); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("an empty key file: %v", err)
	}
}
