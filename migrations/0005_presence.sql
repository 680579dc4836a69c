-- +goose Up

-- Whose presence a session wants to hear of. The node that holds its stream has the list
-- in memory; a change of presence writes nothing here.
CREATE TABLE presence_subscriptions (
    client_id  text    COLLATE "C" NOT NULL,
    session_id text    COLLATE "C" NOT NULL,
    revision   text    NOT NULL, -- another with every list
    anyone     boolean NOT NULL, -- asked for with a server token, which may see everyone
    watched    text[]  NOT NULL,
    online     text[]  NOT NULL, -- who of them was told to be online when the list was made
    PRIMARY KEY (client_id, session_id),
    FOREIGN KEY (client_id, session_id) REFERENCES sessions (client_id, id) ON DELETE CASCADE
);

-- For the statistics: who was lost when, and who was seen on what day (UTC). The latter
-- does not change with every login, which can then update its row in place.
CREATE INDEX sessions_disconnected ON sessions (disconnected_at) WHERE disconnected_at IS NOT NULL;
ALTER TABLE clients ADD COLUMN seen_on date GENERATED ALWAYS AS ((last_seen_at AT TIME ZONE 'UTC')::date) STORED;
CREATE INDEX clients_seen_on ON clients (seen_on);
CREATE INDEX messages_removed ON messages (conversation_id) WHERE type = 0;

-- No message of a conversation is older than this, but for one that was under way while
-- it was moved, whose end is then late by as much. Only the cleaner moves it, so finding
-- what has been outlived costs nothing where there is none, and sends cost nothing at
-- all. Whoever brings in older messages must set it back.
ALTER TABLE conversations ADD COLUMN oldest_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', now()); -- as sent_at is
UPDATE conversations SET oldest_at = created_at;
CREATE INDEX conversations_oldest ON conversations (oldest_at);
CREATE INDEX mentions_message ON mentions (conversation_id, seq);

-- Conversations that are gone for everybody, whose messages are still to be removed.
CREATE TABLE removed_conversations (
    id text COLLATE "C" PRIMARY KEY
);

-- outlive_messages removes messages sent before a time with all that hangs on them: most
-- messages at once, of so many conversations. It returns a row for each conversation that
-- it looked at: how far it is trimmed now, how many messages went, and whether one of
-- those was sent or changed since a time. A conversation whose row is locked is left for the next time.
-- +goose StatementBegin
CREATE FUNCTION outlive_messages(before timestamptz, changed_since timestamptz, most int, conversations_most int)
RETURNS TABLE (id text, kind smallint, upto bigint, removed int, recent boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    c       record;
    room    int := most;
    last    bigint;
    n       int;
    newest  timestamptz;
    oldest  timestamptz;
BEGIN
    FOR c IN
        SELECT v.id, v.kind, v.trimmed_seq FROM conversations v WHERE v.oldest_at < before
        ORDER BY v.oldest_at LIMIT conversations_most FOR UPDATE SKIP LOCKED
    LOOP
        EXIT WHEN room <= 0;
        -- sent_at never decreases with seq, so these are the first of them.
        SELECT max(t.seq), count(*), max(GREATEST(t.sent_at, t.updated_at, t.recalled_at)) INTO last, n, newest
        FROM (SELECT seq, sent_at, updated_at, recalled_at FROM messages
              WHERE conversation_id = c.id ORDER BY seq LIMIT room) t
        WHERE t.sent_at < before;
        last := GREATEST(c.trimmed_seq, last);
        IF n > 0 THEN
            -- Members behind count them as uncounted messages behind their read position, and no more from now on.
            -- Who sends, reads, recalls or removes holds the lock that we hold, so this is exact.
            UPDATE members m SET uncounted = GREATEST(0, m.uncounted - gone.n)
            FROM (
                SELECT client_id, count(*) AS n FROM (
                    SELECT s.client_id FROM messages g JOIN members s ON s.conversation_id = g.conversation_id AND s.client_id = g.sender
                    WHERE g.conversation_id = c.id AND g.seq > GREATEST(s.read_seq, c.trimmed_seq) AND g.seq <= last
                    UNION ALL
                    SELECT s.client_id FROM messages g JOIN members s ON s.conversation_id = g.conversation_id AND s.client_id <> g.sender
                    WHERE g.conversation_id = c.id AND g.seq > GREATEST(s.read_seq, c.trimmed_seq) AND g.seq <= last
                      AND g.type IN (-127, 0)
                ) u GROUP BY client_id
            ) gone
            WHERE m.conversation_id = c.id AND m.client_id = gone.client_id AND m.uncounted > 0;
            DELETE FROM mentions g WHERE g.conversation_id = c.id AND g.seq <= last;
            DELETE FROM message_readers g WHERE g.conversation_id = c.id AND g.seq <= last;
            DELETE FROM broadcasts g WHERE g.conversation_id = c.id AND g.seq <= last;
            DELETE FROM messages g WHERE g.conversation_id = c.id AND g.seq <= last;
        END IF;
        oldest := (SELECT g.sent_at FROM messages g WHERE g.conversation_id = c.id AND g.seq > last ORDER BY g.seq LIMIT 1);
        UPDATE conversations v SET trimmed_seq = last, oldest_at = COALESCE(oldest, GREATEST(date_trunc('milliseconds', now()), before)) WHERE v.id = c.id;
        room := room - n;
        id := c.id; kind := c.kind; upto := last; removed := n; recent := COALESCE(newest >= changed_since, false);
        RETURN NEXT;
    END LOOP;
END $$;
-- +goose StatementEnd
