package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"parley/api"
	"parley/files"
	"parley/model"
	"parley/repo"
)

// setting is a variable of the environment that is also a flag.
type setting struct {
	name string
	def  string // what holds when the variable is not set or empty
	help string
	read func(c *config, text string) error
}

// flag is the name on the command line: PARLEY_ADDR is --addr.
func (s setting) flag() string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(s.name, "PARLEY_"), "_", "-"))
}

var settings = []setting{
	{"PARLEY_ADDR", "127.0.0.1:8080", "listen address", address(func(c *config) *string { return &c.addr })},
	{"DATABASE_URL", "", "PostgreSQL, as postgres://user:password@host/name or host=... user=... (empty: a private one below the data folder)", readDatabaseURL},
	{"PARLEY_DATA_DIR", "./data", "folder of the private PostgreSQL, the generated key and uploaded files", text(func(c *config) *string { return &c.dataDir })},
	{"PARLEY_JWT_SECRETS", "", "shared secrets for tokens: comma-separated SECRET or KID:SECRET of at least 32 bytes; the first signs (no key of any kind: one is generated, and only this machine is served)", readSecrets},
	{"PARLEY_JWT_PUBLIC_KEYS", "", "public keys for tokens: comma-separated PATH or KID:PATH of PEM files", readPublicKeys},
	{"PARLEY_JWKS_URL", "", "address of a JSON Web Key Set with public keys for tokens", text(func(c *config) *string { return &c.jwksURL })},
	{"PARLEY_JWT_ISSUER", "", "issuer that tokens must name (empty: not checked)", text(func(c *config) *string { return &c.issuer })},
	{"PARLEY_JWT_AUDIENCE", "", "audience that tokens must name (empty: not checked)", text(func(c *config) *string { return &c.audience })},
	{"PARLEY_REQUIRE_GRANTS", "", "operations that need a grant: any of conversation,history,block", readGrants},
	{"PARLEY_ALLOWED_ORIGINS", "", "origins of web pages that may call, comma-separated, * for any (empty: the server's own)", readOrigins},
	{"PARLEY_LIMIT_SENDS", "60", "messages per client and minute (0: no limit)", integer(0, 1e6, func(c *config) *int { return &c.limits.Sends })},
	{"PARLEY_LIMIT_READS", "120", "reads of each kind per client and minute (0: no limit)", integer(0, 1e6, func(c *config) *int { return &c.limits.Reads })},
	{"PARLEY_LIMIT_OTHER", "30", "other operations of each kind per client and minute (0: no limit)", integer(0, 1e6, func(c *config) *int { return &c.limits.Other })},
	{"PARLEY_LIMIT_STREAMS", "100", "open streams per client (0: no limit)", integer(0, 1e6, func(c *config) *int { return &c.streamsPerClient })},
	{"PARLEY_MESSAGE_MAX_BYTES", "5120", "largest message, as the body of its request", integer(1, 1<<30, func(c *config) *int { return &c.messageMaxBytes })},
	{"PARLEY_FILE_MAX_BYTES", "26214400", "largest file", integer(1, math.MaxInt, func(c *config) *int { return &c.fileMaxBytes })},
	{"PARLEY_MESSAGE_EDIT", "true", "whether clients may edit their messages", boolean(func(c *config) *bool { return &c.messageEdit })},
	{"PARLEY_MESSAGE_RECALL", "true", "whether clients may recall their messages", boolean(func(c *config) *bool { return &c.messageRecall })},
	{"PARLEY_RECONNECT_GRACE", "10s", "how long a lost stream may take to come back before its client counts as offline", duration(func(c *config) *time.Duration { return &c.reconnectGrace })},
	{"PARLEY_SEAT_GRACE", "30m", "how long a lost stream keeps its seat in a chatroom", duration(func(c *config) *time.Duration { return &c.seatGrace })},
	{"PARLEY_EVENT_RETENTION", "168h", "how far back a stream can resume (0: for ever)", duration(func(c *config) *time.Duration { return &c.eventRetention })},
	{"PARLEY_MESSAGE_RETENTION", "4320h", "how long messages are kept (0: for ever)", duration(func(c *config) *time.Duration { return &c.messageRetention })},
	{"PARLEY_CONVERSATION_IDLE", "0", "remove ordinary conversations without a message or an update for so long (0: never)", duration(func(c *config) *time.Duration { return &c.conversationIdle })},
	{"PARLEY_TLS_CERT", "", "certificate, a PEM file, read again when it changes (empty: no TLS)", text(func(c *config) *string { return &c.tlsCert })},
	{"PARLEY_TLS_KEY", "", "its key, a PEM file, read again when it changes", text(func(c *config) *string { return &c.tlsKey })},
	{"PARLEY_PUBLIC_URL", "", "what clients reach the server at; its origin counts as the server's own", readPublicURL},
	{"PARLEY_TRUSTED_PROXIES", "", "addresses or CIDRs of proxies whose X-Forwarded-For is believed, comma-separated", readProxies},
	{"PARLEY_METRICS_ADDR", "", "another listen address for /metrics alone (empty: with the rest)", address(func(c *config) *string { return &c.metricsAddr })},
	{"PARLEY_FILE_STORE", "disk", "where files are kept: disk, or s3://bucket?endpoint=...&region=... with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", readFileStore},
	{"PARLEY_DEMO", "", "whether to serve the demo page at / (empty: with the generated key only)", readDemo},
	{"PARLEY_LOG_LEVEL", "info", "least level to log: debug, info, warn or error", func(c *config, s string) error {
		return c.logLevel.UnmarshalText([]byte(s))
	}},
	{"PARLEY_LOG_FORMAT", "", "text or json (empty: text on a terminal, else json)", oneOf([]string{"text", "json"}, func(c *config) *string { return &c.logFormat })},
}

func text(field func(*config) *string) func(*config, string) error {
	return func(c *config, s string) error { *field(c) = s; return nil }
}

func oneOf(allowed []string, field func(*config) *string) func(*config, string) error {
	return func(c *config, s string) error {
		if !slices.Contains(allowed, s) {
			return fmt.Errorf("%q is none of %s", s, strings.Join(allowed, ", "))
		}
		*field(c) = s
		return nil
	}
}

func integer(least, most int, field func(*config) *int) func(*config, string) error {
	return func(c *config, s string) error {
		n, err := strconv.Atoi(s)
		if n > most {
			return fmt.Errorf("%s is more than the most, %d", s, most)
		}
		if err != nil || n < least {
			return fmt.Errorf("%q is not a whole number of at least %d", s, least)
		}
		*field(c) = n
		return nil
	}
}

func boolean(field func(*config) *bool) func(*config, string) error {
	return func(c *config, s string) error {
		v, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", s)
		}
		*field(c) = v
		return nil
	}
}

func duration(field func(*config) *time.Duration) func(*config, string) error {
	return func(c *config, s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return fmt.Errorf("%q is not a duration such as 90s, 30m or 168h", s)
		}
		*field(c) = d
		return nil
	}
}

func address(field func(*config) *string) func(*config, string) error {
	return func(c *config, s string) error {
		_, port, err := net.SplitHostPort(s)
		if err != nil {
			return fmt.Errorf("%q is not an address such as 127.0.0.1:8080, :8080 or [::1]:8080", s)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			return fmt.Errorf("%q is not a port", port)
		}
		*field(c) = s
		return nil
	}
}

// loopback reports whether an address can be reached from this machine alone.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// list splits at commas; empty items do not count.
func list(s string) (items []string) {
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

func readDatabaseURL(c *config, s string) error {
	c.databaseURL = s
	if err := repo.CheckDSN(s); err != nil {
		return errors.New("is neither postgres://user:password@host/name nor host=... user=... dbname=...") // the error may quote a password
	}
	return nil
}

func readSecrets(c *config, s string) error {
	for i, item := range list(s) {
		kid, secret, named := strings.Cut(item, ":")
		if !named {
			kid, secret = "", item
		}
		if strings.Contains(secret, ":") || named && kid == "" {
			return fmt.Errorf("number %d is not SECRET or KID:SECRET", i+1)
		}
		c.secrets = append(c.secrets, api.Secret{Kid: kid, Value: secret})
	}
	return nil
}

func readPublicKeys(c *config, s string) error {
	for _, item := range list(s) {
		kid, path, named := strings.Cut(item, ":")
		if !named || strings.ContainsRune(kid, filepath.Separator) {
			kid, path = "", item
		}
		c.publicKeys = append(c.publicKeys, api.PublicKey{Kid: kid, Path: path})
	}
	return nil
}

func readGrants(c *config, s string) error {
	for _, item := range list(s) {
		if !slices.Contains(model.GrantSwitches, model.GrantSwitch(item)) {
			return fmt.Errorf("%q is none of conversation, history, block", item)
		}
		c.requireGrants = append(c.requireGrants, model.GrantSwitch(item))
	}
	return nil
}

func readOrigins(c *config, s string) (err error) {
	c.origins, err = api.ParseOrigins(list(s))
	return err
}

func readProxies(c *config, s string) (err error) {
	c.trustedProxies, err = api.ParseProxies(list(s))
	return err
}

func readPublicURL(c *config, s string) error {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q is not an address such as https://chat.example", s)
	}
	c.publicURL = strings.TrimRight(s, "/")
	return nil
}

func readFileStore(c *config, s string) error {
	if s != "disk" && !strings.HasPrefix(s, "s3://") {
		return fmt.Errorf("%q is neither disk nor s3://bucket?endpoint=...&region=...", s)
	}
	if s != "disk" {
		if _, err := files.ParseS3(s); err != nil {
			return fmt.Errorf("%q: %w", s, err)
		}
	}
	c.fileStore = s
	return nil
}

func readDemo(c *config, s string) error {
	return boolean(func(c *config) *bool { c.demo = new(bool); return c.demo })(c, s)
}
