package api

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"

	"parley/model"
)

// maxTokenBytes bounds what one bad request can make us hash and decode.
const maxTokenBytes = 8 << 10

// token is what a verified token says.
type token struct {
	subject             string // a valid client id unless server
	server              bool
	issuedAt, expiresAt time.Time // issuedAt is zero when it does not say
}

// claims are those that we read. Op marks a grant, which is never a token.
type claims struct {
	jwt.RegisteredClaims
	Scope string         `json:"scope"`
	Op    jsontext.Value `json:"op"`
}

// UnmarshalJSON is strict where encoding/json mends silently: bytes that are no
// UTF-8, unpaired surrogates, repeated names and names in the wrong case. Else
// two different subjects could become one client.
func (c *claims) UnmarshalJSON(data []byte) error {
	type plain claims
	return json.Unmarshal(data, (*plain)(c))
}

func unauthenticated(detail string) *model.Error {
	return model.NewError(model.Unauthenticated, "%s", detail)
}

// check verifies raw without the cache. Its error never holds the token.
func (k *Keys) check(raw string) (token, error) {
	var c claims
	if err := k.parse(raw, &c); err != nil {
		if model.IsCode(err, model.Unavailable) {
			return token{}, err
		}
		return token{}, unauthenticated(refusal(err, "token"))
	}
	return c.token()
}

// parse verifies a JWT's signature and its times, and reads its claims into c. It
// fails with unavailable when nobody can tell yet, else with what refusal understands.
func (k *Keys) parse(raw string, c jwt.Claims) error {
	var away error
	_, err := k.parser.ParseWithClaims(raw, c, func(t *jwt.Token) (any, error) {
		found, unreachable, err := k.candidates(t)
		away = unreachable
		return found, err
	})
	if away != nil && (errors.Is(err, jwt.ErrTokenSignatureInvalid) || errors.Is(err, jwt.ErrTokenUnverifiable)) {
		return away // not a word about the token: a 401 would make good clients log out
	}
	return err
}

// refusal says in our own words why a JWT was refused; what is "token" or "grant".
func refusal(err error, what string) string {
	for _, r := range []struct {
		is     error
		detail string
	}{
		{jwt.ErrTokenSignatureInvalid, "is not signed with one of the server's keys"},
		{jwt.ErrTokenMalformed, "is malformed"},
		{jwt.ErrTokenUnverifiable, "is not signed with one of the server's keys"},
		{jwt.ErrTokenRequiredClaimMissing, "lacks a claim that is required here: exp, or a configured iss or aud"},
		{jwt.ErrTokenExpired, "has expired"},
		{jwt.ErrTokenNotValidYet, "is not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "says that it was issued in the future"},
		{jwt.ErrTokenInvalidIssuer, "was issued by somebody else"},
		{jwt.ErrTokenInvalidAudience, "was issued for another audience"},
	} {
		if errors.Is(err, r.is) {
			return "the " + what + " " + r.detail
		}
	}
	return "the " + what + " is not valid"
}

// token turns claims that have been verified into what they say.
func (c *claims) token() (token, error) {
	if len(c.Op) > 0 {
		return token{}, unauthenticated("this is a grant, not a token")
	}
	t := token{subject: c.Subject, expiresAt: c.ExpiresAt.Time}
	if c.IssuedAt != nil {
		t.issuedAt = c.IssuedAt.Time
	}
	t.server = slices.Contains(strings.Split(c.Scope, " "), "server")
	if err := model.ValidClientID(c.Subject); err != nil && !t.server {
		return token{}, unauthenticated("the token's sub is no client id: it " + err.Error())
	}
	return t, nil
}

// tokenCache remembers tokens that were found good: two generations, of which
// the elder is dropped whole, so that nothing is older than maxTokenAge and
// memory is bounded. The zero value is ready.
type tokenCache struct {
	mu          sync.RWMutex
	young, old  map[[sha256.Size]byte]token
	youngBornAt time.Time
}

const (
	maxTokenAge        = time.Minute
	generationAge      = maxTokenAge / 2
	generationCapacity = 50_000
)

func (c *tokenCache) get(sum [sha256.Size]byte, now time.Time) (token, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	age := now.Sub(c.youngBornAt)
	if age >= maxTokenAge {
		return token{}, false
	}
	if t, ok := c.young[sum]; ok {
		return t, true
	}
	if age >= generationAge {
		return token{}, false // the old one may be past its age
	}
	t, ok := c.old[sum]
	return t, ok
}

func (c *tokenCache) put(sum [sha256.Size]byte, t token, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := now.Sub(c.youngBornAt); age >= generationAge || len(c.young) >= generationCapacity {
		c.old = c.young
		if age >= maxTokenAge {
			c.old = nil
		}
		c.young, c.youngBornAt = map[[sha256.Size]byte]token{}, now
	}
	c.young[sum] = t
}
