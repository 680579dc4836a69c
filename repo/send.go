package repo

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
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
		types, shed, custom                                  = make([]int64, n), make([]int64, n), make([]sql.Null[int64], n)
		all, receipt                                         = make([]bool, n), make([]bool, n)
		digest                                               = make(bytesArray, n)
		mentionOf                                            []int64
		mentioned                                            = texts(0)
	)
	for i := range b.sends {
		s := &b.sends[i]
		conversation.add(s.ConversationID, true)
		from.add(s.Sender, true)
		content.add(string(s.Content), true)
		key.add(s.Key, s.Key != "")
		push.add(string(s.Push), s.Push != nil)
		file.add(s.FileID, s.FileID != "")
		session := s.ExceptSession
		if s.ExceptAll {
			session = "" // all of them, the acting one included
		}
		except.add(session, s.ExceptAll || session != "")
		types[i], shed[i], all[i], receipt[i], digest[i] = int64(s.Type), int64(s.Shed), s.MentionAll, s.Receipt, s.Digest
		custom[i] = null(s.CustomType)
		for _, m := range s.Mentions {
			mentionOf = append(mentionOf, int64(i+1))
			mentioned.add(m, true)
		}
	}
	ids, senderIn, sender := texts(len(b.conversation)), texts(len(b.senders)), texts(len(b.senders))
	for _, id := range b.conversation {
		ids.add(id, true)
	}
	times, exempt := make([]int64, len(b.senders)), make([]bool, len(b.senders))
	for i, s := range b.senders {
		senderIn.add(s.conversation, true)
		sender.add(s.client, true)
		times[i], exempt[i] = s.n, s.exempt
	}
	return []any{
		ids, pq.Array(b.count), senderIn, sender, pq.Array(times), pq.Array(exempt),
		conversation, pq.Array(b.index), pq.Array(b.rank), from, pq.Array(types), pq.Array(custom),
		content, pq.Array(all), key, digest, push, file, except, pq.Array(shed), pq.Array(receipt), nonNil(mentionOf), mentioned,
	}
}

func nonNil(v []int64) any {
	if v == nil {
		return "{}"
	}
	return pq.Array(v)
}

// textArray is a text[] in PostgreSQL's binary form, which a connection with
// binary parameters takes as it is.
type textArray struct{ buf []byte }

const textOID = 25

// arrayHead begins the binary form of a one-dimensional array; its length is filled in later.
func arrayHead(buf []byte, oid uint32) []byte {
	buf = binary.BigEndian.AppendUint32(buf, 1)   // dimensions
	buf = binary.BigEndian.AppendUint32(buf, 1)   // may hold nulls
	buf = binary.BigEndian.AppendUint32(buf, oid) // of the elements
	buf = binary.BigEndian.AppendUint32(buf, 0)   // length
	return binary.BigEndian.AppendUint32(buf, 1)  // lower bound
}

func texts(n int) *textArray {
	return &textArray{arrayHead(make([]byte, 0, 20+32*n), textOID)}
}

func (a *textArray) add(s string, valid bool) {
	binary.BigEndian.PutUint32(a.buf[12:], binary.BigEndian.Uint32(a.buf[12:])+1)
	if !valid {
		a.buf = binary.BigEndian.AppendUint32(a.buf, 0xffffffff)
		return
	}
	a.buf = binary.BigEndian.AppendUint32(a.buf, uint32(len(s)))
	a.buf = append(a.buf, s...)
}

// Value hands the array to the driver.
func (a *textArray) Value() (driver.Value, error) { return a.buf, nil }

// bytesArray is a bytea[] in binary form; nil elements are NULL.
type bytesArray [][]byte

// Value hands the array to the driver.
func (a bytesArray) Value() (driver.Value, error) {
	buf := arrayHead(make([]byte, 0, 20+8*len(a)), 17)
	binary.BigEndian.PutUint32(buf[12:], uint32(len(a)))
	for _, b := range a {
		if b == nil {
			buf = binary.BigEndian.AppendUint32(buf, 0xffffffff)
			continue
		}
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(b)))
		buf = append(buf, b...)
	}
	return buf, nil
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
