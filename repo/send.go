package repo

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"parley/model"
)

// Send is one message to store.
type Send struct {
	ConversationID string
	Sender         string
	Exempt         bool // the sender need not be a member
	Type           model.MessageType
	CustomType     int64
	Content        []byte // see model.Message
	MentionAll     bool
	Mentions       []string // members only
	Key            string   // empty: none
	Digest         []byte   // of the body, with a key
	Push           []byte   // nil: none
	// ExceptSession is the sender's session that is not to hear of it; ExceptAll means all of them.
	ExceptSession string
	ExceptAll     bool
	Shed          model.Shed
	FileID        string // of ours, which the message holds; empty: none
	Receipt       bool   // wanted by the sender
}

// Placed is where a stored message ended up.
type Placed struct {
	Position int64
	Seq      int64
	SentAt   model.Time
	// Receiver owes the message a receipt; empty: nobody does.
	Receiver string
}

// Writer stores messages over a connection of its own, made for one statement: the
// plan that fits its batches is forced, whatever the tables looked like when it was
// made, and arrays travel in binary, since text arrays escape every quote of JSON.
//
// A Writer is for one goroutine at a time.
type Writer struct {
	db   *sqlx.DB
	stmt *sql.Stmt // prepared at its first use, and again by database/sql on a new connection
}

// OpenWriter returns a writer for a database; it connects when it is used.
func OpenWriter(dsn string) (*Writer, error) {
	cfg, err := config(dsn, poolLimits)
	if err != nil {
		return nil, err
	}
	cfg.BinaryParameters = true
	for _, plan := range []string{"enable_seqscan", "enable_hashjoin", "enable_mergejoin"} {
		cfg.Runtime[plan] = "off"
	}
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	connector.Dialer(dialer{Dialer: net.Dialer{Timeout: poolLimits.connect}, silence: poolLimits.silence})
	db := sqlx.NewDb(sql.OpenDB(connector), "postgres")
	db.SetMaxOpenConns(1)
	w := &Writer{db: db}
	return w, nil
}

// Close ends the connection.
func (w *Writer) Close() error { return w.db.Close() }

// Refused says why store_messages stored nothing of a batch.
type Refused struct{ err error }

func (r *Refused) Error() string { return r.err.Error() }
func (r *Refused) Unwrap() error { return r.err }

// Store stores a batch in one round trip: all of it or none. The messages get
// consecutive positions in their order. It fails with *Refused when something in
// the batch may not be stored: ExplainSends tells what. A key may occur once.
func (w *Writer) Store(ctx context.Context, sends []Send) ([]Placed, error) {
	const query = `SELECT head, base, sent, receiver FROM store_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
		$13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)`
	b := newBatch(sends)
	var head int64
	var base pq.Int64Array
	var sent timeArray
	var receivers pq.StringArray
	var err error
	if w.stmt == nil {
		if w.stmt, err = w.db.PrepareContext(ctx, query); err != nil {
			return nil, fmt.Errorf("store messages: %w", away(err))
		}
	}
	err = w.stmt.QueryRowContext(ctx, b.args()...).Scan(&head, &base, &sent, &receivers)
	if err != nil {
		if e := pq.As(err); e != nil && (e.Code == "PA001" || e.Code == "PA002" || e.Code == pqerror.UniqueViolation ||
			e.Code == pqerror.TRDeadlockDetected || e.Code == pqerror.TRSerializationFailure) {
			return nil, &Refused{err}
		}
		return nil, fmt.Errorf("store messages: %w", away(err))
	}
	placed := make([]Placed, len(sends))
	for i := range sends {
		c := b.index[i]
		placed[i] = Placed{Position: head + int64(i) + 1, Seq: base[c-1] + b.rank[i], SentAt: sent[c-1]}
		if receivers != nil {
			placed[i].Receiver = receivers[i]
		}
	}
	return placed, nil
}

// batch is the arguments of store_messages.
type batch struct {
	sends        []Send
	conversation []string // sorted, distinct
	count        []int64
	index, rank  []int64 // per send: in conversation, from 1; within it, from 1
	senders      []sender
}

type sender struct {
	conversation, client string
	n                    int64
	exempt               bool
}

func newBatch(sends []Send) *batch {
	b := &batch{sends: sends, index: make([]int64, len(sends)), rank: make([]int64, len(sends))}
	for i := range sends {
		b.conversation = append(b.conversation, sends[i].ConversationID)
		b.senders = append(b.senders, sender{sends[i].ConversationID, sends[i].Sender, 1, sends[i].Exempt})
	}
	slices.Sort(b.conversation)
	b.conversation = slices.Compact(b.conversation)
	b.count = make([]int64, len(b.conversation))
	for i := range sends {
		c, _ := slices.BinarySearch(b.conversation, sends[i].ConversationID)
		b.count[c]++
		b.index[i], b.rank[i] = int64(c+1), b.count[c]
	}
	slices.SortFunc(b.senders, func(x, y sender) int {
		if c := strings.Compare(x.conversation, y.conversation); c != 0 {
			return c
		}
		return strings.Compare(x.client, y.client)
	})
	merged := b.senders[:0]
	for _, s := range b.senders {
		if n := len(merged); n > 0 && merged[n-1].conversation == s.conversation && merged[n-1].client == s.client {
			merged[n-1].n++
			merged[n-1].exempt = merged[n-1].exempt && s.exempt
			continue
		}
		merged = append(merged, s)
	}
	b.senders = merged
	return b
}

func (b *batch) args() []any {
	n := len(b.sends)
	var (
		conversation, from, content, key, push, file, except = texts(n), texts(n), texts(n), texts(n), texts(n), texts(n), texts(n)
		index, rank, types, shed, custom                     = newArray(ofInt4, n), newArray(ofInt4, n), newArray(ofInt2, n), newArray(ofInt2, n), newArray(ofInt8, n)
		all, receipt, digest                                 = newArray(ofBool, n), newArray(ofBool, n), newArray(ofBytea, n)
		mentionOf, mentioned                                 = newArray(ofInt4, 0), texts(0)
	)
	for i := range b.sends {
		s := &b.sends[i]
		conversation.text(s.ConversationID, true)
		index.int(b.index[i])
		rank.int(b.rank[i])
		from.text(s.Sender, true)
		types.int(int64(s.Type))
		if s.CustomType != 0 {
			custom.int(s.CustomType)
		} else {
			custom.null()
		}
		content.bytes(s.Content)
		all.bool(s.MentionAll)
		key.text(s.Key, s.Key != "")
		digest.bytes(s.Digest)
		push.bytes(s.Push)
		file.text(s.FileID, s.FileID != "")
		session := s.ExceptSession
		if s.ExceptAll {
			session = "" // all of them, the acting one included
		}
		except.text(session, s.ExceptAll || session != "")
		shed.int(int64(s.Shed))
		receipt.bool(s.Receipt)
		for _, m := range s.Mentions {
			mentionOf.int(int64(i + 1))
			mentioned.text(m, true)
		}
	}
	ids, count := texts(len(b.conversation)), newArray(ofInt4, len(b.conversation))
	for i, id := range b.conversation {
		ids.text(id, true)
		count.int(b.count[i])
	}
	senders := len(b.senders)
	senderIn, sender, times, exempt := texts(senders), texts(senders), newArray(ofInt4, senders), newArray(ofBool, senders)
	for _, s := range b.senders {
		senderIn.text(s.conversation, true)
		sender.text(s.client, true)
		times.int(s.n)
		exempt.bool(s.exempt)
	}
	return []any{
		ids, count, senderIn, sender, times, exempt, conversation, index, rank, from, types, custom,
		content, all, key, digest, push, file, except, shed, receipt, mentionOf, mentioned,
	}
}

// timeArray reads a timestamptz[] from its text form.
type timeArray []model.Time

// Scan reads the array.
func (a *timeArray) Scan(v any) error {
	var s pq.StringArray
	if err := s.Scan(v); err != nil {
		return err
	}
	*a = make(timeArray, len(s))
	for i := range s {
		t, err := pq.ParseTimestamp(nil, s[i])
		if err != nil {
			return err
		}
		(*a)[i] = model.At(t)
	}
	return nil
}

// SendState is what decides about a send that was refused.
type SendState struct {
	Kind       model.Kind       `db:"kind"` // 0: there is no such conversation
	Visibility model.Visibility `db:"visibility"`
	Expired    bool             `db:"expired"`
	Member     bool             `db:"member"`
	// Replay is the message that the sender's key stands for already, nil if none, and SameBody whether it was this body.
	Replay   *model.Message
	SameBody bool
}

// SendState looks up what decides about one send.
func (s *Store) SendState(ctx context.Context, send *Send) (SendState, error) {
	const query = `
		SELECT c.kind, c.visibility, COALESCE(c.expires_at <= now(), false) AS expired,
		       EXISTS (SELECT 1 FROM members m WHERE m.conversation_id = c.id AND m.client_id = $2) AS member
		FROM conversations c WHERE c.id = $1`
	var st SendState
	err := s.get(ctx, &st, query, send.ConversationID, send.Sender)
	if err != nil {
		if err == sql.ErrNoRows {
			return SendState{}, nil
		}
		return SendState{}, fmt.Errorf("look up a send: %w", err)
	}
	if send.Key == "" {
		return st, nil
	}
	var row struct {
		messageRow
		Digest []byte `db:"idem_digest"`
	}
	const replay = `SELECT ` + messageColumns + `, m.idem_digest FROM messages m
		WHERE m.conversation_id = $1 AND m.sender = $2 AND m.idem_key = $3`
	switch err := s.get(ctx, &row, replay, send.ConversationID, send.Sender, send.Key); err {
	case sql.ErrNoRows:
	case nil:
		m := row.message()
		st.Replay, st.SameBody = &m, string(row.Digest) == string(send.Digest)
	default:
		return SendState{}, fmt.Errorf("look up a key: %w", err)
	}
	return st, nil
}
