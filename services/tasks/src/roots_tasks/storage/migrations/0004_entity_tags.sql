-- A task's entity tag names one state of one task, not a version alone. A restored database gives ids and versions again:
-- a request made for a version of a task that is lost must not meet another task that has its id, or another change that
-- has its version. The time of the change, in microseconds, tells them apart.
--
-- A version before this one may run beside it: the function keeps its signature, so that its events have the tag too.

CREATE FUNCTION task_tag(version bigint, updated_at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN 'v' || version || '-' || to_hex((extract(epoch FROM updated_at) * 1000000)::bigint);

ALTER TYPE task_content ADD ATTRIBUTE tag text;

CREATE OR REPLACE FUNCTION task_content(
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
    ROW(
        '/task/' || id, description, is_done, version, iso_time(created_at), iso_time(updated_at), is_deleted,
        CASE WHEN is_deleted IS NULL THEN task_tag(version, updated_at) END
    )::task_content
))::text;

-- For the person who has restored a backup: what comes now has ids and versions above those given since the backup.
CREATE FUNCTION after_restore(skipped bigint DEFAULT 1000000) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF skipped < 1 THEN
        RAISE EXCEPTION 'skipped must be 1 or more, not %', skipped;
    END IF;
    -- Nobody is given an id meanwhile.
    LOCK TABLE task, outbox IN SHARE ROW EXCLUSIVE MODE;
    PERFORM setval('task_id_seq', nextval('task_id_seq') + skipped);
    PERFORM setval('outbox_id_seq', nextval('outbox_id_seq') + skipped);
    UPDATE task SET version = version + skipped;
END
$$;

REVOKE EXECUTE ON FUNCTION after_restore FROM PUBLIC;
