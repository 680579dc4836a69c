package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"parley/api"
	"parley/model"
)

// config is what an operator can choose, read and checked.
type config struct {
	addr, metricsAddr string
	databaseURL       string
	dataDir           string

	secrets    []api.Secret // the first signs; empty: none configured
	publicKeys []api.PublicKey
	jwksURL    string
	issuer     string
	audience   string

	requireGrants    []model.GrantSwitch
	origins          []string // as from api.ParseOrigins
	limits           api.Limits
	streamsPerClient int
	messageMaxBytes  int
	fileMaxBytes     int
	messageEdit      bool
	messageRecall    bool
	reconnectGrace   time.Duration
	seatGrace        time.Duration
	eventRetention   time.Duration
	messageRetention time.Duration
	conversationIdle time.Duration

	tlsCert, tlsKey string
	publicURL       string
	trustedProxies  []netip.Prefix
	fileStore       string
	s3Key, s3Secret string
	demo            *bool // nil: as the key is
	logLevel        slog.Level
	logFormat       string // empty: text on a terminal, else json
}

// generated reports whether the signing key is one that parley makes itself.
func (c *config) generated() bool {
	return len(c.secrets) == 0 && len(c.publicKeys) == 0 && c.jwksURL == ""
}

// configError is a bad command line or configuration: every problem, one a line.
type configError []error

func (e configError) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = "parley: " + err.Error()
	}
	return strings.Join(lines, "\n")
}

// errHelp: help was asked for, and given.
var errHelp = errors.New("help")

// load reads the configuration: a flag wins over its variable, and an empty one is
// one not set. All problems are reported at once. more adds a command's own flags.
func load(command string, args []string, getenv func(string) string, stdout io.Writer, more func(*flag.FlagSet)) (config, error) {
	var problems configError
	fs := flag.NewFlagSet(command, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	given := make(map[string]string)
	for _, s := range settings {
		fs.Func(s.flag(), s.help, func(text string) error { given[s.name] = text; return nil })
	}
	if more != nil {
		more(fs)
	}
	// Parse stops at what it does not know; what follows may have faults of its own.
	for err := fs.Parse(args); err != nil; err = fs.Parse(fs.Args()) {
		if errors.Is(err, flag.ErrHelp) {
			printHelp(stdout, command, fs)
			return config{}, errHelp
		}
		problems = append(problems, err)
	}
	if fs.NArg() > 0 {
		problems = append(problems, fmt.Errorf("what is %q? Flags look like --addr=:8080", fs.Arg(0)))
	}

	var c config
	for _, s := range settings {
		text := s.def
		if v, ok := given[s.name]; ok && v != "" {
			text = v
		} else if v := strings.TrimSpace(getenv(s.name)); v != "" && !ok {
			text = v
		}
		if text == "" {
			continue
		}
		if err := s.read(&c, text); err != nil {
			problems = append(problems, fmt.Errorf("%s (--%s): %w", s.name, s.flag(), err))
		}
	}
	problems = append(problems, c.check(getenv)...)
	if len(problems) > 0 {
		return config{}, problems
	}
	return c, nil
}

// check finds what is wrong with settings together.
func (c *config) check(getenv func(string) string) (problems configError) {
	if c.generated() {
		if c.addr != "" && !loopback(c.addr) {
			problems = append(problems, fmt.Errorf("PARLEY_ADDR (--addr): %s can be reached from other machines: set PARLEY_JWT_SECRETS for that (a generated key is for this machine alone)", c.addr))
		}
	} else if _, err := api.NewKeys(c.keys(nil)); err != nil {
		for line := range strings.Lines(err.Error()) { // one for each problem
			problems = append(problems, fmt.Errorf("PARLEY_JWT_SECRETS, PARLEY_JWT_PUBLIC_KEYS, PARLEY_JWKS_URL: %s", strings.TrimSpace(line)))
		}
	}
	switch {
	case (c.tlsCert == "") != (c.tlsKey == ""):
		problems = append(problems, errors.New("PARLEY_TLS_CERT and PARLEY_TLS_KEY: set both or neither"))
	case c.tlsCert != "":
		if _, err := loadCertificate(c.tlsCert, c.tlsKey); err != nil {
			problems = append(problems, fmt.Errorf("PARLEY_TLS_CERT, PARLEY_TLS_KEY: %w", err))
		}
	}
	if c.metricsAddr != "" && c.metricsAddr == c.addr {
		problems = append(problems, errors.New("PARLEY_METRICS_ADDR (--metrics-addr): is PARLEY_ADDR too: leave it empty, or take another"))
	}
	c.s3Key, c.s3Secret = getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY")
	if strings.HasPrefix(c.fileStore, "s3://") && (c.s3Key == "" || c.s3Secret == "") {
		problems = append(problems, errors.New("PARLEY_FILE_STORE (--file-store): s3 needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"))
	}
	return problems
}

// keys is what api checks tokens with.
func (c *config) keys(log *slog.Logger) api.KeyConfig {
	return api.KeyConfig{Secrets: c.secrets, PublicKeys: c.publicKeys, JWKSURL: c.jwksURL, Issuer: c.issuer, Audience: c.audience, Log: log}
}

func printHelp(w io.Writer, command string, fs *flag.FlagSet) {
	fmt.Fprintf(w, "parley %s\n\nEach setting is a variable of the environment or a flag, which wins.\n", command)
	own := make(map[string]bool)
	for _, s := range settings {
		own[s.flag()] = true
	}
	fs.VisitAll(func(f *flag.Flag) {
		if !own[f.Name] {
			fmt.Fprintf(w, "\n  --%s\n        %s\n", f.Name, f.Usage)
		}
	})
	for _, s := range settings {
		fmt.Fprintf(w, "\n  %s, --%s\n        %s", s.name, s.flag(), s.help)
		if s.def != "" {
			fmt.Fprintf(w, " (default %s)", s.def)
		}
		fmt.Fprintln(w)
	}
}
