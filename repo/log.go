package repo

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lib/pq"

	"parley/model"
)

// LogState is the log's name, how far it was trimmed, and its last position.
type LogState struct {
	Name    string `db:"name"`
	Trimmed int64  `db:"trimmed"`
	Head    int64  `db:"position"`
}

// Log returns the state of the log as of its last commit.
func (s *Store) Log(ctx context.Context) (LogState, error) {
	const query = `SELECT name, trimmed, position FROM log, log_head`
	var l LogState
	err := s.get(ctx, &l, query)
	return l, err
}

// Append puts events at the end of the log, in order, and gives each its
// Position. It takes the lock of the log's head, so it must be the last thing
// that a transaction does. It also keeps the stays: those in Joined must be rows
// of members already, and their stay begins to cover this event; those in Departed
// are moved from members to past_stays, where the stay still covers this event. A
// Seat must be a row of seats already, and begins behind this event. A message to
// everyone has its place noted in broadcasts.
func (s *Store) Append(ctx context.Context, events ...*model.Event) error {
	head, err := s.insertEvents(ctx, events)
	if err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	for i, e := range events {
		e.Position = head + 1 + int64(i)
		if err := s.keepStays(ctx, e); err != nil {
			return fmt.Errorf("append %s: %w", e.Kind.Name(), err)
		}
	}
	return nil
}

// insertEvents takes positions and writes the events in one statement, and returns the position before them.
func (s *Store) insertEvents(ctx context.Context, events []*model.Event) (head int64, err error) {
	// Arrays in an array travel as text: unnest would take them apart as well.
	const query = `
		WITH head AS (
			UPDATE log_head SET position = position + cardinality($1::int[]) RETURNING position - cardinality($1::int[]) AS position
		), written AS (
			INSERT INTO events (position, kind, audience, conversation_id, seq, clients, joined, departed,
			                    except_client, except_session, data, at, shed)
			SELECT head.position + e.o, e.kind, e.audience, e.conversation_id, e.seq, e.clients::text[], e.joined::text[],
			       e.departed::text[], e.except_client, e.except_session, e.data, e.at, e.shed
			FROM head, unnest($1::int[], $2::int[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
			                  $8::text[], $9::text[], $10::text[], $11::timestamptz[], $12::int[])
			     WITH ORDINALITY AS e(kind, audience, conversation_id, seq, clients, joined, departed,
			                          except_client, except_session, data, at, shed, o)
		)
		SELECT position FROM head`
	n := len(events)
	kind, audience, shed := make([]int64, n), make([]int64, n), make([]int64, n)
	seq, at := make([]sql.Null[int64], n), make([]time.Time, n)
	conversation, clients, joined, departed := make([]sql.NullString, n), make([]sql.NullString, n), make([]sql.NullString, n), make([]sql.NullString, n)
	exceptClient, exceptSession, data := make([]sql.NullString, n), make([]sql.NullString, n), make([]sql.NullString, n)
	for i, e := range events {
		kind[i], audience[i], shed[i] = int64(e.Kind), int64(e.Audience), int64(e.Shed)
		conversation[i], seq[i], at[i] = text(e.ConversationID, e.ConversationID != ""), null(e.Seq), e.At.Time
		clients[i], joined[i], departed[i] = arrayText(e.Clients), arrayText(e.Joined), arrayText(e.Departed)
		exceptClient[i] = text(e.ExceptClient, e.ExceptClient != "")
		exceptSession[i] = text(e.ExceptSession, e.ExceptClient != "")
		data[i] = text(string(e.Data), e.Data != nil)
	}
	err = s.get(ctx, &head, query, pq.Array(kind), pq.Array(audience), pq.Array(conversation), pq.Array(seq),
		pq.Array(clients), pq.Array(joined), pq.Array(departed), pq.Array(exceptClient), pq.Array(exceptSession),
		pq.Array(data), pq.Array(at), pq.Array(shed))
	return head, err
}

// keepStays moves what begins and ends with an event.
func (s *Store) keepStays(ctx context.Context, e *model.Event) error {
	if e.Seat != nil && e.Seat.ConversationID != "" {
		const sit = `UPDATE seats SET from_position = $3 WHERE client_id = $1 AND session_id = $2`
		if _, err := s.exec(ctx, sit, e.Seat.ClientID, e.Seat.Session, e.Position); err != nil {
			return err
		}
	}
	if e.Kind == model.EventMessage && e.Audience == model.ToEveryone {
		const place = `UPDATE broadcasts SET position = $3 WHERE conversation_id = $1 AND seq = $2`
		if _, err := s.exec(ctx, place, e.ConversationID, e.Seq, e.Position); err != nil {
			return err
		}
	}
	if len(e.Joined) > 0 {
		const begin = `UPDATE members SET joined_position = $3 WHERE conversation_id = $1 AND client_id = ANY ($2)`
		if _, err := s.exec(ctx, begin, e.ConversationID, pq.Array(e.Joined), e.Position-1); err != nil {
			return err
		}
	}
	if len(e.Departed) > 0 {
		const end = `
			WITH gone AS (
				DELETE FROM members WHERE conversation_id = $1 AND client_id = ANY ($2)
				RETURNING client_id, conversation_id, joined_position)
			INSERT INTO past_stays (client_id, conversation_id, joined_position, left_position)
			SELECT client_id, conversation_id, joined_position, $3 FROM gone`
		if _, err := s.exec(ctx, end, e.ConversationID, pq.Array(e.Departed), e.Position); err != nil {
			return err
		}
	}
	return nil
}

func text(s string, valid bool) sql.NullString { return sql.NullString{String: s, Valid: valid} }

// arrayText is a text[] in PostgreSQL's text form; null when it is empty.
func arrayText(v []string) sql.NullString {
	if len(v) == 0 {
		return sql.NullString{}
	}
	form, _ := pq.StringArray(v).Value() // never fails
	return text(form.(string), true)
}

// null is a value that is NULL when it is the zero of its type.
func null[T comparable](v T) sql.Null[T] {
	var zero T
	return sql.Null[T]{V: v, Valid: v != zero}
}

// eventColumns joins an event with its message as it is now.
const eventColumns = `
	e.position, e.kind, e.audience, e.conversation_id, e.seq, e.clients, e.joined, e.departed,
	e.except_client, e.except_session, e.data, e.at, e.shed,
	m.sender, m.sent_at, m.type, m.content, m.idem_key, m.updated_at, m.recalled_at, m.moderated`

const eventMessage = `
	LEFT JOIN messages m ON m.conversation_id = e.conversation_id AND m.seq = e.seq AND m.type <> 0`

type eventRow struct {
	Position       int64             `db:"position"`
	Kind           model.EventKind   `db:"kind"`
	Audience       model.Audience    `db:"audience"`
	ConversationID sql.NullString    `db:"conversation_id"`
	Seq            sql.NullInt64     `db:"seq"`
	Clients        pq.StringArray    `db:"clients"`
	Joined         pq.StringArray    `db:"joined"`
	Departed       pq.StringArray    `db:"departed"`
	ExceptClient   sql.NullString    `db:"except_client"`
	ExceptSession  sql.NullString    `db:"except_session"`
	Data           sql.NullString    `db:"data"`
	At             model.Time        `db:"at"`
	Shed           model.Shed        `db:"shed"`
	Sender         sql.NullString    `db:"sender"`
	SentAt         *model.Time       `db:"sent_at"`
	Type           model.MessageType `db:"type"`
	Content        []byte            `db:"content"`
	Key            sql.NullString    `db:"idem_key"`
	UpdatedAt      *model.Time       `db:"updated_at"`
	RecalledAt     *model.Time       `db:"recalled_at"`
	Moderated      sql.NullBool      `db:"moderated"`
}

func (r *eventRow) scanTo(rows *sql.Rows) error {
	var typ sql.NullInt16
	err := rows.Scan(&r.Position, &r.Kind, &r.Audience, &r.ConversationID, &r.Seq, &r.Clients, &r.Joined, &r.Departed,
		&r.ExceptClient, &r.ExceptSession, &r.Data, &r.At, &r.Shed,
		&r.Sender, &r.SentAt, &typ, &r.Content, &r.Key, &r.UpdatedAt, &r.RecalledAt, &r.Moderated)
	r.Type = model.MessageType(typ.Int16)
	return err
}

func (r *eventRow) event() model.Event {
	e := model.Event{
		Position: r.Position, Kind: r.Kind, Audience: r.Audience, ConversationID: r.ConversationID.String, Seq: r.Seq.Int64,
		Clients: r.Clients, Joined: r.Joined, Departed: r.Departed,
		ExceptClient: r.ExceptClient.String, ExceptSession: r.ExceptSession.String, At: r.At, Shed: r.Shed,
	}
	if e.Kind == model.EventSeat {
		e.Seat = new(model.SeatTaken)
		_ = json.Unmarshal([]byte(r.Data.String), e.Seat) // a seat of nobody's, should it ever be damaged
	}
	switch {
	case !e.Kind.OfMessage():
		if r.Data.Valid {
			e.Data = []byte(r.Data.String)
		}
	case r.Sender.Valid: // else the message was deleted since: there is nothing to show
		m := model.Message{
			ConversationID: e.ConversationID, Seq: e.Seq, From: r.Sender.String, SentAt: *r.SentAt, Type: r.Type,
			Content: r.Content, Key: r.Key.String, UpdatedAt: r.UpdatedAt, RecalledAt: r.RecalledAt, Moderated: r.Moderated.Bool,
		}
		e.Data = model.MessageEventData(&m, json.RawMessage(r.Data.String), e.At)
	}
	return e
}

func (s *Store) events(ctx context.Context, query string, args ...any) ([]model.Event, error) {
	rows, err := s.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []model.Event
	for rows.Next() {
		var r eventRow
		if err := r.scanTo(rows); err != nil {
			return nil, err
		}
		out = append(out, r.event())
	}
	return out, rows.Err()
}

// Events returns the log behind a position, up to limit entries, in order.
func (s *Store) Events(ctx context.Context, after int64, limit int) ([]model.Event, error) {
	const query = `SELECT ` + eventColumns + ` FROM events e` + eventMessage + `
		WHERE e.position > $1 ORDER BY e.position LIMIT $2`
	out, err := s.events(ctx, query, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	return out, nil
}

// ClientEvents returns what one client was to hear between two positions
// (after < position <= upto), up to limit entries, in order, the acting session's
// own among them. A limit reached means that there may be more. seat is the
// chatroom's seat of the session that asks, if it has one: of what may be shed there
// it gets the newest.
func (s *Store) ClientEvents(ctx context.Context, client string, seat *model.Seat, after, upto int64, limit int) ([]model.Event, error) {
	// Each branch stops after limit entries by itself, so a long absence costs one page at a time.
	query := `
		WITH stays AS (
			SELECT conversation_id, joined_position AS f, $3::bigint AS t FROM members m WHERE client_id = $1 AND ` + unexpired("m") + `
			UNION ALL
			SELECT conversation_id, joined_position, left_position FROM past_stays
			WHERE client_id = $1 AND left_position > $2
		), heard AS (
			(SELECT h.position FROM stays s CROSS JOIN LATERAL (
				SELECT position FROM events
				WHERE conversation_id = s.conversation_id AND audience = 1
				  AND position > GREATEST(s.f, $2) AND position <= LEAST(s.t, $3)
				ORDER BY position LIMIT $4) h
			 ORDER BY h.position LIMIT $4)
			UNION ALL
			(SELECT position FROM events e WHERE audience = 2 AND clients @> ARRAY[$1::text] AND position > $2 AND position <= $3
			   AND ` + unexpired("e") + ` ORDER BY position LIMIT $4)
			UNION ALL
			(SELECT position FROM events WHERE audience = 3 AND position > $2 AND position <= $3 ORDER BY position LIMIT $4)
			UNION ALL
			(SELECT position FROM events WHERE conversation_id = $5 AND audience = 1 AND shed = 0
			   AND position > GREATEST($6, $2) AND position <= $3 ORDER BY position LIMIT $4)
			UNION ALL
			(SELECT position FROM events WHERE conversation_id = $5 AND audience = 1 AND shed > 0
			   AND position > GREATEST($6, $2) AND position <= $3 ORDER BY position DESC LIMIT $7)
		), page AS (SELECT position FROM heard ORDER BY position LIMIT $4)
		SELECT ` + eventColumns + ` FROM page JOIN events e USING (position)` + eventMessage + `
		ORDER BY position`
	var room sql.NullString // no conversation is null
	var from int64
	if seat != nil {
		room, from = sql.NullString{String: seat.ConversationID, Valid: true}, seat.From
	}
	out, err := s.events(ctx, query, client, after, upto, limit, room, from, model.ShedReplayed)
	if err != nil {
		return nil, fmt.Errorf("read what a client missed: %w", err)
	}
	return out, nil
}

// unexpired leaves out temporary conversations whose time is over, of the table alias: what
// ends them comes a moment later, and nothing of them may be told from then on. Only their
// ids begin so.
func unexpired(alias string) string {
	id := alias + ".conversation_id"
	return `(` + id + ` IS NULL OR ` + id + ` NOT LIKE '\_tmp:%' OR NOT EXISTS (
		SELECT 1 FROM conversations WHERE id = ` + id + ` AND expires_at <= now()))`
}

// Belongings returns the stays of clients, the ended ones too if they ended behind
// position since, their seats, and the position as of which all of it is true.
func (s *Store) Belongings(ctx context.Context, clients []string, since int64) (asOf int64, found map[string]model.Belongings, err error) {
	// One statement, so one snapshot: the position belongs to the rows.
	const query = `
		SELECT h.position, c.client_id, s.conversation_id, s.f, s.t, s.session_id
		FROM log_head h CROSS JOIN unnest($1::text[]) AS c(client_id) LEFT JOIN LATERAL (
			SELECT conversation_id, joined_position AS f, 9223372036854775807 AS t, NULL AS session_id
			FROM members WHERE client_id = c.client_id
			UNION ALL
			SELECT conversation_id, joined_position, left_position, NULL
			FROM past_stays WHERE client_id = c.client_id AND left_position > $2
			UNION ALL
			SELECT conversation_id, from_position, 0, session_id FROM seats WHERE client_id = c.client_id
		) s ON true`
	rows, err := s.query(ctx, query, pq.Array(clients), since)
	if err != nil {
		return 0, nil, fmt.Errorf("load stays: %w", err)
	}
	defer rows.Close()
	found = make(map[string]model.Belongings, len(clients))
	for rows.Next() {
		var client string
		var conversation, session sql.NullString
		var from, to sql.NullInt64
		if err := rows.Scan(&asOf, &client, &conversation, &from, &to, &session); err != nil {
			return 0, nil, fmt.Errorf("load stays: %w", err)
		}
		b := found[client]
		switch {
		case session.Valid:
			b.Seats = append(b.Seats, model.Seat{Session: session.String, ConversationID: conversation.String, From: from.Int64})
		case conversation.Valid:
			b.Stays = append(b.Stays, model.Stay{ConversationID: conversation.String, From: from.Int64, To: to.Int64})
		}
		found[client] = b
	}
	return asOf, found, rows.Err()
}

// TrimLog removes up to limit of the oldest events, those before a time, and the
// stays that covered nothing else. It returns how many events went; less than
// limit means that nothing older is left. The head of the log is not locked.
func (s *Store) TrimLog(ctx context.Context, before time.Time, limit int) (int, error) {
	// Times grow with positions but for clock steps, so the first young event ends the search.
	const query = `
		WITH old AS (
			SELECT position, at FROM events ORDER BY position LIMIT $2
		), upto AS (
			SELECT max(position) AS position FROM old
			WHERE position < COALESCE((SELECT min(position) FROM old WHERE at >= $1), 9223372036854775807)
		), gone AS (
			DELETE FROM events WHERE position <= (SELECT position FROM upto) RETURNING 1
		), mark AS (
			UPDATE log SET trimmed = upto.position FROM upto WHERE upto.position IS NOT NULL
		), stays AS (
			DELETE FROM past_stays WHERE left_position <= (SELECT position FROM upto)
		)
		SELECT count(*) FROM gone`
	var n int
	if err := s.get(ctx, &n, query, before, limit); err != nil {
		return 0, fmt.Errorf("trim the log: %w", err)
	}
	return n, nil
}

// Notify sends a payload of less than 8,000 bytes to whoever listens on a channel.
func (s *Store) Notify(ctx context.Context, channel, payload string) error {
	_, err := s.exec(ctx, `SELECT pg_notify($1, $2)`, channel, payload)
	return err
}

// LockHouse takes the lock that lets one node at a time clean up, until the
// transaction ends; false when another has it.
func (s *Store) LockHouse(ctx context.Context) (bool, error) {
	var got bool
	err := s.get(ctx, &got, `SELECT pg_try_advisory_xact_lock($1)`, 0x7061726c6579) // "parley"
	return got, err
}
