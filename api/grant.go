package api

import (
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"parley/model"
)

const headerGrant = "Parley-Grant"

// maxGrantBytes is what the headers of a request may be: a grant that names 500 members is long.
const maxGrantBytes = 64 << 10

// grantClaims are those of a grant. cid and mem are read here alone: in a token they are somebody else's.
type grantClaims struct {
	jwt.RegisteredClaims
	ID  *string  `json:"jti"` // in the place of the registered one: an empty one is not the same as none
	Op  *string  `json:"op"`
	Cid string   `json:"cid"`
	Mem []string `json:"mem"`
}

// UnmarshalJSON is as strict as that of claims, for the same reason.
func (c *grantClaims) UnmarshalJSON(data []byte) error {
	type plain grantClaims
	return json.Unmarshal(data, (*plain)(c))
}

// ParseGrant reads a grant and checks all that can be said without knowing what it
// is used for, and whether it was revoked. It fails with grant_invalid, and with
// unavailable when its key may be one that cannot be fetched. The error never holds the grant.
func (k *Keys) ParseGrant(raw string) (model.Grant, error) {
	if len(raw) > maxGrantBytes {
		return model.Grant{}, invalidGrant("the grant is longer than any of ours")
	}
	var c grantClaims
	if err := k.parse(raw, &c); err != nil {
		if model.IsCode(err, model.Unavailable) {
			return model.Grant{}, err
		}
		return model.Grant{}, invalidGrant(refusal(err, "grant"))
	}
	if c.Op == nil {
		return model.Grant{}, invalidGrant("this is a token, not a grant: it has no op")
	}
	g := model.Grant{Client: c.Subject, Op: model.GrantOp(*c.Op), Conversation: c.Cid, Members: c.Mem, ExpiresAt: c.ExpiresAt.Time}
	if c.IssuedAt != nil {
		g.IssuedAt = c.IssuedAt.Time
	}
	if c.ID != nil {
		if g.ID = *c.ID; g.ID == "" {
			return model.Grant{}, invalidGrant("the grant's jti is empty: name it, or leave jti out")
		}
	}
	return g, g.CheckLife()
}

func invalidGrant(detail string) *model.Error {
	return model.NewError(model.GrantInvalid, "%s", detail)
}

// sentGrant reads the grant that came with a request. What is wrong with it is said
// when it is needed, which is after other checks. It is read now because its key may
// have to be fetched, and by then a conversation may be locked.
func (s *server) sentGrant(caller model.Caller, h http.Header) *model.SentGrant {
	raw := h[headerGrant]
	if !s.cfg.Grants || caller.Server || len(raw) == 0 || raw[0] == "" {
		return nil
	}
	g, err := s.cfg.Keys.ParseGrant(raw[0])
	return &model.SentGrant{Grant: g, Err: err}
}
