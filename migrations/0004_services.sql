-- +goose Up

-- Whose a message is (model.Scope): 0 the conversation's, as all are but in services;
-- 1 it goes up to the service; 2 for some clients; 3 for the subscribers; 4 for everyone.
ALTER TABLE messages ADD COLUMN scope smallint NOT NULL DEFAULT 0;
CREATE INDEX messages_scope ON messages (conversation_id, scope, seq) WHERE scope > 0;
CREATE INDEX messages_scope_type ON messages (conversation_id, scope, type, seq) WHERE scope > 0;
CREATE INDEX messages_scope_custom_type ON messages (conversation_id, scope, custom_type, seq) WHERE scope > 0 AND type = 3;

-- Who may read a message of a service personally: its sender, and those of scope 2 for
-- whom it is. A broadcast to everyone has no such row, one to the subscribers its sender's.
CREATE TABLE message_readers (
    conversation_id text   COLLATE "C" NOT NULL,
    client_id       text   COLLATE "C" NOT NULL,
    seq             bigint NOT NULL,
    PRIMARY KEY (conversation_id, client_id, seq)
);
CREATE INDEX message_readers_message ON message_readers (conversation_id, seq);

-- Broadcasts to everyone that clients may still have to be told of when they come.
CREATE TABLE broadcasts (
    conversation_id text        COLLATE "C" NOT NULL,
    seq             bigint      NOT NULL,
    position        bigint      NOT NULL, -- of its event; 0 until that is written
    valid_until     timestamptz NOT NULL,
    PRIMARY KEY (conversation_id, seq)
);
CREATE INDEX broadcasts_position ON broadcasts (position);
CREATE INDEX broadcasts_valid ON broadcasts (valid_until);

-- The position behind which broadcasts concern a client: the newest one there was when it came first does.
ALTER TABLE clients ADD COLUMN broadcasts_after bigint NOT NULL DEFAULT 0;

-- service_unread are the messages of a service behind a seq that count as unread for a
-- subscriber: others' that he may read, recalled and removed ones apart. Each part is a
-- range of an index, and they have nothing in common.
-- +goose StatementBegin
CREATE FUNCTION service_unread(service text, client text, behind bigint) RETURNS SETOF messages
LANGUAGE sql STABLE AS $$
    SELECT m.* FROM messages m
    WHERE m.conversation_id = service AND m.scope = 3 AND m.seq > behind
      AND m.sender <> client AND m.type NOT IN (-127, 0)
    UNION ALL
    SELECT m.* FROM messages m
    WHERE m.conversation_id = service AND m.scope = 4 AND m.seq > behind
      AND m.sender <> client AND m.type NOT IN (-127, 0)
    UNION ALL
    SELECT m.* FROM message_readers r CROSS JOIN LATERAL (
        SELECT * FROM messages WHERE conversation_id = r.conversation_id AND seq = r.seq OFFSET 0) m
    WHERE r.conversation_id = service AND r.client_id = client AND r.seq > behind
      AND m.sender <> client AND m.type NOT IN (-127, 0)
$$;
-- +goose StatementEnd

-- service_last is the seq of the newest message of a service, up to some seq, that a
-- client may read; null when there is none. Without a client it is the newest of all.
-- +goose StatementBegin
CREATE FUNCTION service_last(service text, client text, subscribed boolean, upto bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF client IS NULL THEN
        RETURN (SELECT seq FROM messages WHERE conversation_id = service AND seq <= upto AND type <> 0 ORDER BY seq DESC LIMIT 1);
    END IF;
    RETURN GREATEST(
        (SELECT r.seq FROM message_readers r CROSS JOIN LATERAL (
             SELECT type FROM messages WHERE conversation_id = r.conversation_id AND seq = r.seq OFFSET 0) m
         WHERE r.conversation_id = service AND r.client_id = client AND (r.client_id, r.seq) <= (client, upto) AND m.type <> 0
         ORDER BY r.client_id DESC, r.seq DESC LIMIT 1),
        (SELECT seq FROM messages
         WHERE conversation_id = service AND scope > 0 AND type <> 0
           AND (scope, seq) >= (4::smallint, -9223372036854775808) AND (scope, seq) <= (4::smallint, upto)
         ORDER BY scope DESC, seq DESC LIMIT 1),
        CASE WHEN subscribed THEN (SELECT seq FROM messages
         WHERE conversation_id = service AND scope > 0 AND type <> 0
           AND (scope, seq) >= (3::smallint, -9223372036854775808) AND (scope, seq) <= (3::smallint, upto)
         ORDER BY scope DESC, seq DESC LIMIT 1) END);
END $$;
-- +goose StatementEnd

-- service_shows tells whether a client may read a message of a service. Without a client every message may be read.
-- +goose StatementBegin
CREATE FUNCTION service_shows(service text, client text, subscribed boolean, wanted bigint) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM messages
        WHERE conversation_id = service AND seq = wanted AND type <> 0
          AND (client IS NULL OR scope = 4 OR scope = 3 AND subscribed
               OR EXISTS (SELECT 1 FROM message_readers
                          WHERE conversation_id = service AND client_id = client AND seq = wanted)));
END $$;
-- +goose StatementEnd
