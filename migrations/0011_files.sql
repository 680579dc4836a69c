-- +goose Up

-- What is known of uploaded files; their bytes lie in the file store.
CREATE TABLE files (
    id           text        COLLATE "C" PRIMARY KEY,
    uploader     text        COLLATE "C",      -- null: a server token that acted for nobody
    state        smallint    NOT NULL,         -- 1: being uploaded, 2: there, 3: to be removed, nobody sees it
    name         text,
    mime_type    text,
    size         bigint      NOT NULL,         -- while it is being uploaded: at least so much
    width        bigint,
    height       bigint,
    duration     double precision,
    format       text,
    created_at   timestamptz NOT NULL,
    -- Since when no message holds it; null: one does. It follows messages.file_id by the triggers below.
    unheld_since timestamptz
);
CREATE INDEX files_uploader ON files (uploader) WHERE unheld_since IS NOT NULL;
CREATE INDEX files_unheld ON files (unheld_since) WHERE unheld_since IS NOT NULL;

-- Signs the urls of files.
CREATE TABLE file_key (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    secret bytea   NOT NULL
);
INSERT INTO file_key (secret) -- a version 4 uuid has 122 random bits
SELECT sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'));

-- messages.file_id is the one truth about who holds a file: a message holds it as
-- long as the column names it. Whatever stores, edits or removes messages keeps to that.
CREATE INDEX messages_file ON messages (file_id) WHERE file_id IS NOT NULL;

-- +goose StatementBegin
CREATE FUNCTION message_file_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.file_id IS NOT NULL THEN
        -- Of two messages that let go at once, the second must see that the first has: lock, then look.
        PERFORM 1 FROM files WHERE id = OLD.file_id FOR UPDATE;
        UPDATE files SET unheld_since = now()
        WHERE id = OLD.file_id AND unheld_since IS NULL
          AND NOT EXISTS (SELECT 1 FROM messages WHERE file_id = OLD.file_id);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.file_id IS NOT NULL THEN
        UPDATE files SET unheld_since = NULL WHERE id = NEW.file_id AND state = 2 AND unheld_since IS NOT NULL;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER messages_file_sent AFTER INSERT ON messages
    FOR EACH ROW WHEN (NEW.file_id IS NOT NULL) EXECUTE FUNCTION message_file_changed();
CREATE TRIGGER messages_file_edited AFTER UPDATE ON messages
    FOR EACH ROW WHEN (OLD.file_id IS DISTINCT FROM NEW.file_id) EXECUTE FUNCTION message_file_changed();
CREATE TRIGGER messages_file_deleted AFTER DELETE ON messages
    FOR EACH ROW WHEN (OLD.file_id IS NOT NULL) EXECUTE FUNCTION message_file_changed();

-- A message that was recalled or removed has no content, and so no file.
-- +goose StatementBegin
CREATE FUNCTION message_file_dropped() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.file_id := NULL;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER messages_file_dropped BEFORE UPDATE ON messages
    FOR EACH ROW WHEN (NEW.file_id IS NOT NULL AND NEW.type IN (-127, 0)) EXECUTE FUNCTION message_file_dropped();
