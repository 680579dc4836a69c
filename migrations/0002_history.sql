-- +goose Up

-- History by custom type; messages_type finds all other types.
CREATE INDEX messages_custom_type ON messages (conversation_id, custom_type, seq) WHERE type = 3;

-- message_seq_at tells where in a conversation a time lies: messages from the seq
-- it returns on were sent at that time or later, those before it earlier. sent_at
-- never decreases with seq, so it is a binary search: some twenty probes of the
-- primary key in a million messages. Holes in seq do no harm.
-- +goose StatementBegin
CREATE FUNCTION message_seq_at(conversation text, t timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    lo   bigint := (SELECT min(seq) FROM messages WHERE conversation_id = conversation);     -- all before it are older than t
    hi   bigint := (SELECT max(seq) + 1 FROM messages WHERE conversation_id = conversation); -- none from it on is
    mid  bigint;
    next bigint;
    at   timestamptz;
BEGIN
    WHILE lo < hi LOOP
        mid := lo + (hi - lo) / 2;
        at := (SELECT sent_at FROM messages WHERE conversation_id = conversation AND seq = mid);
        IF at IS NULL THEN -- a hole: the next message decides
            next := (SELECT min(seq) FROM messages WHERE conversation_id = conversation AND seq > mid AND seq < hi);
            IF next IS NULL THEN
                hi := mid;
                CONTINUE;
            END IF;
            mid := next;
            at := (SELECT sent_at FROM messages WHERE conversation_id = conversation AND seq = mid);
        END IF;
        IF at < t THEN
            lo := mid + 1;
        ELSE
            hi := mid;
        END IF;
    END LOOP;
    RETURN COALESCE(lo, 0);
END $$;
-- +goose StatementEnd
