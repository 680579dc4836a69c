-- +goose Up

-- message_position is the position in the log of a message's event, or how far the log
-- was trimmed when that is gone. Positions of a conversation's messages grow with their
-- seq, so it is a binary search: some thirty probes of an index at most.
-- +goose StatementBegin
CREATE FUNCTION message_position(conversation text, wanted bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    lo    bigint := (SELECT trimmed FROM log) + 1;
    hi    bigint := (SELECT position FROM log_head) + 1; -- it lies before hi
    mid   bigint;
    found record;
BEGIN
    WHILE lo < hi LOOP
        mid := lo + (hi - lo) / 2;
        SELECT e.position, e.seq INTO found FROM events e
        WHERE e.conversation_id = conversation AND e.kind = 1 AND e.audience = 1 AND e.position >= mid
        ORDER BY e.position LIMIT 1;
        IF found.seq = wanted THEN
            RETURN found.position;
        ELSIF found.seq < wanted THEN
            lo := found.position + 1;
        ELSE -- behind it, or none at all
            hi := mid;
        END IF;
    END LOOP;
    RETURN (SELECT trimmed FROM log);
END $$;
-- +goose StatementEnd
