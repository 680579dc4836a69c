package chat

import (
	"context"
	"slices"
	"time"

	"parley/model"
	"parley/repo"
)

// grantMargin is how long a used grant is remembered past its end: for longer than
// the leeway on its exp, and than the clocks of the nodes may differ.
const grantMargin = time.Hour

// checkGrant fails unless the caller may do what need says: because this deployment
// wants no grant for it, because a server token asks, or by the grant that was sent,
// which, when it works once, is used up if tx commits. A verb calls it in its
// transaction behind the checks of kind and membership, and before it looks at
// anything that is a conflict. It fails with grant_required, grant_invalid,
// grant_mismatch and grant_used.
func (s *Service) checkGrant(ctx context.Context, tx *repo.Store, caller model.Caller, need model.GrantNeed) error {
	grant, err := s.grantFor(caller, need)
	if err != nil || grant == nil {
		return err
	}
	return useGrant(ctx, tx, grant)
}

// grantFor returns the grant by which the caller may do what need says; nil when
// there is nothing to be used up.
func (s *Service) grantFor(caller model.Caller, need model.GrantNeed) (*model.Grant, error) {
	if caller.Server || !slices.Contains(s.Config.RequireGrants, need.Op.Switch()) {
		return nil, nil
	}
	if sent := caller.Grant; sent != nil && sent.Err == nil && s.isRevoked(&sent.Grant) {
		return nil, model.ErrGrant(need.Op, model.GrantInvalid, "the grant has been revoked")
	}
	if err := model.CheckGrant(caller, need); err != nil {
		return nil, err
	}
	if caller.Grant.Grant.ID == "" {
		return nil, nil
	}
	return &caller.Grant.Grant, nil
}

func (s *Service) isRevoked(g *model.Grant) bool {
	at, kicked := s.Revoked(g.Client)
	return kicked && model.Revoked(g.IssuedAt, at)
}

func useGrant(ctx context.Context, tx *repo.Store, g *model.Grant) error {
	fresh, err := tx.UseGrant(ctx, g.ID, g.ExpiresAt.Add(grantMargin))
	if err == nil && !fresh {
		err = errGrantUsed(g.Op)
	}
	return err
}

func errGrantUsed(op model.GrantOp) error {
	return model.ErrGrant(op, model.GrantUsed, "the grant works once, and it has been used")
}

// HistoryGrant is the grant of a reading of history. The zero value, and nil, is that
// of one that needs none.
type HistoryGrant struct {
	s     *Service
	grant *model.Grant
}

// CheckHistoryGrant says whether the caller may read a conversation's history, by its
// standing there and by its grant, where this deployment wants one. What it returns is
// to be used when the reading has gone well, before it is answered. It fails with
// conversation_not_found, not_a_member and grant_....
func (s *Service) CheckHistoryGrant(ctx context.Context, caller model.Caller, id string) (*HistoryGrant, error) {
	if caller.Server || !slices.Contains(s.Config.RequireGrants, model.GrantsForHistory) {
		return nil, nil // the reading itself checks the standing
	}
	standing, err := s.Store.Standing(ctx, caller, id)
	if err != nil {
		return nil, err
	}
	if err := standing.CheckHistory(); err != nil {
		return nil, err
	}
	grant, err := s.grantFor(caller, model.GrantNeed{Op: model.GrantHistory, Conversation: id})
	if err != nil || grant == nil {
		return nil, err
	}
	// It is used up only later, but one that is comes before what the reading may find wrong.
	used, err := s.Store.GrantUsed(ctx, grant.ID)
	if err == nil && used {
		err = errGrantUsed(grant.Op)
	}
	return &HistoryGrant{s, grant}, err
}

// Use uses the grant up. It fails with grant_used.
func (g *HistoryGrant) Use(ctx context.Context) error {
	if g == nil {
		return nil
	}
	return useGrant(ctx, g.s.Store, g.grant)
}
