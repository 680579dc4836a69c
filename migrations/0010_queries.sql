-- +goose Up

-- attributes_jsonb reads attributes for queries. They were checked when they came, but
-- a number nearer to 0 than numeric can tell is good JSON; it becomes 0 here. (Go: storableJSON.)
-- +goose StatementBegin
CREATE FUNCTION attributes_jsonb(attributes text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN attributes::jsonb;
EXCEPTION WHEN numeric_value_out_of_range THEN
    RETURN (
        SELECT string_agg(CASE WHEN token[1] ~ '^-?[0-9][-+.eE0-9]*$'
                                AND (token[1] ~ '[eE]-0*[0-9]{5,}$' OR token[1] ~ '[eE]-0*[1-9]' AND length(token[1]) > 300)
                               THEN '0' ELSE token[1] END, '' ORDER BY place)
        FROM regexp_matches(attributes, '("(?:[^"\\]|\\.)*"|-?[0-9][-+.eE0-9]*|[^-"0-9]+)', 'g')
             WITH ORDINALITY AS t(token, place)
    )::jsonb;
END $$;
-- +goose StatementEnd

-- attribute_date is the time that {"__type": "Date", "iso": "..."} stands for; null of everything else.
-- It never fails: attributes hold whatever clients like.
-- +goose StatementBegin
CREATE FUNCTION attribute_date(v jsonb) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    p   text[];
    day date;
    at  timestamptz;
BEGIN
    IF jsonb_typeof(v) <> 'object' OR v -> '__type' IS DISTINCT FROM '"Date"'
       OR jsonb_typeof(v -> 'iso') IS DISTINCT FROM 'string' OR v - '__type' - 'iso' <> '{}' THEN
        RETURN NULL;
    END IF;
    p := regexp_match(v ->> 'iso', '^([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T'
        '((?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?)(?:Z|([-+])((?:[01][0-9]|2[0-3]):[0-5][0-9]))$');
    IF p IS NULL OR p[1] = '0000' THEN
        RETURN NULL;
    END IF;
    day := make_date(p[1]::int, p[2]::int, 1) + (p[3]::int - 1);
    IF extract(month FROM day) <> p[2]::int THEN -- 30 February
        RETURN NULL;
    END IF;
    -- The offset is taken off by hand: PostgreSQL knows none beyond 16 hours.
    at := ((day::text || ' ' || p[4])::timestamp - COALESCE(((CASE p[5] WHEN '-' THEN '-' ELSE '' END) || p[6])::interval, '0'))
          AT TIME ZONE 'UTC';
    IF at >= '0001-01-01 00:00Z' AND at < '10000-01-01 00:00Z' THEN
        RETURN at;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- attribute_rank orders values of unlike types: missing and null, text, numbers, booleans, arrays, objects
-- (those that are dates first). Within a rank attribute_text, attribute_date and attribute_other order; one of
-- them is not null.
CREATE FUNCTION attribute_rank(v jsonb) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(v)
        WHEN 'string' THEN 1 WHEN 'number' THEN 2 WHEN 'boolean' THEN 3 WHEN 'array' THEN 4
        WHEN 'object' THEN CASE WHEN attribute_date(v) IS NULL THEN 6 ELSE 5 END
        ELSE 0 END::smallint
$$;
CREATE FUNCTION attribute_text(v jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(v) WHEN 'string' THEN v #>> '{}' END
$$;
CREATE FUNCTION attribute_other(v jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN attribute_rank(v) IN (2, 3, 4, 6) THEN v END
$$;

-- Every send updates its conversation in place, which PostgreSQL can do only while no
-- indexed column changes. So the order of activity is indexed by the hour: within one, what a
-- query finds is sorted when it is asked.
ALTER TABLE conversations
    ADD COLUMN attrs jsonb GENERATED ALWAYS AS (attributes_jsonb(attributes)) STORED,
    ADD COLUMN activity_hour timestamp GENERATED ALWAYS AS
        (date_trunc('hour', COALESCE(last_message_at, created_at) AT TIME ZONE 'UTC')) STORED,
    ADD COLUMN last_message_hour timestamp GENERATED ALWAYS AS
        (date_trunc('hour', last_message_at AT TIME ZONE 'UTC')) STORED;

CREATE INDEX conversations_attrs ON conversations USING gin (attrs jsonb_path_ops) WITH (fastupdate = off);
CREATE INDEX conversations_activity ON conversations (activity_hour);
CREATE INDEX conversations_last_message ON conversations (last_message_hour NULLS FIRST);
CREATE INDEX conversations_created ON conversations (created_at);
CREATE INDEX conversations_updated ON conversations (updated_at);
CREATE INDEX conversations_name ON conversations (name COLLATE "C" NULLS FIRST);
CREATE INDEX conversations_creator ON conversations (creator COLLATE "C");
CREATE INDEX conversations_public ON conversations (kind) WHERE visibility = 1; -- what everybody finds
