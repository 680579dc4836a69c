package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/api"
)

const longSecret = "0123456789abcdef0123456789abcdef"

func environment(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}

func loadFrom(t *testing.T, env map[string]string, args ...string) (config, error) {
	t.Helper()
	return load("serve", args, environment(env), new(bytes.Buffer), nil)
}

func TestDefaults(t *testing.T) {
	c, err := loadFrom(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.addr != "127.0.0.1:8080" || c.dataDir != "./data" || c.databaseURL != "" || !c.generated() || c.demo != nil ||
		c.limits != (api.Limits{Sends: 60, Reads: 120, Other: 30}) || c.streamsPerClient != 100 ||
		c.messageMaxBytes != 5120 || c.fileMaxBytes != 25<<20 || !c.messageEdit || !c.messageRecall ||
		c.reconnectGrace != 10*time.Second || c.seatGrace != 30*time.Minute || c.eventRetention != 7*24*time.Hour ||
		c.messageRetention != 180*24*time.Hour || c.conversationIdle != 0 || c.fileStore != "disk" ||
		c.logLevel != slog.LevelInfo || c.logFormat != "" {
		t.Errorf("defaults: %+v", c)
	}
}

// Every setting, as a variable and as a flag, is read into its field.
func TestSettings(t *testing.T) {
	pemFile := filepath.Join(t.TempDir(), "key.pem")
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pemFile, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := map[string]string{"PARLEY_JWT_SECRETS": longSecret}
	tests := []struct {
		name, value string
		also        map[string]string
		ok          func(c config) bool
	}{
		{"PARLEY_ADDR", "[::1]:80", nil, func(c config) bool { return c.addr == "[::1]:80" }},
		{"PARLEY_ADDR", ":8080", secret, func(c config) bool { return c.addr == ":8080" }},
		{"PARLEY_ADDR", "localhost:0", nil, func(c config) bool { return c.addr == "localhost:0" }},
		{"DATABASE_URL", "postgres://u:p@h/d", nil, func(c config) bool { return c.databaseURL == "postgres://u:p@h/d" }},
		{"PARLEY_DATA_DIR", "/srv/parley", nil, func(c config) bool { return c.dataDir == "/srv/parley" }},
		{"PARLEY_JWT_SECRETS", "new:" + longSecret + ", " + longSecret, nil, func(c config) bool {
			return len(c.secrets) == 2 && c.secrets[0] == api.Secret{Kid: "new", Value: longSecret} && c.secrets[1].Kid == "" && !c.generated()
		}},
		{"PARLEY_JWT_PUBLIC_KEYS", "k:" + pemFile + "," + pemFile, nil, func(c config) bool {
			return len(c.publicKeys) == 2 && c.publicKeys[0] == api.PublicKey{Kid: "k", Path: pemFile} && c.publicKeys[1].Kid == ""
		}},
		{"PARLEY_JWKS_URL", "https://id.example/keys", nil, func(c config) bool { return c.jwksURL == "https://id.example/keys" && !c.generated() }},
		{"PARLEY_JWT_ISSUER", "me", nil, func(c config) bool { return c.issuer == "me" }},
		{"PARLEY_JWT_AUDIENCE", "you", nil, func(c config) bool { return c.audience == "you" }},
		{"PARLEY_REQUIRE_GRANTS", "block,history", nil, func(c config) bool { return len(c.requireGrants) == 2 }},
		{"PARLEY_ALLOWED_ORIGINS", "https://a.example, *", nil, func(c config) bool { return len(c.origins) == 2 }},
		{"PARLEY_LIMIT_SENDS", "0", nil, func(c config) bool { return c.limits.Sends == 0 }},
		{"PARLEY_LIMIT_READS", "7", nil, func(c config) bool { return c.limits.Reads == 7 }},
		{"PARLEY_LIMIT_OTHER", "8", nil, func(c config) bool { return c.limits.Other == 8 }},
		{"PARLEY_LIMIT_STREAMS", "9", nil, func(c config) bool { return c.streamsPerClient == 9 }},
		{"PARLEY_MESSAGE_MAX_BYTES", "6000", nil, func(c config) bool { return c.messageMaxBytes == 6000 }},
		{"PARLEY_FILE_MAX_BYTES", "1", nil, func(c config) bool { return c.fileMaxBytes == 1 }},
		{"PARLEY_MESSAGE_EDIT", "false", nil, func(c config) bool { return !c.messageEdit }},
		{"PARLEY_MESSAGE_RECALL", "false", nil, func(c config) bool { return !c.messageRecall }},
		{"PARLEY_RECONNECT_GRACE", "1s", nil, func(c config) bool { return c.reconnectGrace == time.Second }},
		{"PARLEY_SEAT_GRACE", "1m", nil, func(c config) bool { return c.seatGrace == time.Minute }},
		{"PARLEY_EVENT_RETENTION", "0", nil, func(c config) bool { return c.eventRetention == 0 }},
		{"PARLEY_MESSAGE_RETENTION", "24h", nil, func(c config) bool { return c.messageRetention == 24*time.Hour }},
		{"PARLEY_CONVERSATION_IDLE", "720h", nil, func(c config) bool { return c.conversationIdle == 720*time.Hour }},
		{"PARLEY_PUBLIC_URL", "https://chat.example/", nil, func(c config) bool { return c.publicURL == "https://chat.example" }},
		{"PARLEY_TRUSTED_PROXIES", "10.0.0.0/8, ::1", nil, func(c config) bool { return len(c.trustedProxies) == 2 }},
		{"PARLEY_METRICS_ADDR", "127.0.0.1:9090", nil, func(c config) bool { return c.metricsAddr == "127.0.0.1:9090" }},
		{"PARLEY_FILE_STORE", "s3://files?region=x", map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
			func(c config) bool { return c.fileStore == "s3://files?region=x" }},
		{"PARLEY_DEMO", "false", nil, func(c config) bool { return c.demo != nil && !*c.demo }},
		{"PARLEY_LOG_LEVEL", "debug", nil, func(c config) bool { return c.logLevel == slog.LevelDebug }},
		{"PARLEY_LOG_FORMAT", "json", nil, func(c config) bool { return c.logFormat == "json" }},
	}
	tried := map[string]bool{"PARLEY_TLS_CERT": true, "PARLEY_TLS_KEY": true} // in TestServeTLS
	for _, tt := range tests {
		tried[tt.name] = true
		env := map[string]string{tt.name: tt.value}
		for k, v := range tt.also {
			env[k] = v
		}
		if c, err := loadFrom(t, env); err != nil || !tt.ok(c) {
			t.Errorf("%s=%s: %v, %+v", tt.name, tt.value, err, c)
		}
		flag := "--" + setting{name: tt.name}.flag()
		env[tt.name] = "overridden by the flag"
		if c, err := loadFrom(t, env, flag+"="+tt.value); err != nil || !tt.ok(c) {
			t.Errorf("%s=%s: %v, %+v", flag, tt.value, err, c)
		}
	}
	for _, s := range settings {
		if !tried[s.name] {
			t.Errorf("%s is not tried", s.name)
		}
	}
}

func TestBadSettings(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{"PARLEY_ADDR", "8080", "not an address"},
		{"PARLEY_ADDR", "127.0.0.1:99999", "not a port"},
		{"PARLEY_ADDR", "0.0.0.0:8080", "set PARLEY_JWT_SECRETS"},
		{"PARLEY_ADDR", ":8080", "set PARLEY_JWT_SECRETS"},
		{"DATABASE_URL", "postgres://%zz:hush@h", "neither postgres://"},
		{"PARLEY_JWT_SECRETS", "short", "at least 32"},
		{"PARLEY_JWT_SECRETS", "a:b:" + longSecret, "KID:SECRET"},
		{"PARLEY_JWT_SECRETS", "a:" + longSecret + ",a:" + longSecret, "two keys"},
		{"PARLEY_JWT_PUBLIC_KEYS", "/no/such/file.pem", "no such file"},
		{"PARLEY_JWKS_URL", "ftp://x", "JWKS"},
		{"PARLEY_REQUIRE_GRANTS", "everything", "none of"},
		{"PARLEY_ALLOWED_ORIGINS", "chat.example", "not an origin"},
		{"PARLEY_LIMIT_SENDS", "-1", "whole number"},
		{"PARLEY_LIMIT_READS", "many", "whole number"},
		{"PARLEY_MESSAGE_MAX_BYTES", "0", "whole number"},
		{"PARLEY_MESSAGE_EDIT", "perhaps", "neither true nor false"},
		{"PARLEY_EVENT_RETENTION", "7 days", "not a duration"},
		{"PARLEY_EVENT_RETENTION", "-1h", "not a duration"},
		{"PARLEY_TLS_CERT", "cert.pem", "set both"},
		{"PARLEY_PUBLIC_URL", "chat.example", "not an address"},
		{"PARLEY_TRUSTED_PROXIES", "proxy.example", "CIDR"},
		{"PARLEY_METRICS_ADDR", "127.0.0.1:8080", "PARLEY_ADDR"},
		{"PARLEY_FILE_STORE", "tape", "neither disk"},
		{"PARLEY_FILE_STORE", "s3://files", "AWS_ACCESS_KEY_ID"},
		{"PARLEY_LOG_LEVEL", "loud", "loud"},
		{"PARLEY_LOG_FORMAT", "xml", "none of"},
	}
	for _, tt := range tests {
		_, err := loadFrom(t, map[string]string{tt.name: tt.value})
		var bad configError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.name) {
			t.Errorf("%s=%s: got %v, want a configuration error with %q", tt.name, tt.value, err, tt.want)
		}
		if err != nil && (strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), longSecret)) {
			t.Errorf("%s: the error shows a secret: %v", tt.name, err)
		}
	}
}

// All problems come at once, with exit code 2.
func TestEveryProblemIsNamed(t *testing.T) {
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"serve", "--limit-sends=x", "--no-such-flag", "--limit-reads=y", "stray"},
		environment(map[string]string{"PARLEY_LOG_FORMAT": "xml", "PARLEY_ADDR": ":1"}), &out, &errs)
	if code != 2 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"--limit-sends", "no-such-flag", "--limit-reads", "stray", "PARLEY_LOG_FORMAT", "PARLEY_ADDR"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not named in:\n%s", want, errs.String())
		}
	}
	for _, args := range [][]string{nil, {"sevre"}, {"token"}, {"token", "--client", " Tom"}, {"token", "--client=Tom", "--ttl=-1h"}} {
		errs.Reset()
		if code := run(t.Context(), args, environment(nil), &out, &errs); code != 2 || errs.Len() == 0 {
			t.Errorf("%v: exit code %d, %s", args, code, &errs)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, command := range []string{"serve", "migrate", "token"} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{command, "--help"}, environment(nil), &out, &errs); code != 0 || errs.Len() > 0 {
			t.Errorf("%s --help: exit code %d, %s", command, code, &errs)
		}
		for _, s := range settings {
			if !strings.Contains(out.String(), s.name+", --"+s.flag()) || !strings.Contains(out.String(), s.def) {
				t.Errorf("%s --help does not tell of %s", command, s.name)
			}
		}
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, environment(nil), &out, &out); code != 0 || !strings.Contains(out.String(), "parley token") {
		t.Errorf("--help: %d, %s", code, &out)
	}
}
