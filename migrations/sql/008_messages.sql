-- Events without a table: emit_message writes one into the WAL by pg_logical_emit_message, in the caller's transaction. It is
-- published like a row of the outbox, and leaves nothing behind in the database.
--
-- A span is a part of a slot's history in which messages are events: from `since` on, transactions that commit there or later,
-- and before `until`, or that began (xid) before messages were turned off. The owner of the slot writes it when its
-- configuration says `messages: on` or no longer does, and never changes what it says about a transaction that may have been
-- published: positions and bytes stay the same when a transaction is read again under another configuration.
--
--   none --on--> open --off--> closing (emit_message refuses) --off--> closed
--                  ^---on----------'
CREATE TABLE IF NOT EXISTS cdc_relay.message_span (
    slot        text    NOT NULL REFERENCES cdc_relay.checkpoint ON DELETE CASCADE,
    since       pg_lsn  NOT NULL,
    closing     boolean NOT NULL DEFAULT false,
    until       pg_lsn,
    until_xid   xid8,
    PRIMARY KEY (slot, since)
);
REVOKE ALL ON cdc_relay.message_span FROM PUBLIC;

-- A span that begins beyond the end of the WAL was copied from another server, and says nothing about this one.
CREATE OR REPLACE FUNCTION cdc_relay.message_spans_v1(p_slot text)
RETURNS TABLE (since pg_lsn, until pg_lsn, until_xid xid8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.since, s.until, s.until_xid FROM cdc_relay.message_span s
     WHERE s.slot = p_slot AND s.since <= pg_current_wal_insert_lsn() ORDER BY s.since
$$;

-- Called until it answers ok. It answers again between the two steps of off: the first must be committed before the second
-- looks, so that whoever has a later xid has seen it.
CREATE OR REPLACE FUNCTION cdc_relay.messages_v1(p_slot text, p_walsender integer, p_incarnation text, p_on boolean, OUT code text, OUT detail text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r cdc_relay.message_span;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local');
    code := 'ok';
    -- The mark's row is the lock: two owners one after the other, and verbs that change the incarnation.
    PERFORM FROM cdc_relay.checkpoint c WHERE c.slot = p_slot AND c.incarnation = p_incarnation AND c.state = 'ready' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        code := 'incarnation'; detail := 'the mark is of another incarnation, or gone'; RETURN;
    ELSIF NOT EXISTS (SELECT FROM pg_replication_slots s
                       WHERE s.slot_name = p_slot AND s.database = current_database() AND s.active_pid = p_walsender) THEN
        code := 'fenced'; detail := format('walsender %s does not hold the slot', p_walsender); RETURN;
    END IF;
    DELETE FROM cdc_relay.message_span s WHERE s.slot = p_slot AND s.since > pg_current_wal_insert_lsn();
    SELECT * INTO r FROM cdc_relay.message_span s WHERE s.slot = p_slot AND s.until IS NULL;
    IF p_on AND r.slot IS NULL THEN
        INSERT INTO cdc_relay.message_span (slot, since) VALUES (p_slot, pg_current_wal_insert_lsn());
    ELSIF p_on AND r.closing THEN
        UPDATE cdc_relay.message_span s SET closing = false WHERE s.slot = p_slot AND s.since = r.since;
    ELSIF NOT p_on AND NOT r.closing THEN
        UPDATE cdc_relay.message_span s SET closing = true WHERE s.slot = p_slot AND s.since = r.since;
        code := 'again';
    ELSIF NOT p_on AND r.closing THEN
        UPDATE cdc_relay.message_span s SET until = pg_current_wal_insert_lsn(), until_xid = pg_snapshot_xmax(pg_current_snapshot())
         WHERE s.slot = p_slot AND s.since = r.since;
    END IF;
END
$$;

-- Who may write logical messages at all: with PUBLIC among them any role can forge events, or stop the relay with one that is
-- not transactional. The signatures differ between versions (a fourth argument from 17 on), so they are looked up. needed are
-- the statements that close the function, and leave it to the owner of emit_message.
CREATE OR REPLACE FUNCTION cdc_relay.message_rights_v1(OUT open boolean, OUT owner text, OUT owner_may boolean, OUT needed text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(bool_or(f.open), false), max(o.rolname), coalesce(bool_and(has_function_privilege(o.oid, f.oid, 'EXECUTE')), false),
           'REVOKE EXECUTE ON FUNCTION ' || string_agg(f.name, ', ' ORDER BY f.name) || ' FROM PUBLIC; '
        || 'GRANT EXECUTE ON FUNCTION ' || string_agg(f.name, ', ' ORDER BY f.name) || ' TO ' || quote_ident(max(o.rolname)) || ';'
      FROM (SELECT p.oid, 'pg_catalog.pg_logical_emit_message(' || oidvectortypes(p.proargtypes) || ')' AS name,
                   EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                            WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE') AS open
              FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = 'pg_logical_emit_message') f,
           (SELECT r.oid, r.rolname FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
             WHERE p.pronamespace = 'cdc_relay'::regnamespace AND p.proname = 'emit_message' LIMIT 1) o
$$;

-- The form of a message, which package decoder reads: version, flags, event id, texts with a zero byte behind each, payload.
-- A plain SQL function of one expression, so that it costs no call where it stands.
CREATE OR REPLACE FUNCTION cdc_relay.message_bytes(
    event_id uuid, aggregate_type text, aggregate_id text, event_type text, payload bytea, headers jsonb, topic text, partition_key text)
RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT pg_catalog.set_byte('\x0100'::pg_catalog.bytea, 1, {{if eq .PayloadType "bytea"}}32{{else if eq .PayloadType "text"}}16{{else}}0{{end}}
               + CASE WHEN topic <> '' THEN 1 ELSE 0 END + CASE WHEN partition_key <> '' THEN 2 ELSE 0 END
               + CASE WHEN headers <> '{}' THEN 4 ELSE 0 END + CASE WHEN payload IS NULL THEN 0 ELSE 8 END)
        || pg_catalog.uuid_send(event_id)
        || pg_catalog.convert_to(aggregate_type, 'UTF8') || '\x00'::pg_catalog.bytea
        || pg_catalog.convert_to(aggregate_id, 'UTF8') || '\x00'::pg_catalog.bytea
        || pg_catalog.convert_to(event_type, 'UTF8') || '\x00'::pg_catalog.bytea
        || CASE WHEN topic <> '' THEN pg_catalog.convert_to(topic, 'UTF8') || '\x00'::pg_catalog.bytea ELSE '' END
        || CASE WHEN partition_key <> '' THEN pg_catalog.convert_to(partition_key, 'UTF8') || '\x00'::pg_catalog.bytea ELSE '' END
        || CASE WHEN headers <> '{}' THEN pg_catalog.convert_to(headers::pg_catalog.text, 'UTF8') || '\x00'::pg_catalog.bytea ELSE '' END
        || coalesce(payload, '')
$$;

CREATE OR REPLACE FUNCTION cdc_relay.header_mistake(headers jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF jsonb_typeof(headers) <> 'object' THEN
        RETURN format('headers are a JSON %s, want an object', jsonb_typeof(headers));
    END IF;
    RETURN (SELECT format('header %I has no name or one that the relay writes itself', name) FROM jsonb_object_keys(headers) AS k (name)
             WHERE name IN ('', 'event_id', 'event_type', 'aggregate_type', 'aggregate_id')
                OR starts_with(name, 'cdc-') OR starts_with(name, 'ce_') OR starts_with(name, '__debezium.') LIMIT 1);
END
$$;

-- What is wrong with an event, as cdc_relay.emit and the outbox see it; null: nothing.
CREATE OR REPLACE FUNCTION cdc_relay.message_mistake(
    event_id uuid, aggregate_type text, aggregate_id text, event_type text, payload bytea, headers jsonb)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN coalesce(aggregate_type, '') = '' THEN 'aggregate_type is empty, and it is required'
        WHEN coalesce(aggregate_id, '') = '' THEN 'aggregate_id is empty, and it is required'
        WHEN coalesce(event_type, '') = '' THEN 'event_type is empty, and it is required'
        WHEN event_id = '00000000-0000-0000-0000-000000000000' THEN 'event_id is the nil uuid: every event after the first would be taken for a copy of it'
        WHEN pg_catalog.octet_length(payload) > {{.PayloadMaxBytes}} THEN 'payload_bound'
        WHEN headers <> '{}' THEN cdc_relay.header_mistake(headers)
    END
$$;

CREATE OR REPLACE FUNCTION cdc_relay.refuse_message(mistake text) RETURNS pg_lsn
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF mistake = 'payload_bound' THEN
        RAISE check_violation USING MESSAGE = 'emit_message: the payload is larger than payload_bound allows: {{.PayloadMaxBytes}} bytes', CONSTRAINT = mistake;
    ELSIF mistake = 'no_relay' THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = 'emit_message: no relay publishes messages from this database, and the event would be lost',
            HINT = 'Run the relay with messages: on, or call cdc_relay.emit.';
    END IF;
    RAISE invalid_parameter_value USING MESSAGE = 'emit_message: ' || mistake;
END
$$;

-- cdc_relay.emit without a table: the same parameters, the same rules, and the event's id comes back. emit_messages takes many
-- at once, arrays of the same length or null, and writes them in their order; its arrays are texts, cast one by one, because an
-- array of jsonb costs more than the events. Both run with their owner's rights, so that nobody else needs any on
-- pg_logical_emit_message; EXECUTE on them is for those who may write events:
--
--   GRANT EXECUTE ON FUNCTION cdc_relay.emit_message, cdc_relay.emit_messages TO shop
--
-- First the xid, then the look at the spans: whoever is younger than the end of a span has seen it.
DO $migrate$
DECLARE
    uuid_v7 text := CASE WHEN current_setting('server_version_num')::int >= 180000 THEN 'uuidv7()' ELSE 'cdc_relay.uuid_v7()' END;
BEGIN
    EXECUTE format($create$
CREATE OR REPLACE FUNCTION cdc_relay.emit_message(
    aggregate_type text, aggregate_id text, event_type text, payload {{.PayloadType}},
    headers jsonb DEFAULT '{}', topic text DEFAULT NULL, partition_key text DEFAULT NULL, event_id uuid DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $emit$
DECLARE
    id      uuid   := coalesce(event_id, %s);
    body    bytea  := {{if eq .PayloadType "bytea"}}payload{{else}}convert_to(payload::text, 'UTF8'){{end}};
    mistake text   := cdc_relay.message_mistake(id, aggregate_type, aggregate_id, event_type, body, headers);
    message bytea  := cdc_relay.message_bytes(id, aggregate_type, aggregate_id, event_type, body, headers, topic, partition_key);
    xid     xid8   := pg_current_xact_id();
    written pg_lsn;
BEGIN
    IF mistake IS NULL THEN
        SELECT pg_logical_emit_message(true, 'cdc_relay', message) INTO written FROM cdc_relay.message_span s
         WHERE s.until IS NULL AND NOT s.closing LIMIT 1;
        IF FOUND THEN
            RETURN id;
        END IF;
    END IF;
    PERFORM cdc_relay.refuse_message(coalesce(mistake, 'no_relay'));
    RETURN NULL; -- never: it has raised
END
$emit$
    $create$, uuid_v7);
    EXECUTE format($create$
CREATE OR REPLACE FUNCTION cdc_relay.emit_messages(
    aggregate_types text[], aggregate_ids text[], event_types text[], payloads {{if eq .PayloadType "bytea"}}bytea{{else}}text{{end}}[],
    headers text[] DEFAULT NULL, topics text[] DEFAULT NULL, partition_keys text[] DEFAULT NULL, event_ids text[] DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan -- a plan for the length of each array costs 300 us
AS $emit$
DECLARE
    xid     xid8 := pg_current_xact_id();
    written bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM cdc_relay.message_span s WHERE s.until IS NULL AND NOT s.closing) THEN
        PERFORM cdc_relay.refuse_message('no_relay');
    END IF;
    -- OFFSET 0: id and body are made once, and the functions below are expressions of columns.
    SELECT count(CASE WHEN cdc_relay.message_mistake(e.id, e.aggregate_type, e.aggregate_id, e.event_type, e.body, e.headers) IS NULL
                 THEN pg_logical_emit_message(true, 'cdc_relay',
                      cdc_relay.message_bytes(e.id, e.aggregate_type, e.aggregate_id, e.event_type, e.body, e.headers, e.topic, e.partition_key))
                 ELSE cdc_relay.refuse_message(cdc_relay.message_mistake(e.id, e.aggregate_type, e.aggregate_id, e.event_type, e.body, e.headers)) END)
      INTO written
      FROM (SELECT coalesce(u.id::uuid, %s) AS id, u.aggregate_type, u.aggregate_id, u.event_type, u.headers::jsonb AS headers, u.topic, u.partition_key,
                   {{if eq .PayloadType "bytea"}}u.payload{{else}}convert_to(u.payload{{if ne .PayloadType "text"}}::{{.PayloadType}}::text{{end}}, 'UTF8'){{end}} AS body
              FROM unnest(event_ids, aggregate_types, aggregate_ids, event_types, payloads, headers, topics, partition_keys)
                AS u (id, aggregate_type, aggregate_id, event_type, payload, headers, topic, partition_key) OFFSET 0) AS e;
    RETURN written;
END
$emit$
    $create$, uuid_v7);
END
$migrate$;

REVOKE ALL ON FUNCTION
    cdc_relay.message_spans_v1(text), cdc_relay.messages_v1(text, integer, text, boolean), cdc_relay.message_rights_v1(),
    cdc_relay.message_bytes(uuid, text, text, text, bytea, jsonb, text, text), cdc_relay.header_mistake(jsonb), cdc_relay.refuse_message(text),
    cdc_relay.message_mistake(uuid, text, text, text, bytea, jsonb),
    cdc_relay.emit_message(text, text, text, {{.PayloadType}}, jsonb, text, text, uuid),
    cdc_relay.emit_messages(text[], text[], text[], {{if eq .PayloadType "bytea"}}bytea{{else}}text{{end}}[], text[], text[], text[], text[])
    FROM PUBLIC;
