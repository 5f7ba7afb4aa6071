-- What the inbox remembers. Every statement may run again. Functions carry a number and are never altered once released: a new one
-- stands beside the old.
CREATE SCHEMA IF NOT EXISTS cdc_inbox;

CREATE TABLE IF NOT EXISTS cdc_inbox.setting (
    one            boolean PRIMARY KEY DEFAULT true CHECK (one),
    version        int NOT NULL,
    keep_days      int NOT NULL CHECK (keep_days BETWEEN 1 AND 3650),
    premake_days   int NOT NULL CHECK (premake_days BETWEEN 1 AND 366),
    dropped_before date NOT NULL DEFAULT '-infinity' -- days before it were dropped: claims there are forgotten
);
INSERT INTO cdc_inbox.setting (version, keep_days, premake_days) VALUES (1, 8, 3) ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS cdc_inbox.consumer (
    id   int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

-- One row an event: 52 bytes, and some 40 in the index. took_us is null unless asked for, and costs nothing then.
CREATE TABLE IF NOT EXISTS cdc_inbox.claimed (
    id       uuid NOT NULL,
    day      date NOT NULL,
    consumer int  NOT NULL,
    took_us  int
) PARTITION BY RANGE (day);
CREATE UNIQUE INDEX IF NOT EXISTS claimed_key ON cdc_inbox.claimed (consumer, id, day);
-- The net: a claim never fails because its day was not made. Maintenance brings its rows home.
CREATE TABLE IF NOT EXISTS cdc_inbox.claimed_default PARTITION OF cdc_inbox.claimed DEFAULT;

-- Ids whose clock is days ahead. They are claimed under the day of their arrival; when their own day comes, a copy must look further.
CREATE TABLE IF NOT EXISTS cdc_inbox.early (
    consumer int  NOT NULL,
    id       uuid NOT NULL,
    at       date NOT NULL, -- the day of the claim: the row goes with it
    PRIMARY KEY (consumer, id)
);

CREATE TABLE IF NOT EXISTS cdc_inbox.attempt (
    consumer int  NOT NULL,
    id       uuid NOT NULL,
    tries    int  NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, id)
);

CREATE TABLE IF NOT EXISTS cdc_inbox.parked_key (
    consumer int   NOT NULL,
    key_id   uuid  NOT NULL,
    topic    text  NOT NULL,
    key      bytea NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, key_id)
);

CREATE TABLE IF NOT EXISTS cdc_inbox.dead_letter (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- rises with the order of a key: given under the lock of its row
    consumer    int    NOT NULL,
    uid         uuid   NOT NULL,
    queue       uuid,               -- key_id of the parked key that it belongs to; null: it stands alone
    waiting     boolean NOT NULL,   -- never tried: waits behind one of its key
    verdict     text CHECK (verdict IN ('retry', 'drop')),
    topic       text   NOT NULL,
    partition   int    NOT NULL,
    record_offset bigint NOT NULL,
    key         bytea,
    value       bytea,
    headers     bytea  NOT NULL,    -- JSON: [{"k": base64, "v": base64 or null}, ...]
    record_time timestamptz,
    event_id    text   NOT NULL,
    event_type  text   NOT NULL,
    reason      text   NOT NULL,
    error       text   NOT NULL,
    attempts    int    NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS dead_letter_queue ON cdc_inbox.dead_letter (consumer, queue, id);
CREATE INDEX IF NOT EXISTS dead_letter_uid ON cdc_inbox.dead_letter (consumer, uid);

CREATE TABLE IF NOT EXISTS cdc_inbox.place (
    consumer     int    NOT NULL,
    topic        text   NOT NULL,
    partition    int    NOT NULL,
    start_offset bigint NOT NULL,
    watermark    bigint NOT NULL,
    clean        boolean NOT NULL,
    epoch        bigint NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, topic, partition)
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS cdc_inbox.topic (
    consumer   int  NOT NULL,
    topic      text NOT NULL,
    partitions int,
    PRIMARY KEY (consumer, topic)
);

CREATE TABLE IF NOT EXISTS cdc_inbox.source (
    consumer int  NOT NULL,
    topic    text NOT NULL,
    source   text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, topic, source)
);

CREATE TABLE IF NOT EXISTS cdc_inbox.mark (
    consumer  int    NOT NULL,
    source    text   NOT NULL,
    topic     text   NOT NULL,
    partition int    NOT NULL,
    lsn       bigint NOT NULL,
    index     bigint NOT NULL,
    last      text   NOT NULL, -- the event there: the same position with another one is a restored source
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, topic, partition, source)
) WITH (fillfactor = 50);

-- The number of a consumer, made at first sight. Two at once: the second waits for the first's transaction.
CREATE OR REPLACE FUNCTION cdc_inbox.consumer_v1(p_name text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE c int;
BEGIN
    SELECT id INTO c FROM cdc_inbox.consumer WHERE name = p_name;
    IF c IS NULL THEN
        INSERT INTO cdc_inbox.consumer (name) VALUES (p_name) ON CONFLICT DO NOTHING;
        SELECT id INTO c FROM cdc_inbox.consumer WHERE name = p_name;
    END IF;
    RETURN c;
END $$;

-- Claims ids (distinct, sorted). p_days: the day of a v7 id, null for others, or one day that is that of all; p_ages: the day by
-- which an id below the watermark is judged, null for others. states has one letter an id: f fresh, d known, x below the watermark
-- and older than the retention (nothing claimed). any_parked: the consumer has parked keys, look for those of the fresh.
--
-- An id whose own day is kept and not in the future has one place where its claim can stand, and the unique index answers. All
-- others (v4 ids, clocks that are wrong) may stand under any day: a lock on the id, a look into all days, then under today. The
-- lock comes before the look: each statement of this function sees what was committed before it began.
CREATE OR REPLACE FUNCTION cdc_inbox.claim_v1(p_consumer text, p_ids uuid[], p_days date[], p_ages date[], OUT states text, OUT any_parked boolean)
LANGUAGE plpgsql AS $$
DECLARE
    c int;
    today date := (now() AT TIME ZONE 'UTC')::date;
    oldest date;
    n int := cardinality(p_ids);
    done bigint;
    quick uuid[]; quick_days date[]; slow uuid[]; slow_days date[];
    fresh uuid[] := '{}'; more uuid[]; aged uuid[] := '{}';
BEGIN
    SELECT id INTO c FROM cdc_inbox.consumer WHERE name = p_consumer;
    IF c IS NULL THEN c := cdc_inbox.consumer_v1(p_consumer); END IF;
    SELECT greatest(today - keep_days, dropped_before) INTO STRICT oldest FROM cdc_inbox.setting;

    IF cardinality(p_days) = 1 AND p_days[1] BETWEEN oldest AND today AND p_ages IS NULL
       AND NOT EXISTS (SELECT FROM cdc_inbox.early WHERE consumer = c) THEN
        IF n = 1 THEN
            INSERT INTO cdc_inbox.claimed (id, day, consumer) VALUES (p_ids[1], p_days[1], c) ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS done = ROW_COUNT;
            states := CASE done WHEN 1 THEN 'f' ELSE 'd' END;
        ELSE
            BEGIN -- most batches hold no duplicate, and then this costs a third of what ON CONFLICT does
                INSERT INTO cdc_inbox.claimed (id, day, consumer) SELECT u, p_days[1], c FROM unnest(p_ids) AS u;
                states := repeat('f', n);
            EXCEPTION WHEN unique_violation THEN
                quick := p_ids; quick_days := array_fill(p_days[1], ARRAY[n]);
            END;
        END IF;
    ELSE
        IF cardinality(p_days) = 1 THEN p_days := array_fill(p_days[1], ARRAY[n]); END IF;
        SELECT array_agg(s.id ORDER BY s.n) FILTER (WHERE s.quick AND NOT s.aged), array_agg(s.day ORDER BY s.n) FILTER (WHERE s.quick AND NOT s.aged),
               array_agg(s.id ORDER BY s.n) FILTER (WHERE NOT s.quick AND NOT s.aged), array_agg(s.day ORDER BY s.n) FILTER (WHERE NOT s.quick AND NOT s.aged),
               coalesce(array_agg(s.id) FILTER (WHERE s.aged), '{}')
        INTO quick, quick_days, slow, slow_days, aged
        FROM (SELECT u.n, u.id, u.day, coalesce(u.age < oldest, false) AS aged,
                     coalesce(u.day BETWEEN oldest AND today, false)
                     AND (SELECT true FROM cdc_inbox.early e WHERE e.consumer = c AND e.id = u.id LIMIT 1) IS NULL AS quick
              FROM unnest(p_ids, p_days, p_ages) WITH ORDINALITY AS u(id, day, age, n)) s;
    END IF;

    IF quick IS NOT NULL THEN
        WITH made AS (
            INSERT INTO cdc_inbox.claimed (id, day, consumer)
            SELECT u.id, u.day, c FROM unnest(quick, quick_days) AS u(id, day)
            ON CONFLICT DO NOTHING RETURNING id)
        SELECT coalesce(array_agg(id), '{}') INTO fresh FROM made;
    END IF;

    IF slow IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(k.key) FROM (
            SELECT DISTINCT hashtextextended('cdc_inbox ' || u.id::text, c) AS key FROM unnest(slow) AS u(id) ORDER BY 1) k;
        WITH given AS (
            SELECT u.id, u.day FROM unnest(slow, slow_days) AS u(id, day)
            -- LIMIT keeps these from becoming joins that read whole days.
            WHERE (SELECT true FROM cdc_inbox.claimed x WHERE x.consumer = c AND x.id = u.id LIMIT 1) IS NULL
              AND (SELECT true FROM cdc_inbox.dead_letter l WHERE l.consumer = c AND l.uid = u.id LIMIT 1) IS NULL),
        ahead AS (
            INSERT INTO cdc_inbox.early (consumer, id, at) SELECT c, id, today FROM given WHERE day > today + 1 ON CONFLICT DO NOTHING),
        made AS (
            INSERT INTO cdc_inbox.claimed (id, day, consumer)
            SELECT id, CASE WHEN day = today + 1 THEN day ELSE today END, c FROM given
            ON CONFLICT DO NOTHING RETURNING id)
        SELECT coalesce(array_agg(id), '{}') INTO more FROM made;
        fresh := fresh || more;
    END IF;

    any_parked := EXISTS (SELECT FROM cdc_inbox.parked_key WHERE consumer = c);
    IF states IS NULL THEN
        SELECT string_agg(CASE WHEN f.id IS NOT NULL THEN 'f' WHEN a.id IS NOT NULL THEN 'x' ELSE 'd' END, '' ORDER BY u.n)
        INTO states
        FROM unnest(p_ids) WITH ORDINALITY AS u(id, n)
        LEFT JOIN unnest(fresh) AS f(id) ON f.id = u.id
        LEFT JOIN unnest(aged) AS a(id) ON a.id = u.id;
    END IF;
END $$;

-- One step of maintenance, in the caller's transaction: what was done (made, moved, dropped), on which day, and how many rows; or
-- busy, waiting with the reason, or done. It waits for locks only as long as the caller's lock_timeout says, and for others not at
-- all. Runs with the owner's rights, so that an application need not own the tables.
CREATE OR REPLACE FUNCTION cdc_inbox.maintain_v1(OUT did text, OUT day date, OUT amount bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    s cdc_inbox.setting;
    name text;
BEGIN
    amount := 0;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('cdc_inbox maintain', 0)) THEN
        did := 'busy';
        RETURN;
    END IF;
    SELECT * INTO STRICT s FROM cdc_inbox.setting;

    -- A day that should be there: from the oldest kept one to those ahead.
    SELECT d::date INTO day FROM generate_series(today - s.keep_days, today + s.premake_days, interval '1 day') d
    WHERE to_regclass(format('cdc_inbox.claimed_%s', to_char(d, 'YYYYMMDD'))) IS NULL
    ORDER BY d DESC LIMIT 1;
    IF day IS NOT NULL THEN
        name := 'claimed_' || to_char(day, 'YYYYMMDD');
        -- Made beside the root and attached: that lets others read and write meanwhile, unless rows have to come home.
        EXECUTE format('CREATE TABLE cdc_inbox.%I (LIKE cdc_inbox.claimed INCLUDING ALL)', name);
        EXECUTE format('ALTER TABLE cdc_inbox.%I ADD CONSTRAINT of_day CHECK (day = %L)', name, day);
        PERFORM FROM cdc_inbox.claimed_default x WHERE x.day = maintain_v1.day LIMIT 1;
        IF FOUND THEN
            LOCK TABLE cdc_inbox.claimed IN ACCESS EXCLUSIVE MODE;
            EXECUTE format('INSERT INTO cdc_inbox.%I SELECT * FROM cdc_inbox.claimed_default WHERE day = %L', name, day);
            GET DIAGNOSTICS amount = ROW_COUNT;
            DELETE FROM cdc_inbox.claimed_default x WHERE x.day = maintain_v1.day;
        END IF;
        EXECUTE format('ALTER TABLE cdc_inbox.claimed ATTACH PARTITION cdc_inbox.%I FOR VALUES FROM (%L) TO (%L)', name, day, day + 1);
        EXECUTE format('ALTER TABLE cdc_inbox.%I DROP CONSTRAINT of_day', name);
        did := 'made';
        RETURN;
    END IF;

    -- A day to drop. One more than the retention is kept: an id that leaves it is looked for there until the next midnight.
    SELECT to_date(right(c.relname, 8), 'YYYYMMDD') INTO day
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'cdc_inbox.claimed'::regclass AND c.relname ~ '^claimed_\d{8}$'
      AND to_date(right(c.relname, 8), 'YYYYMMDD') < today - s.keep_days - 1
    ORDER BY 1 LIMIT 1;
    IF day IS NOT NULL THEN
        UPDATE cdc_inbox.setting SET dropped_before = greatest(dropped_before, day + 1);
        EXECUTE format('DROP TABLE cdc_inbox.%I', 'claimed_' || to_char(day, 'YYYYMMDD'));
        did := 'dropped';
        RETURN;
    END IF;

    DELETE FROM cdc_inbox.claimed_default x WHERE x.day < today - s.keep_days - 1;
    DELETE FROM cdc_inbox.early x WHERE x.at < today - s.keep_days - 1;
    DELETE FROM cdc_inbox.attempt WHERE at < now() - make_interval(days => s.keep_days);
    did := 'done';
END $$;
REVOKE EXECUTE ON FUNCTION cdc_inbox.maintain_v1() FROM PUBLIC;

UPDATE cdc_inbox.setting SET version = greatest(version, 1) WHERE version < 1;
