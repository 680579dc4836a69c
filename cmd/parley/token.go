package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/model"
)

// token prints a token for a client, a server or both, signed with the first secret.
func token(args []string, getenv func(string) string, stdout io.Writer) error {
	var client string
	var server bool
	var ttl time.Duration
	c, err := load("token", args, getenv, stdout, func(fs *flag.FlagSet) {
		fs.StringVar(&client, "client", "", "whom the token is for")
		fs.BoolVar(&server, "server", false, "give it server scope")
		fs.DurationVar(&ttl, "ttl", time.Hour, "how long it is good for (default 1h)")
	})
	if err != nil {
		return err
	}
	var problems configError
	if client == "" && !server {
		problems = append(problems, errors.New("say whom the token is for: --client Tom, or --server"))
	}
	if client != "" {
		if err := model.ValidClientID(client); err != nil {
			problems = append(problems, fmt.Errorf("--client %w", err))
		}
	}
	if ttl <= 0 {
		problems = append(problems, errors.New("--ttl must be more than 0"))
	}
	if len(problems) > 0 {
		return problems
	}
	if _, err := c.useGenerated(); err != nil {
		return err
	}
	signed, err := c.sign(client, server, ttl, time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, signed)
	return nil
}

// sign makes a token with the first secret.
func (c *config) sign(client string, server bool, ttl time.Duration, now time.Time) (string, error) {
	if len(c.secrets) == 0 {
		return "", errors.New("there is no secret to sign with: set PARLEY_JWT_SECRETS (public keys can only check tokens)")
	}
	claims := jwt.MapClaims{"iat": now.Unix(), "exp": now.Add(ttl).Unix()}
	if client != "" {
		claims["sub"] = client
	}
	if server {
		claims["scope"] = "server"
	}
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
