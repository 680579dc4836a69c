package repo

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"parley/model"
)

// queryTime is how long a query may take before it is cut.
const queryTime = 2 * time.Second

// ConversationQuery asks for conversations that the caller may see.
type ConversationQuery struct {
	Caller      model.Caller
	Where       *model.Condition // nil: the caller's own, whatever they are
	Order       []model.SortKey  // not empty
	After       *model.Place     // only those behind it; it has passed Check
	Skip, Limit int
	Members     bool // show them
	LastMessage bool // likewise
}

// FindConversations runs a query. It fails with query_too_expensive when it takes too long,
// and with invalid_request when PostgreSQL refuses one of its patterns. Never nil.
func (s *Store) FindConversations(ctx context.Context, f ConversationQuery) ([]*model.Conversation, error) {
	query, args := f.compile()
	out := []*model.Conversation{}
	err := s.inQuery(ctx, f.Where, func(tx *Store) error {
		rows, err := tx.q.QueryContext(ctx, query, args...) // a text of its own: not worth preparing
		if err != nil {
			return away(ended(ctx, err))
		}
		defer rows.Close()
		for rows.Next() {
			var r seenRow
			if err := r.scan(rows); err != nil {
				return err
			}
			out = append(out, r.conversation())
		}
		return away(ended(ctx, rows.Err()))
	})
	if err != nil {
		return nil, fmt.Errorf("query conversations: %w", err)
	}
	return out, nil
}

// CountConversations returns how many conversations a query would find. It fails as FindConversations does.
func (s *Store) CountConversations(ctx context.Context, caller model.Caller, where *model.Condition) (int64, error) {
	q := newCompiler(caller.Client)
	query := "SELECT 0"
	for _, part := range scopes(caller, where) {
		q.in(part)
		query += " + (SELECT count(*) FROM " + q.from(part, where) + ")"
	}
	var n int64
	err := s.inQuery(ctx, where, func(tx *Store) error {
		return away(ended(ctx, tx.q.QueryRowxContext(ctx, query, q.args...).Scan(&n)))
	})
	if err != nil {
		return 0, fmt.Errorf("count conversations: %w", err)
	}
	return n, nil
}

// scopes are the parts of a query's statement.
func scopes(caller model.Caller, where *model.Condition) []scope {
	switch {
	case where == nil:
		return []scope{own}
	case caller.Server:
		return []scope{unlimited}
	}
	return []scope{own, public}
}

// from is the FROM and WHERE of one part. $1 is the viewer; no client is called "".
func (q *compiler) from(part scope, where *model.Condition) string {
	// Nothing of what has expired is left to be found, though its row waits to be swept.
	const alive = "(c.expires_at IS NULL OR c.expires_at > now())"
	var sql string
	switch part {
	case own:
		sql = `members m JOIN conversations c ON c.id = m.conversation_id WHERE m.client_id = $1::text`
	case public:
		sql = `conversations c LEFT JOIN members m ON m.conversation_id = c.id AND m.client_id = $1::text
			WHERE c.visibility = 1 AND m.client_id IS NULL`
	case unlimited:
		sql = `conversations c LEFT JOIN members m ON m.conversation_id = c.id AND m.client_id = $1::text WHERE true`
	}
	sql += " AND " + alive
	if where != nil {
		sql += " AND (" + q.condition(where, false) + ")"
	}
	return sql
}

// compile makes the statement and its parameters. Each part finds its first rows by itself; of these
// the first are the page, and only they are looked at in detail.
func (f *ConversationQuery) compile() (string, []any) {
	q := newCompiler(f.Caller.Client, f.Caller.Server, f.Members, f.LastMessage)
	end := f.Skip + f.Limit
	var found, sorted string
	for i, part := range scopes(f.Caller, f.Where) {
		q.in(part)
		terms := q.terms(f.Order, f.After)
		if i > 0 {
			found += " UNION ALL "
		}
		found += "(SELECT " + seenColumns + keys(terms) + " FROM " + q.from(part, f.Where)
		if f.After != nil {
			found += " AND " + q.behind(terms)
		}
		sorted = sortedBy("u.", terms)
		found += sortedBy("", terms) + " LIMIT " + strconv.Itoa(end) + ")"
	}
	found = "SELECT * FROM (" + found + ") u" + sorted + " LIMIT " + strconv.Itoa(f.Limit) + " OFFSET " + strconv.Itoa(f.Skip)
	return "SELECT " + seenAll + " FROM (" + found + ") u" + seenDetails + sorted, q.args
}

// inQuery runs f in a transaction that can neither write nor take long, once the patterns
// of the query have been seen to be good: on no rows none would be looked at.
func (s *Store) inQuery(ctx context.Context, where *model.Condition, f func(tx *Store) error) error {
	settings := fmt.Sprintf(`SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = %d;
		SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0`, queryTime.Milliseconds())
	err := s.InTx(ctx, func(tx *Store) error {
		if _, err := tx.exec(ctx, settings); err != nil {
			return err
		}
		if err := tx.checkPatterns(ctx, where); err != nil {
			return err
		}
		return f(tx)
	})
	if ctx.Err() == nil && pq.As(err, pqerror.QueryCanceled, pqerror.OutOfMemory, pqerror.StatementTooComplex, pqerror.ProgramLimitExceeded) != nil {
		return model.NewError(model.QueryTooExpensive, "the query was stopped: it took more than %s, or too much memory", queryTime)
	}
	return err
}

func (s *Store) checkPatterns(ctx context.Context, where *model.Condition) error {
	if where == nil {
		return nil
	}
	var err error
	where.Walk(func(c *model.Condition) {
		if c.Op != model.CondMatches || err != nil {
			return
		}
		var matches bool
		row := s.q.QueryRowxContext(ctx, `SELECT '' ~ ($1::text COLLATE "C")`, advanced(c.Pattern))
		if err = away(ended(ctx, row.Scan(&matches))); pq.As(err, pqerror.InvalidRegularExpression) != nil {
			err = model.Invalid(c.At, "does not compile, or is too complex")
		}
	})
	return err
}
