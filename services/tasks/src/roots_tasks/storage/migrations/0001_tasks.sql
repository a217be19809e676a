-- Tasks, the outbox that carries their changes to the event stream, and the answers kept for retries.

DO $$
BEGIN
    -- Any other encoding would count bytes as characters, or refuse what browsers send.
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'the database must have the encoding UTF8, this one has %', current_setting('server_encoding');
    END IF;
END
$$;

CREATE TABLE task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    description text NOT NULL CHECK (char_length(description) BETWEEN 1 AND 2000),
    is_done boolean NOT NULL,
    version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- A queue: the relay publishes the rows in the order of their ids and deletes each after its acknowledgement. The row of
-- a task is locked before its outbox row is inserted, so that the ids of one task's events follow commit order.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Random, not the id: a restored database would use ids again, and the stream would take new events for repeats.
    event_id uuid NOT NULL DEFAULT gen_random_uuid(),
    path text NOT NULL,
    task_id bigint NOT NULL,
    message text NOT NULL,
    traceparent text,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    -- Every row is soon dead. Vacuum by count, or a burst would leave the relay reading through its remains.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000
);

-- The answer to each POST that came with an Idempotency-Key; the relay prunes them.
CREATE TABLE idempotency_key (
    key text PRIMARY KEY,
    request_digest bytea NOT NULL,
    task_id bigint NOT NULL,
    content text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX idempotency_key_created_at ON idempotency_key (created_at);

-- A task as clients see it. The database renders it, so that the answer to a change and its event are one text, made in
-- the one statement that commits both.
CREATE TYPE task_content AS (
    guid text,
    description text,
    "isDone" boolean,
    version bigint,
    "createdAt" text,
    "updatedAt" text,
    "DELETE" boolean
);

CREATE FUNCTION iso_time(moment timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

CREATE FUNCTION task_content(
    id bigint,
    description text,
    is_done boolean,
    version bigint,
    created_at timestamptz,
    updated_at timestamptz,
    is_deleted boolean DEFAULT NULL
) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN json_strip_nulls(row_to_json(
    ROW('/task/' || id, description, is_done, version, iso_time(created_at), iso_time(updated_at), is_deleted)::task_content
))::text;

CREATE FUNCTION hint_relay() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    -- Empty, so that the hints of one transaction are one: the table tells the rest.
    NOTIFY roots_outbox;
    RETURN NULL;
END
$$;

CREATE TRIGGER hint_relay AFTER INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION hint_relay();
