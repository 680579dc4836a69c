-- +goose Up

-- The log. Its head is one row whose lock is the order of everything: a
-- transaction that writes events takes it last and holds it through its commit,
-- so positions have no gaps and become visible in order.
CREATE TABLE log_head (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    position bigint  NOT NULL
) WITH (fillfactor = 10); -- updated by every commit: leave room to do it in place
INSERT INTO log_head (position) VALUES (0);

-- What seldom changes about the log stands apart, so that trimming never waits for the head.
CREATE TABLE log (
    single  boolean PRIMARY KEY DEFAULT true CHECK (single),
    name    text    NOT NULL,            -- part of every position: tells another database's from ours
    trimmed bigint  NOT NULL DEFAULT 0   -- events up to this position are gone
);
INSERT INTO log (name)
SELECT string_agg(substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + (get_byte(b, i) & 31), 1), '')
FROM decode(replace(gen_random_uuid()::text, '-', ''), 'hex') AS b,
     generate_series(0, 5) AS i; -- bytes 0..5 of a version 4 uuid are random

CREATE TABLE events (
    position        bigint      PRIMARY KEY,
    kind            smallint    NOT NULL, -- model.EventKind
    audience        smallint    NOT NULL, -- model.Audience
    conversation_id text        COLLATE "C",
    seq             bigint,               -- of message events: the frame is made from the message as it is now
    clients         text[],               -- audience "clients"; also who a nobody-event is about, and who owes a message a receipt
    joined          text[],               -- whose stay begins at this event: it covers the event itself
    departed        text[],               -- whose stay ends with this event: it still covers it
    except_client   text,                 -- the acting client, whose session below does not get it
    except_session  text,                 -- '' means all sessions of except_client
    shed            smallint    NOT NULL DEFAULT 0, -- model.Shed: what a reader that cannot keep up may miss
    data            text,                 -- JSON object; null for message events that add nothing to the message
    at              timestamptz NOT NULL
);
CREATE INDEX events_conversation ON events (conversation_id, position) WHERE conversation_id IS NOT NULL;
CREATE INDEX events_clients ON events USING gin (clients) WITH (fastupdate = off) WHERE audience = 2;
CREATE INDEX events_everyone ON events (position) WHERE audience = 3;

-- Everyone who ever opened a stream or was kicked.
CREATE TABLE clients (
    id                  text        COLLATE "C" PRIMARY KEY,
    first_seen_at       timestamptz,          -- null: kicked before ever opening a stream
    last_seen_at        timestamptz,
    tokens_void_through timestamptz,          -- tokens issued up to this second are refused
    acked               bigint NOT NULL DEFAULT 0 -- greatest position that a session now forgotten had acknowledged
);
CREATE INDEX clients_kicked ON clients (id) WHERE tokens_void_through IS NOT NULL;

CREATE TABLE nodes (
    id         text        PRIMARY KEY,
    started_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL  -- a heartbeat; a node long unseen is dead, and its sessions with it
);

CREATE TABLE sessions (
    client_id       text        COLLATE "C" NOT NULL,
    id              text        COLLATE "C" NOT NULL,
    tag             text,
    anonymous       boolean     NOT NULL DEFAULT false, -- named by the server for one connection alone
    opened_at       timestamptz NOT NULL,
    last_seen_at    timestamptz NOT NULL,
    remote_addr     text        NOT NULL,
    node            text,                 -- who holds its stream; null when nobody does
    disconnected_at timestamptz,          -- when node became null
    acked           bigint      NOT NULL DEFAULT 0, -- the position up to which it has everything
    spent_at        timestamptz,          -- logged out, evicted or kicked: may not connect again
    evicted_by      text,                 -- the session that took the tag while this one was away; cleared when it was told
    will            text,                 -- JSON of chat's: the message to be sent when the session is lost
    PRIMARY KEY (client_id, id)
) WITH (fillfactor = 80);
-- A tag has one holder per client; the default one is no tag to be held.
CREATE UNIQUE INDEX sessions_tag ON sessions (client_id, tag) WHERE tag <> 'default' AND spent_at IS NULL;
CREATE INDEX sessions_node ON sessions (node) WHERE node IS NOT NULL;
CREATE INDEX sessions_will ON sessions (disconnected_at) WHERE will IS NOT NULL AND node IS NULL;

-- A chatroom's seat belongs to a session. One that lost its stream keeps it for a while.
CREATE TABLE seats (
    client_id       text        COLLATE "C" NOT NULL,
    session_id      text        COLLATE "C" NOT NULL,
    conversation_id text        COLLATE "C" NOT NULL,
    from_position   bigint      NOT NULL, -- the seat covers events behind this position
    taken_at        timestamptz NOT NULL,
    PRIMARY KEY (client_id, session_id)
);
CREATE INDEX seats_conversation ON seats (conversation_id, client_id);

CREATE TABLE tickets (
    hash             bytea       PRIMARY KEY,  -- sha256: a copy of the table opens nothing
    client_id        text        NOT NULL,
    server           boolean     NOT NULL,
    expires_at       timestamptz NOT NULL,     -- of its first use
    issued_at        timestamptz NOT NULL,
    token_expires_at timestamptz NOT NULL,     -- of all use
    session_id       text                      -- set by its first use
);

CREATE TABLE conversations (
    id              text        COLLATE "C" PRIMARY KEY,
    kind            smallint    NOT NULL,      -- model.Kind
    name            text,
    creator         text,
    attributes      text        NOT NULL,      -- a JSON object, as sent
    visibility      smallint    NOT NULL,      -- model.Visibility
    is_unique       boolean     NOT NULL,
    unique_key      bytea,                     -- digest of the sorted member ids; null when not unique, or when it lost its key
    member_count    integer     NOT NULL,
    seq             bigint      NOT NULL DEFAULT 0, -- of the last message
    trimmed_seq     bigint      NOT NULL DEFAULT 0, -- messages up to this one were outlived and removed
    last_sent_at    timestamptz,               -- of the last message: the next is never older
    last_message_at timestamptz,               -- what is shown
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    expires_at      timestamptz,               -- of a temporary one
    expired         boolean     NOT NULL DEFAULT false -- its messages are gone; the row says for a while that it was
) WITH (fillfactor = 60); -- every send updates it in place
CREATE INDEX conversations_expiring ON conversations (expires_at) WHERE expires_at IS NOT NULL;
CREATE UNIQUE INDEX conversations_unique_key ON conversations (unique_key) WHERE unique_key IS NOT NULL;

CREATE TABLE members (
    conversation_id text        COLLATE "C" NOT NULL,
    client_id       text        COLLATE "C" NOT NULL,
    joined_position bigint      NOT NULL, -- the stay covers events behind this position
    joined_at       timestamptz NOT NULL,
    role            smallint    NOT NULL, -- model.Role
    muted           boolean     NOT NULL DEFAULT false,
    read_seq        bigint      NOT NULL,
    uncounted       bigint      NOT NULL DEFAULT 0, -- messages behind read_seq that are his own, recalled or deleted
    receipt_seq     bigint      NOT NULL DEFAULT 0, -- of the last message that wanted a receipt of him
    delivered_seq   bigint      NOT NULL DEFAULT 0, -- how far he had received when that was last looked at: because of a receipt
    PRIMARY KEY (conversation_id, client_id)
) WITH (fillfactor = 70);
CREATE INDEX members_client ON members (client_id, conversation_id);
CREATE INDEX members_receipt ON members (client_id) WHERE receipt_seq > delivered_seq; -- who owes a receipt

-- Ended stays, kept as long as the events they cover, so that a replay knows who was there.
CREATE TABLE past_stays (
    client_id       text   COLLATE "C" NOT NULL,
    conversation_id text   COLLATE "C" NOT NULL,
    joined_position bigint NOT NULL,
    left_position   bigint NOT NULL      -- the stay covers events up to and with this position
);
CREATE INDEX past_stays_client ON past_stays (client_id, left_position);
CREATE INDEX past_stays_left ON past_stays (left_position);

CREATE TABLE messages (
    conversation_id text        COLLATE "C" NOT NULL,
    seq             bigint      NOT NULL,
    sender          text        COLLATE "C" NOT NULL,
    sent_at         timestamptz NOT NULL,
    type            smallint    NOT NULL, -- model.MessageType
    custom_type     bigint,
    content         text        NOT NULL, -- JSON object: the members of the message that its sender chose
    mention_all     boolean     NOT NULL,
    receipt         boolean     NOT NULL DEFAULT false, -- wanted, and there were two members
    idem_key        text        COLLATE "C",
    idem_digest     bytea,                -- of the whole body as first sent
    push_data       text,
    file_id         text        COLLATE "C", -- the file of ours that the message holds
    updated_at      timestamptz,
    recalled_at     timestamptz,
    moderated       boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (conversation_id, seq)
);
CREATE UNIQUE INDEX messages_idem_key ON messages (conversation_id, sender, idem_key) WHERE idem_key IS NOT NULL;
-- History by type. With the conversation first the planner may take it for the primary key's, and look
-- through all of a long conversation for one message.
CREATE INDEX messages_type ON messages (type, conversation_id, seq);
CREATE INDEX messages_void ON messages (conversation_id, seq) WHERE type IN (-127, 0); -- recalled and removed: they do not count
CREATE INDEX messages_mention_all ON messages (conversation_id, seq) WHERE mention_all;
CREATE INDEX messages_receipt ON messages (conversation_id, seq) WHERE receipt;

-- Who is named in the mention list of a message.
CREATE TABLE mentions (
    conversation_id text   COLLATE "C" NOT NULL,
    client_id       text   COLLATE "C" NOT NULL,
    seq             bigint NOT NULL,
    PRIMARY KEY (conversation_id, client_id, seq)
);

-- store_messages stores a batch of sends in one round trip: all or none.
--
-- c_id must be sorted and distinct: it is the lock order. c_n counts the batch's
-- messages of each. s_*: (conversation, sender, count), sorted by both; unless
-- exempt, the sender must be a member (a chatroom has none): adding to his
-- own-message count is the check. m_*: the messages in the order of their positions; m_c is the index of
-- the conversation in c_id and m_rank counts 1, 2, ... within it. m_except is
-- the session that the event is not for ('' all of the sender's, null none).
-- m_receipt: its sender wants a receipt, which means something when there are two
-- members: receiver then names the other one ('' for messages that want none); it is
-- null when no message does. n_*: mentions, by the index of their message.
--
-- It fails with PA001 when a conversation is not there or not to be sent to,
-- with PA002 when a sender is no member, and with 23505 when a key was used: the
-- caller then asks explain_messages which, answers those and sends the rest.
-- +goose StatementBegin
CREATE FUNCTION store_messages(
    c_id text[], c_n int[],
    s_conversation text[], s_client text[], s_n int[], s_exempt boolean[],
    m_conversation text[], m_c int[], m_rank int[], m_sender text[], m_type smallint[], m_custom bigint[],
    m_content text[], m_mention_all boolean[], m_key text[], m_digest bytea[], m_push text[], m_file text[], m_except text[],
    m_shed smallint[], m_receipt boolean[],
    n_m int[], n_client text[],
    OUT head bigint, OUT base bigint[], OUT sent timestamptz[], OUT receiver text[]
) LANGUAGE plpgsql AS $$
DECLARE
    n    integer;
    pair boolean[]; -- by conversation: it has two members
    at   timestamptz := date_trunc('milliseconds', clock_timestamp());
BEGIN
    WITH u AS (
        UPDATE conversations c
        SET seq = c.seq + i.n,
            last_sent_at = GREATEST(c.last_sent_at, at),
            last_message_at = GREATEST(c.last_message_at, at)
        FROM unnest(c_id, c_n) WITH ORDINALITY AS i(id, n, o)
        WHERE c.id = i.id AND c.kind IN (1, 2, 4) AND (c.expires_at IS NULL OR c.expires_at > at)
        RETURNING i.o, c.seq - i.n AS base, c.last_sent_at AS sent, c.member_count = 2 AND c.kind IN (1, 4) AS pair
    )
    SELECT count(*), array_agg(u.base ORDER BY u.o), array_agg(u.sent ORDER BY u.o), array_agg(u.pair ORDER BY u.o)
    INTO n, base, sent, pair FROM u;
    IF n <> cardinality(c_id) THEN
        RAISE EXCEPTION 'a conversation is not there' USING ERRCODE = 'PA001';
    END IF;

    UPDATE members m SET uncounted = m.uncounted + i.n
    FROM unnest(s_conversation, s_client, s_n) AS i(conversation_id, client_id, n)
    WHERE m.conversation_id = i.conversation_id AND m.client_id = i.client_id;
    GET DIAGNOSTICS n = ROW_COUNT;
    IF n <> cardinality(s_client) THEN
        PERFORM 1 FROM unnest(s_conversation, s_client, s_exempt) AS i(conversation_id, client_id, exempt)
        WHERE NOT i.exempt
          AND NOT EXISTS (SELECT 1 FROM members m WHERE m.conversation_id = i.conversation_id AND m.client_id = i.client_id)
          AND EXISTS (SELECT 1 FROM conversations c WHERE c.id = i.conversation_id AND c.kind <> 2);
        IF FOUND THEN
            RAISE EXCEPTION 'a sender is no member' USING ERRCODE = 'PA002';
        END IF;
    END IF;

    INSERT INTO messages (conversation_id, seq, sender, sent_at, type, custom_type, content, mention_all,
                          receipt, idem_key, idem_digest, push_data, file_id)
    SELECT i.conversation_id, base[i.c] + i.rank, i.sender, sent[i.c], i.type, i.custom, i.content, i.mention_all,
           i.receipt AND pair[i.c], i.key, i.digest, i.push, i.file
    FROM unnest(m_conversation, m_c, m_rank, m_sender, m_type, m_custom, m_content, m_mention_all, m_key, m_digest, m_push, m_file, m_receipt)
         AS i(conversation_id, c, rank, sender, type, custom, content, mention_all, key, digest, push, file, receipt);

    IF cardinality(n_m) > 0 THEN
        INSERT INTO mentions (conversation_id, client_id, seq)
        SELECT m_conversation[i.m], i.client_id, base[m_c[i.m]] + m_rank[i.m]
        FROM unnest(n_m, n_client) AS i(m, client_id);
    END IF;

    IF true = ANY (m_receipt) THEN
        WITH wanted AS (
            SELECT i.conversation_id, i.sender, max(base[i.c] + i.rank) AS seq
            FROM unnest(m_conversation, m_c, m_rank, m_sender, m_receipt) AS i(conversation_id, c, rank, sender, receipt)
            WHERE i.receipt AND pair[i.c]
            GROUP BY i.conversation_id, i.sender
        ), due AS (
            UPDATE members m SET receipt_seq = w.seq
            FROM wanted w JOIN members s ON s.conversation_id = w.conversation_id AND s.client_id = w.sender
            WHERE m.conversation_id = w.conversation_id AND m.client_id <> w.sender
            RETURNING w.conversation_id, w.sender, m.client_id
        )
        SELECT array_agg(COALESCE(d.client_id, '') ORDER BY i.o) INTO receiver
        FROM unnest(m_conversation, m_sender, m_receipt) WITH ORDINALITY AS i(conversation_id, sender, receipt, o)
        LEFT JOIN due d ON i.receipt AND d.conversation_id = i.conversation_id AND d.sender = i.sender;
    END IF;

    n := cardinality(m_c);
    UPDATE log_head SET position = position + n RETURNING position - n INTO head;
    INSERT INTO events (position, kind, audience, conversation_id, seq, clients, except_client, except_session, shed, at)
    SELECT head + i.o, 1, 1, i.conversation_id, base[i.c] + i.rank,
           CASE WHEN receiver[i.o] <> '' THEN ARRAY[receiver[i.o]] END,
           CASE WHEN i.except_session IS NOT NULL THEN i.sender END, i.except_session, i.shed, sent[i.c]
    FROM unnest(m_conversation, m_c, m_rank, m_sender, m_except, m_shed)
         WITH ORDINALITY AS i(conversation_id, c, rank, sender, except_session, shed, o);
END $$;
-- +goose StatementEnd
