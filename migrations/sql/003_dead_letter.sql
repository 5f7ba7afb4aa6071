-- Dead letters: events that the destination refuses for good, later events of their keys, and verdicts about positions.
--
-- A row is one event, unique by (slot, incarnation, commit_lsn, idx): an event that is read again after a restart finds its
-- verdict here. It holds what makes the identical record once more.
--
--   parked --requeue--> requeue --owner--> requeued      a key is parked while it has a row in parked, requeue or drop;
--   parked --drop-----> drop    --owner--> dropped       the owner releases it in the transaction that finds none left
--   dead   (the event alone; its key flows on) takes the same two ways
--   skipped: an operator's verdict about a position that could not be decoded or was rejected under halt
--
-- Locks: whoever parks behind a key, marks its rows or releases it first locks the key's row in parked_key, keys in the
-- order of lane. A row parked just after "none left" would be stranded otherwise, and later events would overtake it.
-- The functions rely on READ COMMITTED: each statement after the lock sees what the previous holder committed.
--
-- Functions that write for the owner of a slot take the pid of its walsender and refuse everybody else (SQLSTATE CDR01), so
-- that a frozen owner that wakes changes nothing. Functions of the verbs take a name for the audit and notify channel
-- cdc_relay with the slot.

CREATE TABLE IF NOT EXISTS cdc_relay.dead_letter (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slot           text NOT NULL, incarnation text NOT NULL,
    era            bigint      NOT NULL,              -- rises with each incarnation: positions of two do not compare
    commit_lsn     pg_lsn      NOT NULL,
    idx            bigint      NOT NULL,
    lane           bytea       NOT NULL,              -- hash of topic and key: keys may be too long for an index
    alone          boolean     NOT NULL DEFAULT false, -- policy dead_letter: does not park its key
    topic          text        NOT NULL,
    key            bytea,
    value          bytea,
    value_bytes    integer GENERATED ALWAYS AS (octet_length(value)) STORED,
    headers        bytea       NOT NULL DEFAULT '',   -- as a Kafka record (format v2) holds them, without their count
    header_count   integer     NOT NULL DEFAULT 0,
    commit_time    timestamptz,
    partition      integer,                           -- null: by the key
    event_id       text NOT NULL DEFAULT '', event_type   text NOT NULL DEFAULT '',
    aggregate_type text NOT NULL DEFAULT '', aggregate_id text NOT NULL DEFAULT '',
    source_table   text NOT NULL DEFAULT '',
    seq            bigint NOT NULL DEFAULT 0, xid bigint NOT NULL DEFAULT 0,
    reason         text        NOT NULL,
    error          text        NOT NULL DEFAULT '',
    tries          integer     NOT NULL DEFAULT 0,    -- how often a requeue was rejected again
    parked_at      timestamptz NOT NULL DEFAULT now(),
    state          text        NOT NULL
        CHECK (state IN ('parked', 'dead', 'requeue', 'drop', 'requeued', 'dropped', 'skipped')),
    state_by       text NOT NULL DEFAULT '',          -- who asked for the state; '': the relay
    state_why      text NOT NULL DEFAULT '',
    state_at       timestamptz NOT NULL DEFAULT now(), resolved_at timestamptz,
    CONSTRAINT dead_letter_position UNIQUE (slot, incarnation, commit_lsn, idx)
);

CREATE INDEX IF NOT EXISTS dead_letter_unresolved ON cdc_relay.dead_letter (slot, lane, era, commit_lsn, idx)
    WHERE state IN ('parked', 'dead', 'requeue', 'drop');
CREATE INDEX IF NOT EXISTS dead_letter_marked ON cdc_relay.dead_letter (slot, era, commit_lsn, idx)
    WHERE state IN ('requeue', 'drop');
CREATE INDEX IF NOT EXISTS dead_letter_resolved ON cdc_relay.dead_letter (slot, resolved_at)
    WHERE state IN ('requeued', 'dropped', 'skipped');

CREATE TABLE IF NOT EXISTS cdc_relay.parked_key (
    slot      text        NOT NULL,
    lane      bytea       NOT NULL,
    topic     text        NOT NULL,
    key       bytea,
    draining  boolean     NOT NULL DEFAULT false, -- the whole key was requeued or dropped: what is parked now is requeued at once
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (slot, lane)
);

-- lane_v1 is the identity of (topic, key); a null key is not an empty one. convert_to is only stable in name: a database
-- never changes its encoding.
CREATE OR REPLACE FUNCTION cdc_relay.lane_v1(p_topic text, p_key bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT sha256(convert_to(p_topic, 'UTF8') || coalesce('\x0001'::bytea || p_key, '\x0000'::bytea))
$$;

CREATE OR REPLACE FUNCTION cdc_relay.require_owner_v1(p_slot text, p_pid integer) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.slot_name = p_slot AND s.active_pid = p_pid) THEN
        RAISE EXCEPTION 'walsender % does not own slot %', p_pid, p_slot USING ERRCODE = 'CDR01';
    END IF;
END $$;

-- era_v1 ranks a slot's incarnations as they came.
CREATE OR REPLACE FUNCTION cdc_relay.era_v1(p_slot text, p_incarnation text) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT d.era FROM cdc_relay.dead_letter d WHERE d.slot = p_slot AND d.incarnation = p_incarnation LIMIT 1),
                    (SELECT max(d.era) + 1 FROM cdc_relay.dead_letter d WHERE d.slot = p_slot), 1)
$$;

-- park_v1 files events and parks their keys; done twice it changes nothing. It answers each row's state: a row that was
-- resolved before stays so, and does not park its key again.
CREATE OR REPLACE FUNCTION cdc_relay.park_v1(
    p_slot text, p_pid integer, p_incarnation text,
    p_commit_lsn pg_lsn[], p_idx bigint[], p_alone boolean[], p_topic text[], p_key bytea[], p_value bytea[],
    p_headers bytea[], p_header_count integer[], p_commit_time timestamptz[], p_partition integer[],
    p_event_id text[], p_event_type text[], p_aggregate_type text[], p_aggregate_id text[], p_source_table text[],
    p_seq bigint[], p_xid bigint[], p_reason text[], p_error text[]
) RETURNS TABLE (ord bigint, id bigint, state text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_era   bigint;
    v_lanes bytea[] := '{}';
    r       record;
BEGIN
    PERFORM cdc_relay.require_owner_v1(p_slot, p_pid);
    -- Acks rest on these rows.
    PERFORM set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local');
    v_era := cdc_relay.era_v1(p_slot, p_incarnation);
    FOR r IN
        SELECT DISTINCT ON (1) cdc_relay.lane_v1(t.topic, t.key) AS lane, t.topic, t.key
        FROM unnest(p_alone, p_topic, p_key) AS t (alone, topic, key) WHERE NOT t.alone ORDER BY 1
    LOOP
        -- DO UPDATE rather than DO NOTHING: it locks the row that is there, in one step.
        INSERT INTO cdc_relay.parked_key AS k (slot, lane, topic, key) VALUES (p_slot, r.lane, r.topic, r.key)
        ON CONFLICT (slot, lane) DO UPDATE SET slot = EXCLUDED.slot;
        v_lanes := v_lanes || r.lane;
    END LOOP;
    INSERT INTO cdc_relay.dead_letter (slot, incarnation, era, commit_lsn, idx, lane, alone, topic, key, value, headers,
        header_count, commit_time, partition, event_id, event_type, aggregate_type, aggregate_id, source_table, seq, xid, reason, error, state)
    SELECT p_slot, p_incarnation, v_era, t.commit_lsn, t.idx, t.lane, t.alone, t.topic, t.key, t.value, t.headers, t.header_count,
        t.commit_time, t.partition, t.event_id, t.event_type, t.aggregate_type, t.aggregate_id, t.source_table, t.seq, t.xid, t.reason, t.error,
        CASE WHEN t.alone THEN 'dead'
             -- An earlier event that comes after a later one of its key was requeued goes with it: order.
             WHEN k.draining OR EXISTS (
                 SELECT 1 FROM cdc_relay.dead_letter l
                 WHERE l.slot = p_slot AND l.lane = t.lane AND l.state = 'requeue' AND NOT l.alone
                   AND (l.era, l.commit_lsn, l.idx) > (v_era, t.commit_lsn, t.idx)) THEN 'requeue'
             ELSE 'parked' END
    FROM (
        SELECT u.*, cdc_relay.lane_v1(u.topic, u.key) AS lane
        FROM unnest(p_commit_lsn, p_idx, p_alone, p_topic, p_key, p_value, p_headers, p_header_count, p_commit_time,
                    p_partition, p_event_id, p_event_type, p_aggregate_type, p_aggregate_id, p_source_table, p_seq, p_xid, p_reason, p_error) WITH ORDINALITY
          AS u (commit_lsn, idx, alone, topic, key, value, headers, header_count, commit_time, partition, event_id,
                event_type, aggregate_type, aggregate_id, source_table, seq, xid, reason, error, ord)
    ) t
    LEFT JOIN cdc_relay.parked_key k ON k.slot = p_slot AND k.lane = t.lane
    ORDER BY t.ord
    ON CONFLICT ON CONSTRAINT dead_letter_position DO NOTHING;

    -- Nothing new came in for a key whose rows were all resolved before: leave it as it was.
    DELETE FROM cdc_relay.parked_key k
    WHERE k.slot = p_slot AND k.lane = ANY (v_lanes) AND NOT EXISTS (
        SELECT 1 FROM cdc_relay.dead_letter d WHERE d.slot = k.slot AND d.lane = k.lane AND NOT d.alone
          AND d.state IN ('parked', 'requeue', 'drop'));
    RETURN QUERY
        SELECT t.ord, d.id, d.state
        FROM unnest(p_commit_lsn, p_idx) WITH ORDINALITY AS t (commit_lsn, idx, ord)
        JOIN cdc_relay.dead_letter d ON d.slot = p_slot AND d.incarnation = p_incarnation
            AND d.commit_lsn = t.commit_lsn AND d.idx = t.idx
        ORDER BY t.ord;
END $$;

-- dead_letter_pending_v1 returns marked rows in publishing order: at most p_rows, cut where p_bytes are passed, without
-- those that the owner has under way. Sizes of toasted values are read without the values.
CREATE OR REPLACE FUNCTION cdc_relay.dead_letter_pending_v1(p_slot text, p_rows integer, p_bytes bigint, p_under_way bigint[])
RETURNS SETOF cdc_relay.dead_letter
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.*
    FROM (
        SELECT m.id, coalesce(sum(m.bytes) OVER (ORDER BY m.era, m.commit_lsn, m.idx
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS ahead
        FROM (
            SELECT l.id, l.era, l.commit_lsn, l.idx,
                coalesce(octet_length(l.value), 0) + coalesce(octet_length(l.key), 0) + octet_length(l.headers) AS bytes
            FROM cdc_relay.dead_letter l
            WHERE l.slot = p_slot AND l.state IN ('requeue', 'drop') AND l.id <> ALL (p_under_way)
            ORDER BY l.era, l.commit_lsn, l.idx LIMIT p_rows
        ) m
    ) w
    JOIN cdc_relay.dead_letter d ON d.id = w.id
    WHERE w.ahead < p_bytes
    ORDER BY d.era, d.commit_lsn, d.idx
$$;

-- dead_letter_done_v1 files what became of marked rows and returns the keys that it released: those without a row left.
--   requeued  it was published, a fact whatever an operator has asked for since
--   dropped   only if it is still marked so
--   rejected  refused again: back to parked (or dead), and with it the rows of its key that would have followed
CREATE OR REPLACE FUNCTION cdc_relay.dead_letter_done_v1(
    p_slot text, p_pid integer, p_id bigint[], p_result text[], p_reason text[], p_error text[]
) RETURNS TABLE (topic text, key bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_lanes bytea[];
    r       record;
BEGIN
    PERFORM cdc_relay.require_owner_v1(p_slot, p_pid);
    PERFORM set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local');
    SELECT coalesce(array_agg(x.lane), '{}') INTO v_lanes FROM (
        SELECT k.lane FROM cdc_relay.parked_key k
        WHERE k.slot = p_slot AND k.lane IN (
            SELECT d.lane FROM cdc_relay.dead_letter d WHERE d.id = ANY (p_id) AND d.slot = p_slot AND NOT d.alone)
        ORDER BY k.lane FOR UPDATE) x;
    UPDATE cdc_relay.dead_letter d SET state = t.result, resolved_at = now()
    FROM unnest(p_id, p_result) AS t (id, result)
    WHERE d.id = t.id AND d.slot = p_slot
      AND (t.result = 'requeued' AND d.state IN ('parked', 'dead', 'requeue', 'drop')
        OR t.result = 'dropped' AND d.state = 'drop');
    FOR r IN
        UPDATE cdc_relay.dead_letter d
        SET state = CASE WHEN d.alone THEN 'dead' ELSE 'parked' END, reason = t.reason, error = t.error,
            tries = d.tries + 1, state_by = '', state_at = now(), state_why = ''
        FROM unnest(p_id, p_result, p_reason, p_error) AS t (id, result, reason, error)
        WHERE d.id = t.id AND d.slot = p_slot AND t.result = 'rejected' AND d.state IN ('parked', 'dead', 'requeue')
        RETURNING d.lane, d.alone, d.era, d.commit_lsn, d.idx
    LOOP
        CONTINUE WHEN r.alone;
        UPDATE cdc_relay.parked_key k SET draining = false WHERE k.slot = p_slot AND k.lane = r.lane AND k.draining;
        UPDATE cdc_relay.dead_letter d SET state = 'parked', state_by = '', state_at = now(), state_why = ''
        WHERE d.slot = p_slot AND d.lane = r.lane AND d.state = 'requeue' AND NOT d.alone
          AND (d.era, d.commit_lsn, d.idx) > (r.era, r.commit_lsn, r.idx);
    END LOOP;
    RETURN QUERY
        DELETE FROM cdc_relay.parked_key k
        WHERE k.slot = p_slot AND k.lane = ANY (v_lanes) AND NOT EXISTS (
            SELECT 1 FROM cdc_relay.dead_letter d WHERE d.slot = k.slot AND d.lane = k.lane AND NOT d.alone
              AND d.state IN ('parked', 'requeue', 'drop'))
        RETURNING k.topic, k.key;
END $$;

CREATE OR REPLACE FUNCTION cdc_relay.parked_keys_v1(p_slot text, p_after bytea, p_rows integer)
RETURNS SETOF cdc_relay.parked_key
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.* FROM cdc_relay.parked_key k WHERE k.slot = p_slot AND k.lane > p_after ORDER BY k.lane LIMIT p_rows
$$;

CREATE OR REPLACE FUNCTION cdc_relay.dead_letter_verdicts_v1(
    p_slot text, p_incarnation text, p_commit_lsn pg_lsn, p_idx bigint, p_rows integer
) RETURNS TABLE (commit_lsn pg_lsn, idx bigint, id bigint, state text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.commit_lsn, d.idx, d.id, d.state FROM cdc_relay.dead_letter d
    WHERE d.slot = p_slot AND d.incarnation = p_incarnation AND (d.commit_lsn, d.idx) >= (p_commit_lsn, p_idx)
    ORDER BY d.commit_lsn, d.idx LIMIT p_rows
$$;

CREATE OR REPLACE FUNCTION cdc_relay.dead_letter_counts_v1(p_slot text)
RETURNS TABLE (unresolved bigint, marked bigint, keys bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT (SELECT count(*) FROM cdc_relay.dead_letter d
            WHERE d.slot = p_slot AND d.state IN ('parked', 'dead', 'requeue', 'drop')),
           (SELECT count(*) FROM cdc_relay.dead_letter d WHERE d.slot = p_slot AND d.state IN ('requeue', 'drop')),
           (SELECT count(*) FROM cdc_relay.parked_key k WHERE k.slot = p_slot)
$$;

-- dead_letter_prune_v1 deletes resolved rows that are older than p_keep and that no session can read again: their commit
-- lies before the mark as it stands in the database, or their incarnation is over.
CREATE OR REPLACE FUNCTION cdc_relay.dead_letter_prune_v1(
    p_slot text, p_pid integer, p_mark pg_lsn, p_keep interval, p_rows integer
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_count bigint;
BEGIN
    PERFORM cdc_relay.require_owner_v1(p_slot, p_pid);
    DELETE FROM cdc_relay.dead_letter x WHERE x.id IN (
        SELECT d.id FROM cdc_relay.dead_letter d JOIN cdc_relay.checkpoint c ON c.slot = d.slot
        WHERE d.slot = p_slot AND d.state IN ('requeued', 'dropped', 'skipped') AND d.resolved_at < now() - p_keep
          AND (d.incarnation <> c.incarnation OR d.commit_lsn < least(c.lsn, p_mark))
        LIMIT p_rows);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

-- dead_letter_list_v1 pages by id. Without p_payload value and headers are left out.
CREATE OR REPLACE FUNCTION cdc_relay.dead_letter_list_v1(
    p_slot text, p_state text[], p_topic text, p_key bytea, p_reason text, p_after bigint, p_rows integer, p_payload boolean
) RETURNS SETOF cdc_relay.dead_letter
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r cdc_relay.dead_letter;
BEGIN
    FOR r IN
        SELECT d.* FROM cdc_relay.dead_letter d
        WHERE d.slot = p_slot AND d.id > p_after AND (p_state IS NULL OR d.state = ANY (p_state))
          AND (p_topic IS NULL OR d.topic = p_topic) AND (p_key IS NULL OR d.key = p_key)
          AND (p_reason IS NULL OR d.reason = p_reason)
        ORDER BY d.id LIMIT p_rows
    LOOP
        IF NOT p_payload THEN
            r.value := NULL; r.headers := ''; r.header_count := 0;
        END IF;
        RETURN NEXT r;
    END LOOP;
END $$;

-- dead_letter_mark_v1 marks rows for the owner. p_scope: ids, key (p_topic, p_key) or all. A requeue of rows by id takes
-- the earlier parked rows of their keys along (earlier). A whole key, or all, drains: what is parked behind it from now on
-- is requeued at once, so that it comes to an end under traffic. A requeue of a whole key leaves rows that are marked drop;
-- a drop takes those marked requeue. refused: ids that are not there or resolved already.
CREATE OR REPLACE FUNCTION cdc_relay.dead_letter_mark_v1(
    p_slot text, p_state text, p_scope text, p_ids bigint[], p_topic text, p_key bytea, p_who text, p_why text
) RETURNS TABLE (marked bigint, earlier bigint, keys bigint, refused bigint[])
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_lanes bytea[];
BEGIN
    IF coalesce(p_who, '') = '' OR p_state NOT IN ('requeue', 'drop') OR p_scope NOT IN ('ids', 'key', 'all') THEN
        RAISE EXCEPTION '% asks to mark % of %', p_who, p_state, p_scope USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT coalesce(array_agg(x.lane), '{}') INTO v_lanes FROM (
        SELECT k.lane FROM cdc_relay.parked_key k
        WHERE k.slot = p_slot AND CASE p_scope
            WHEN 'all' THEN true
            WHEN 'key' THEN k.lane = cdc_relay.lane_v1(p_topic, p_key)
            ELSE k.lane IN (SELECT d.lane FROM cdc_relay.dead_letter d
                            WHERE d.slot = p_slot AND d.id = ANY (p_ids) AND NOT d.alone) END
        ORDER BY k.lane FOR UPDATE) x;
    keys := cardinality(v_lanes);
    earlier := 0;
    refused := '{}';
    IF p_scope = 'ids' THEN
        UPDATE cdc_relay.dead_letter d SET state = p_state, state_by = p_who, state_at = now(), state_why = p_why
        WHERE d.slot = p_slot AND d.id = ANY (p_ids) AND d.state IN ('parked', 'dead', 'requeue', 'drop')
          AND (d.alone OR d.lane = ANY (v_lanes));
        GET DIAGNOSTICS marked = ROW_COUNT;
        IF p_state = 'requeue' THEN
            UPDATE cdc_relay.dead_letter d SET state = p_state, state_by = p_who, state_at = now(), state_why = p_why
            WHERE d.slot = p_slot AND d.lane = ANY (v_lanes) AND d.state = 'parked' AND NOT d.alone AND EXISTS (
                SELECT 1 FROM cdc_relay.dead_letter a
                WHERE a.slot = p_slot AND a.lane = d.lane AND a.id = ANY (p_ids) AND NOT a.alone AND a.state = 'requeue'
                  AND (a.era, a.commit_lsn, a.idx) > (d.era, d.commit_lsn, d.idx));
            GET DIAGNOSTICS earlier = ROW_COUNT;
        END IF;
        SELECT coalesce(array_agg(i.id ORDER BY i.id), '{}') INTO refused FROM unnest(p_ids) AS i (id)
        WHERE NOT EXISTS (SELECT 1 FROM cdc_relay.dead_letter d
                          WHERE d.slot = p_slot AND d.id = i.id AND d.state = p_state);
    ELSE
        UPDATE cdc_relay.dead_letter d SET state = p_state, state_by = p_who, state_at = now(), state_why = p_why
        WHERE d.slot = p_slot
          AND (d.state IN ('parked', 'dead') OR p_state = 'drop' AND d.state = 'requeue')
          AND (d.lane = ANY (v_lanes) OR d.alone AND (p_scope = 'all' OR d.lane = cdc_relay.lane_v1(p_topic, p_key)));
        GET DIAGNOSTICS marked = ROW_COUNT;
        UPDATE cdc_relay.parked_key k SET draining = true WHERE k.slot = p_slot AND k.lane = ANY (v_lanes) AND NOT k.draining;
    END IF;

    INSERT INTO cdc_relay.audit (who, verb, slot, detail)
    VALUES (p_who, 'dlq ' || p_state, p_slot, jsonb_strip_nulls(jsonb_build_object('role', session_user, 'why', p_why,
        'scope', p_scope, 'ids', p_ids, 'topic', p_topic, 'key', encode(p_key, 'escape'), 'marked', marked,
        'earlier', earlier, 'keys', keys)));
    PERFORM pg_notify('cdc_relay', p_slot);
    RETURN NEXT;
END $$;

-- skip_v1 files the verdict about one position, so that the relay passes it. It belongs to the slot's present incarnation.
CREATE OR REPLACE FUNCTION cdc_relay.skip_v1(p_slot text, p_commit_lsn pg_lsn, p_idx bigint, p_who text, p_why text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_incarnation text;
    v_mark        pg_lsn;
    v_id          bigint;
    v_state       text;
BEGIN
    IF coalesce(p_who, '') = '' THEN
        RAISE EXCEPTION 'say who asks' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT c.incarnation, c.lsn INTO v_incarnation, v_mark FROM cdc_relay.checkpoint c WHERE c.slot = p_slot;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'slot % has no mark', p_slot USING ERRCODE = 'CDR02';
    ELSIF p_commit_lsn < v_mark THEN
        RAISE EXCEPTION 'position %/% lies before the mark % of slot %: it is passed already', p_commit_lsn, p_idx, v_mark, p_slot
            USING ERRCODE = 'CDR03';
    END IF;
    INSERT INTO cdc_relay.dead_letter (slot, incarnation, era, commit_lsn, idx, lane, alone, topic, reason, state, state_by,
        state_why, resolved_at)
    VALUES (p_slot, v_incarnation, cdc_relay.era_v1(p_slot, v_incarnation), p_commit_lsn, p_idx, '', true, '', 'skipped', 'skipped', p_who, p_why, now())
    ON CONFLICT ON CONSTRAINT dead_letter_position DO NOTHING
    RETURNING id INTO v_id;
    IF v_id IS NULL THEN
        SELECT d.id, d.state INTO v_id, v_state FROM cdc_relay.dead_letter d
        WHERE d.slot = p_slot AND d.incarnation = v_incarnation AND d.commit_lsn = p_commit_lsn AND d.idx = p_idx;
        IF v_state <> 'skipped' THEN
            RAISE EXCEPTION 'position %/% is dead letter % in state %', p_commit_lsn, p_idx, v_id, v_state
                USING ERRCODE = 'CDR04', HINT = 'it holds nothing back; requeue or drop it by its id';
        END IF;
    END IF;
    INSERT INTO cdc_relay.audit (who, verb, slot, detail)
    VALUES (p_who, 'skip', p_slot, jsonb_build_object('role', session_user, 'why', p_why, 'incarnation', v_incarnation,
        'position', p_commit_lsn || '/' || p_idx));
    PERFORM pg_notify('cdc_relay', p_slot);
    RETURN v_id;
END $$;

REVOKE ALL ON cdc_relay.dead_letter, cdc_relay.parked_key FROM PUBLIC;
REVOKE ALL ON FUNCTION
    cdc_relay.lane_v1(text, bytea), cdc_relay.era_v1(text, text), cdc_relay.require_owner_v1(text, integer),
    cdc_relay.park_v1(text, integer, text, pg_lsn[], bigint[], boolean[], text[], bytea[], bytea[], bytea[], integer[],
        timestamptz[], integer[], text[], text[], text[], text[], text[], bigint[], bigint[], text[], text[]),
    cdc_relay.dead_letter_pending_v1(text, integer, bigint, bigint[]), cdc_relay.parked_keys_v1(text, bytea, integer),
    cdc_relay.dead_letter_done_v1(text, integer, bigint[], text[], text[], text[]),
    cdc_relay.dead_letter_verdicts_v1(text, text, pg_lsn, bigint, integer), cdc_relay.dead_letter_counts_v1(text),
    cdc_relay.dead_letter_prune_v1(text, integer, pg_lsn, interval, integer),
    cdc_relay.dead_letter_list_v1(text, text[], text, bytea, text, bigint, integer, boolean),
    cdc_relay.dead_letter_mark_v1(text, text, text, bigint[], text, bytea, text, text),
    cdc_relay.skip_v1(text, pg_lsn, bigint, text, text)
    FROM PUBLIC;
