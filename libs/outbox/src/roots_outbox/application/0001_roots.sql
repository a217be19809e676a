-- The schema `roots` in an application's own database: an outbox, the functions that write to it, and what was refused.
-- No statement needs a superuser. What stands between two @ is filled in by schema.py.

CREATE SCHEMA roots;
COMMENT ON SCHEMA roots IS 'Events for Roots, written in the transactions that they report';

@outbox_table@;

-- Rows of one transaction, which take their place when it commits: see roots.place.
ALTER TABLE roots.outbox
    ADD COLUMN transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ADD COLUMN is_placed boolean NOT NULL DEFAULT true;

CREATE TABLE roots.refused (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL,
    path text NOT NULL,
    ordering_key text NOT NULL,
    message text NOT NULL,
    traceparent text,
    committed_at timestamptz NOT NULL,
    reason text NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE roots.watched (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation regclass NOT NULL,
    path text NOT NULL,
    columns jsonb,
    key text[] NOT NULL,
    UNIQUE (relation, path)
);

-- place: give the rows of the committing transaction their ids, in the order in which they were written. The lock of
-- each ordering key is held until the commit is visible, so that the ids of a key follow commit order. All locks are
-- taken in one order: two transactions can't wait for each other. Keys share 1,024 locks, since a server has memory for
-- some thousands, and a transaction may have more keys. It runs once for each row. The first time does all,
-- and then no row has its first id any more. A plan that is kept since the table was small must not read all of it.
CREATE FUNCTION roots.place() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    waiting bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM roots.outbox WHERE id = NEW.id) THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(key)
    FROM (
        SELECT DISTINCT 7665743000000 + (hashtextextended(ordering_key, 7665743) & 1023) AS key FROM roots.outbox
        WHERE transaction = pg_current_xact_id() AND NOT is_placed ORDER BY key
    ) AS keys;
    FOR waiting IN
        SELECT id FROM roots.outbox WHERE transaction = pg_current_xact_id() AND NOT is_placed ORDER BY id
    LOOP
        UPDATE roots.outbox SET id = DEFAULT, is_placed = true WHERE id = waiting;
    END LOOP;
    RETURN NULL;
END $$;

CREATE INDEX ON roots.outbox (transaction) WHERE NOT is_placed;

CREATE CONSTRAINT TRIGGER place AFTER INSERT ON roots.outbox
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NOT NEW.is_placed) EXECUTE FUNCTION roots.place();

-- hint: wake the relay when the transaction commits.
CREATE FUNCTION roots.hint() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify(@channel@, '');
    RETURN NULL;
END $$;

CREATE TRIGGER hint AFTER INSERT ON roots.outbox FOR EACH STATEMENT EXECUTE FUNCTION roots.hint();

-- publish: send `message` to the clients that receive `path`, if and when this transaction commits. Messages of one
-- ordering key, by default of one path, arrive in commit order. Returns the id of the event.
CREATE FUNCTION roots.publish(path text, message text, ordering_key text DEFAULT NULL) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    event_id uuid;
BEGIN
    IF path IS NULL OR message IS NULL THEN
        RAISE EXCEPTION 'roots.publish: the path and the message must not be null' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF left(path, 2) = '::' THEN
        RAISE EXCEPTION 'roots.publish: no message has the path %; call roots.revoke', path
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO roots.outbox (path, message, ordering_key, is_placed)
    VALUES (path, message, coalesce(ordering_key, path), false)
    RETURNING outbox.event_id INTO event_id;
    RETURN event_id;
END $$;

CREATE FUNCTION roots.publish(path text, message jsonb, ordering_key text DEFAULT NULL) RETURNS uuid
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN roots.publish(path, message::text, ordering_key);

-- render: write an event whose path and message the relay of the application makes, from what is committed then.
CREATE FUNCTION roots.render(marker text, ordering_key text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    event_id uuid;
BEGIN
    INSERT INTO roots.outbox (path, message, ordering_key, is_placed)
    VALUES (@renderings@, marker, ordering_key, false)
    RETURNING outbox.event_id INTO event_id;
    RETURN event_id;
END $$;

-- revoke: withdraw a path, or all paths, from a subject's clients or one client; or a path from everyone. It takes effect
-- after what was committed before it, and before what is written after its commit.
CREATE FUNCTION roots.revoke(subject text DEFAULT NULL, path text DEFAULT NULL, uid text DEFAULT NULL) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    event_id uuid;
BEGIN
    IF coalesce(subject, path, uid) IS NULL THEN
        RAISE EXCEPTION 'roots.revoke: give a subject, a path or a uid' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF subject IS NOT NULL AND uid IS NOT NULL THEN
        RAISE EXCEPTION 'roots.revoke: give a subject or a uid, not both' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO roots.outbox (path, message, ordering_key, is_placed)
    VALUES (@revocations@, jsonb_strip_nulls(jsonb_build_object('subject', subject, 'path', path, 'uid', uid)),
            @revocations@, false)
    RETURNING outbox.event_id INTO event_id;
    RETURN event_id;
END $$;

-- watch: publish each INSERT, UPDATE, DELETE and TRUNCATE of a table as JSON, from now on.
--   path     may name columns: 'users/{owner_id}/tasks'. A row in which one of them is null is not published.
--   columns  which columns are sent: '["id", "done"]', or with other names '{"is_done": "isDone"}'; by default all.
--   key      the columns that identify a row; by default the primary key. A deletion sends these and "DELETE": true.
-- Triggers are of the statement, so that a bulk change costs one more INSERT. Changes of one row arrive in commit order.
CREATE FUNCTION roots.watch(relation regclass, path text, columns jsonb DEFAULT NULL, key text[] DEFAULT NULL)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unknown text;
    names jsonb;
    watch_id bigint;
    kind "char";
    part regclass;
BEGIN
    SELECT relkind INTO kind FROM pg_class WHERE oid = relation AND relnamespace <> 'roots'::regnamespace;
    IF kind IS NULL OR kind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION 'roots.watch: % is not a table of the application', relation
            USING ERRCODE = 'wrong_object_type';
    END IF;
    IF path IS NULL OR regexp_replace(path, '\{[^{}]*\}', '', 'g') ~ '[{}]' OR path = '' OR left(path, 2) = '::' THEN
        RAISE EXCEPTION 'roots.watch: the path % must be a path, in which each {} names a column', quote_nullable(path)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF key IS NULL THEN
        SELECT array_agg(attname::text ORDER BY array_position(indkey::smallint[], attnum)) INTO key
        FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
        WHERE indrelid = relation AND indisprimary;
    END IF;
    IF coalesce(cardinality(key), 0) = 0 THEN
        RAISE EXCEPTION 'roots.watch: % has no primary key; name the columns that identify a row', relation
            USING ERRCODE = 'invalid_table_definition';
    END IF;
    IF (CASE jsonb_typeof(columns)
        WHEN 'array' THEN columns = '[]' OR jsonb_path_exists(columns, 'strict $[*] ? (@.type() != "string")')
        WHEN 'object' THEN columns = '{}' OR jsonb_path_exists(columns, 'strict $.* ? (@.type() != "string")')
            OR (SELECT count(*) > count(DISTINCT value) FROM jsonb_each(columns))
        ELSE columns IS NOT NULL
    END) THEN
        RAISE EXCEPTION 'roots.watch: columns must be names as in ["id", "done"], or different names of columns as in '
            '{"is_done": "isDone"}' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Names as they are sent, by the names of the columns; null for all columns.
    names := CASE jsonb_typeof(columns)
        WHEN 'array' THEN (SELECT jsonb_object_agg(name, name) FROM jsonb_array_elements_text(columns) AS name)
        ELSE columns
    END;
    SELECT used.name INTO unknown
    FROM (
        SELECT unnest(key) UNION SELECT jsonb_object_keys(names)
        UNION SELECT (regexp_matches(path, '\{([^{}]*)\}', 'g'))[1]
    ) AS used (name)
    WHERE NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = relation AND attname = used.name AND attnum > 0 AND NOT attisdropped AND attgenerated <> 'v');
    IF FOUND THEN
        RAISE EXCEPTION 'roots.watch: % has no column "%" that is stored', relation, unknown
            USING ERRCODE = 'undefined_column';
    END IF;
    IF names IS NULL AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = relation AND attgenerated = 'v') THEN
        RAISE EXCEPTION 'roots.watch: % has virtual columns, which triggers do not see; name the other columns', relation
            USING ERRCODE = 'feature_not_supported';
    END IF;

    PERFORM roots.unwatch(relation, path);
    -- What is left of tables that were dropped.
    PERFORM roots.unwatch(old.relation) FROM roots.watched AS old
    WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = old.relation);
    INSERT INTO roots.watched (relation, path, columns, key) VALUES (relation, path, columns, key)
    RETURNING id INTO watch_id;
    PERFORM roots._create_functions(watch_id, relation, path, names, key);
    -- A statement on a partition, or on a table that inherits, fires the triggers of that table only.
    FOR part IN
        WITH RECURSIVE parts (part) AS (
            SELECT relation UNION SELECT inhrelid::regclass FROM pg_inherits JOIN parts ON inhparent = parts.part
        )
        SELECT parts.part FROM parts
    LOOP
        PERFORM roots._create_triggers(watch_id, part);
    END LOOP;
END $$;

-- _create_functions: the functions of one watch, with all names in place, so that their plans are kept. Columns are
-- compared and sent by casts that every type has. In all of them a row is `changed`, and `changed.*` means the row also
-- when a column has that name. A row of the outbox costs as much as a row of a small table, so what each row adds to
-- that counts: an id from its generator would be another third, and to_json is slower than row_to_json.
CREATE FUNCTION roots._create_functions(watch_id bigint, relation regclass, path text, names jsonb, key text[])
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    path_of text; -- an expression for the path of a row
    key_of text;  -- for its ordering key
    sent text;    -- statements without their table: they select what is sent of a row,
    deleted text; -- and what is sent of its deletion.
    condition text;
    put constant text := 'INSERT INTO roots.outbox (path, ordering_key, message, event_id) ';
    -- A random number for each statement, and a count.
    event_id constant text :=
        '((SELECT left(gen_random_uuid()::text, 27)) || to_hex(4294967296 + row_number() OVER ()))::uuid';
BEGIN
    SELECT string_agg(
        CASE WHEN is_column THEN format('changed.%I::text', piece) ELSE quote_literal(piece) END, ' || ' ORDER BY place)
    INTO path_of
    FROM (
        SELECT 2 * place AS place, false AS is_column, piece
        FROM regexp_split_to_table(path, '\{[^{}]*\}') WITH ORDINALITY AS literal (piece, place)
        UNION ALL
        SELECT 2 * place + 1, true, match[1]
        FROM regexp_matches(path, '\{([^{}]*)\}', 'g') WITH ORDINALITY AS reference (match, place)
    ) AS pieces;
    SELECT format('%L || ROW(%s)::text', relation::oid, string_agg(format('changed.%I', name), ', ' ORDER BY place)),
           string_agg(roots._member(name, coalesce(names ->> name, name)), ' || '','' || ' ORDER BY place)
    INTO key_of, deleted
    FROM unnest(key) WITH ORDINALITY AS keys (name, place);
    deleted := format('SELECT %s, %s, ''{'' || %s || '',"DELETE":true}'', %s', path_of, key_of, deleted, event_id);
    SELECT format('''{'' || %s || ''}''', string_agg(roots._member(member.key, member.value), ' || '','' || '))
    INTO sent FROM jsonb_each_text(names) AS member;
    IF names IS NULL THEN
        sent := 'row_to_json(changed.*)::text';
    END IF;
    sent := format('SELECT %s, %s, %s, %s', path_of, key_of, sent, event_id);
    -- Neither a row without a path, nor one that would be read as a revocation or another order to the relay.
    condition := format(' AS changed WHERE left(%s, 2) <> %L', path_of, '::');

    PERFORM roots._create_function(watch_id, 'insert', put || sent || ' FROM roots_new' || condition || ';');
    PERFORM roots._create_function(watch_id, 'delete', put || deleted || ' FROM roots_old' || condition || ';');
    -- A row that has another key or path now leaves the old path, and then arrives on the new one.
    PERFORM roots._create_function(watch_id, 'update',
        put || deleted || ' FROM roots_old' || condition || format(
            ' AND (%1$s, %2$s) IN (SELECT %1$s, %2$s FROM roots_old AS changed EXCEPT SELECT %1$s, %2$s FROM roots_new AS changed); ',
            path_of, key_of)
        || put || sent || ' FROM roots_new' || condition || ';');
    -- The tables that inherit have triggers of their own.
    PERFORM roots._create_function(watch_id, 'truncate', format(
        'EXECUTE %L || TG_RELID::regclass || %L;', put || deleted || ' FROM ONLY ', condition));
END $$;

-- _member: an expression for one member of the JSON of a row. It has no limit to the number of columns, as functions
-- over JSON have.
CREATE FUNCTION roots._member(name text, sent_name text) RETURNS text
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    RETURN format('%L || coalesce(to_json(changed.%I)::text, ''null'')', to_json(sent_name)::text || ':', name);

-- _create_function: a function of one watch. Its plans are kept, also those made when a statement changed few rows. They
-- must not compare each row with each: no nested loops.
CREATE FUNCTION roots._create_function(watch_id bigint, what text, body text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format(
        'CREATE FUNCTION roots.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS %L',
        format('watch_%s_%s', watch_id, what), format('BEGIN %s RETURN NULL; END', body));
END $$;

CREATE FUNCTION roots._create_triggers(watch_id bigint, relation regclass) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text;
    event text;
BEGIN
    FOR what, event IN VALUES
        ('insert', 'AFTER INSERT ON %2$s REFERENCING NEW TABLE AS roots_new'),
        ('update', 'AFTER UPDATE ON %2$s REFERENCING OLD TABLE AS roots_old NEW TABLE AS roots_new'),
        ('delete', 'AFTER DELETE ON %2$s REFERENCING OLD TABLE AS roots_old'),
        ('truncate', 'BEFORE TRUNCATE ON %2$s')
    LOOP
        -- TRUNCATE of a partitioned table fires the triggers of its partitions too, which have the rows.
        CONTINUE WHEN what = 'truncate' AND EXISTS (SELECT FROM pg_class WHERE oid = relation AND relkind = 'p');
        EXECUTE format('CREATE TRIGGER %1$I ' || event || ' FOR EACH STATEMENT EXECUTE FUNCTION roots.%1$I()',
            format('watch_%s_%s', watch_id, what), relation);
    END LOOP;
END $$;

-- unwatch: end a watch, by default all watches of the table. Returns how many there were.
CREATE FUNCTION roots.unwatch(relation regclass, path text DEFAULT NULL) RETURNS integer
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    watch roots.watched;
    what text;
    ended integer := 0;
BEGIN
    FOR watch IN
        DELETE FROM roots.watched AS w
        WHERE w.relation = unwatch.relation AND (unwatch.path IS NULL OR w.path = unwatch.path)
        RETURNING *
    LOOP
        FOREACH what IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
            EXECUTE format('DROP FUNCTION roots.%I() CASCADE', format('watch_%s_%s', watch.id, what));
        END LOOP;
        ended := ended + 1;
    END LOOP;
    RETURN ended;
END $$;

-- Whoever may publish has to be told so: GRANT USAGE ON SCHEMA roots, and the functions. A watched table needs neither.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA roots FROM PUBLIC;
