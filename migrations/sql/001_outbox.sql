-- The outbox: an application inserts a row inside its own transaction and does nothing else.
-- Partitioned by day (UTC) on created_at, so that retention is a DROP and not a DELETE.

CREATE SCHEMA IF NOT EXISTS cdc_relay;
CREATE SCHEMA IF NOT EXISTS {{.Outbox.Schema}};

-- How this schema was made. Up compares it; the number of shards will live here too.
CREATE TABLE IF NOT EXISTS cdc_relay.settings (
    name  text PRIMARY KEY,
    value text NOT NULL
);
INSERT INTO cdc_relay.settings (name, value)
VALUES ('outbox_table', {{literal .Outbox.Path}}),
       ('payload_type', {{literal .PayloadType}}),
       ('publication', {{literal .Publication}})
ON CONFLICT (name) DO NOTHING;
REVOKE ALL ON cdc_relay.settings FROM PUBLIC;

-- What an operator changed on purpose: who, when, which verb. Written by functions only.
CREATE TABLE IF NOT EXISTS cdc_relay.audit (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    who    text NOT NULL,
    verb   text NOT NULL,
    slot   text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
REVOKE ALL ON cdc_relay.audit FROM PUBLIC;

-- CACHE 1: a larger cache hands blocks of numbers to sessions, and seq would no longer be the order of insertion.
CREATE SEQUENCE IF NOT EXISTS cdc_relay.outbox_seq AS bigint CACHE 1;
-- The column's default calls nextval with the rights of whoever inserts.
GRANT USAGE ON SEQUENCE cdc_relay.outbox_seq TO PUBLIC;

-- uuid v7 (RFC 9562 5.7, 6.2 method 3): 48 bits of milliseconds, the version, 12 bits of the fraction below a millisecond,
-- and the last 62 random bits and the variant of a v4. In one backend ids rise as long as the clock does; a microsecond is the
-- resolution. Postgres 18 has a function of its own and the outbox uses that there.
CREATE OR REPLACE FUNCTION cdc_relay.uuid_v7() RETURNS uuid
LANGUAGE plpgsql VOLATILE PARALLEL SAFE -- no SET search_path: it runs with the caller's rights, and SET costs each insert
AS $$
DECLARE
    us pg_catalog.int8 := (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8;
BEGIN
    RETURN pg_catalog.encode(
        overlay(pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
                PLACING pg_catalog.int8send(((us / 1000) << 16) | (7 << 12) | ((us % 1000) * 4096 / 1000))
                FROM 1 FOR 8),
        'hex')::pg_catalog.uuid;
END
$$;
GRANT EXECUTE ON FUNCTION cdc_relay.uuid_v7() TO PUBLIC;

DO $migrate$
DECLARE
    root     text := {{literal .Outbox}};
    uuid_v7  text := CASE WHEN current_setting('server_version_num')::int >= 180000
                          THEN 'pg_catalog.uuidv7()' ELSE 'cdc_relay.uuid_v7()' END;
    today    date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    day      date;
    differs  text;
BEGIN
    IF to_regclass(root) IS NULL THEN
        -- One index, because every index is paid for by the applications: the primary key. Its first column finds an event by
        -- its id (v7 ids rise, so inserts append to the index's right edge); created_at stands in it because a partitioned
        -- table's unique key must contain the partition key. Slot repair goes by xid and reads whole partitions in order;
        -- dead letters are copies in a table of their own; the pending estimate reads the sequence, not the table.
        EXECUTE 'CREATE TABLE ' || root || ' (
            event_id       uuid NOT NULL DEFAULT ' || uuid_v7 || ',
            aggregate_type text NOT NULL,
            aggregate_id   text NOT NULL,
            event_type     text NOT NULL,
            topic          text,
            partition_key  text,
            payload        {{.PayloadType}},
            headers        jsonb NOT NULL DEFAULT ''{}'',
            created_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
            seq            bigint NOT NULL DEFAULT pg_catalog.nextval(''cdc_relay.outbox_seq''),
            CONSTRAINT payload_bound CHECK (pg_catalog.octet_length({{if eq .PayloadType "bytea"}}payload{{else}}payload::text{{end}}) <= {{.PayloadMaxBytes}}),
            PRIMARY KEY (event_id, created_at)
        ) PARTITION BY RANGE (created_at)';
        EXECUTE 'CREATE TABLE {{.Outbox.With "_default"}} PARTITION OF ' || root || ' DEFAULT';
        FOR i IN 0 .. {{.PremakeDays}} LOOP
            day := today + i;
            EXECUTE format('CREATE TABLE %I.%I PARTITION OF %s FOR VALUES FROM (%L) TO (%L)',
                {{literal .Outbox.Schema}}, {{literal .Outbox.Name}} || to_char(day, '"_p"YYYYMMDD'), root,
                to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
        END LOOP;
        RETURN;
    END IF;

    -- There is one already: ours from an earlier run, or somebody else's table of that name.
    SELECT string_agg(format('%s %s', w.name, coalesce('is ' || format_type(a.atttypid, a.atttypmod), 'is missing')), ', ')
      INTO differs
      FROM (VALUES ('event_id', 'uuid'), ('aggregate_type', 'text'), ('aggregate_id', 'text'), ('event_type', 'text'),
                   ('topic', 'text'), ('partition_key', 'text'), ('payload', {{literal .PayloadType}}), ('headers', 'jsonb'),
                   ('created_at', 'timestamp with time zone'), ('seq', 'bigint')) AS w (name, type)
      LEFT JOIN pg_attribute a ON a.attrelid = to_regclass(root) AND a.attname = w.name AND NOT a.attisdropped
     WHERE a.attname IS NULL OR format_type(a.atttypid, a.atttypmod) <> w.type;
    IF differs IS NOT NULL THEN
        RAISE EXCEPTION 'table % exists and is not the native outbox: %', root, differs
            USING HINT = 'choose another outbox table for the relay, or map this one with a preset or columns: and do not migrate it';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(root) AND relkind = 'p') THEN
        RAISE EXCEPTION 'table % exists and is not partitioned', root
            USING HINT = 'rename it, migrate, and copy its rows that are still needed';
    END IF;
END
$migrate$;
