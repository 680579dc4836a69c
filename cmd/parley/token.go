package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/model"
)

// minting is what parley token was asked for.
type minting struct {
	client string
	server bool
	ttl    time.Duration

	grant        string // the operation; empty: a token is wanted
	conversation string
	members      string
	jti          string
}

func (m *minting) flags(fs *flag.FlagSet) {
	fs.StringVar(&m.client, "client", "", "whom the token is for")
	fs.BoolVar(&m.server, "server", false, "give it server scope")
	fs.DurationVar(&m.ttl, "ttl", time.Hour, "how long it is good for (default 1h; a grant at most 6h)")
	fs.StringVar(&m.grant, "grant", "", "print a grant instead, for an operation: create, invite, kick, history, block or unblock")
	fs.StringVar(&m.conversation, "conversation", "", "the conversation that the grant is for; none for create")
	fs.StringVar(&m.members, "members", "", "the clients that the grant is for, comma-separated: all that the request names; none for history")
	fs.StringVar(&m.jti, "jti", "", "an id for the grant: it works once")
}

// token prints a token for a client, a server or both, or a grant, signed with the first secret.
func token(args []string, getenv func(string) string, stdout io.Writer) error {
	var m minting
	c, err := load("token", args, getenv, stdout, m.flags)
	if err != nil {
		return err
	}
	problems := m.check()
	if m.grant != "" {
		problems = append(problems, m.checkGrant()...)
	}
	if len(problems) > 0 {
		return problems
	}
	if _, err := c.useGenerated(); err != nil {
		return err
	}
	signed, err := c.signClaims(m.claims(), m.ttl, time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, signed)
	return nil
}

// check finds what is wrong whatever is wanted.
func (m *minting) check() (problems configError) {
	if m.client == "" && !m.server && m.grant == "" {
		problems = append(problems, errors.New("say whom the token is for: --client Tom, or --server"))
	}
	if m.client != "" {
		if err := model.ValidClientID(m.client); err != nil {
			problems = append(problems, fmt.Errorf("--client %w", err))
		}
	}
	if m.ttl <= 0 {
		problems = append(problems, errors.New("--ttl must be more than 0"))
	}
	if m.grant == "" {
		for _, f := range []struct{ name, value string }{{"conversation", m.conversation}, {"members", m.members}, {"jti", m.jti}} {
			if f.value != "" {
				problems = append(problems, fmt.Errorf("--%s is for a grant: add --grant, such as --grant invite", f.name))
			}
		}
	}
	return problems
}

// checkGrant finds what would keep the grant from ever being good for something.
func (m *minting) checkGrant() (problems configError) {
	op := model.GrantOp(m.grant)
	if !slices.Contains(model.GrantOps, op) {
		return configError{fmt.Errorf("--grant %q is none of create, invite, kick, history, block, unblock", m.grant)}
	}
	fail := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if m.server {
		fail("--grant and --server exclude each other: a server token needs no grant")
	}
	if m.client == "" {
		fail("say who may do it: --client Tom")
	}
	if m.ttl > model.MaxGrantLife {
		fail("--ttl of a grant may be 6h at most")
	}
	for _, id := range list(m.members) {
		if err := model.ValidClientID(id); err != nil {
			fail("--members: %q %w", id, err)
		}
	}
	named, about := len(list(m.members)) > 0, m.conversation != ""
	switch op {
	case model.GrantCreate:
		if about {
			fail("--conversation: there is none yet when one is created: leave it out")
		}
	case model.GrantHistory:
		if named {
			fail("--members: a history concerns nobody in particular: leave it out")
		}
	case model.GrantInvite, model.GrantKick:
		if !named {
			fail("say whom it concerns: --members Mary,Bob (to join: oneself)")
		}
	default:
		if !named && !about {
			fail("say what it concerns: --conversation, --members or both")
		}
	}
	if op != model.GrantCreate && op.Switch() != model.GrantsForBlock && !about {
		fail("say which conversation it is for: --conversation ID")
	}
	return problems
}

func (m *minting) claims() jwt.MapClaims {
	claims := jwt.MapClaims{}
	if m.client != "" {
		claims["sub"] = m.client
	}
	if m.server {
		claims["scope"] = "server"
	}
	if m.grant == "" {
		return claims
	}
	claims["op"] = m.grant
	if m.conversation != "" {
		claims["cid"] = m.conversation
	}
	members := list(m.members)
	if m.grant == string(model.GrantCreate) {
		members = append([]string{m.client}, members...) // a creator is a member always
	}
	if len(members) > 0 {
		claims["mem"] = model.Distinct(members)
	}
	if m.jti != "" {
		claims["jti"] = m.jti
	}
	return claims
}

// sign makes a token with the first secret.
func (c *config) sign(client string, server bool, ttl time.Duration, now time.Time) (string, error) {
	m := minting{client: client, server: server}
	return c.signClaims(m.claims(), ttl, now)
}

// signClaims adds to claims what all have in common, and signs them with the first secret.
func (c *config) signClaims(claims jwt.MapClaims, ttl time.Duration, now time.Time) (string, error) {
	if len(c.secrets) == 0 {
		return "", errors.New("there is no secret to sign with: set PARLEY_JWT_SECRETS (public keys can only check tokens)")
	}
	claims["iat"], claims["exp"] = now.Unix(), now.Add(ttl).Unix()
	if c.issuer != "" {
		claims["iss"] = c.issuer
	}
	if c.audience != "" {
		claims["aud"] = c.audience
	}
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	if kid := c.secrets[0].Kid; kid != "" {
		t.Header["kid"] = kid
	}
	return t.SignedString([]byte(c.secrets[0].Value))
}
