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
    slot        text    NOT NULL,
    incarnation text    NOT NULL,
    since       pg_lsn  NOT NULL,
    closing     boolean NOT NULL DEFAULT false,
    until       pg_lsn,
    until_xid   xid8,
    PRIMARY KEY (slot, incarnation, since)
);
REVOKE ALL ON cdc_relay.message_span FROM PUBLIC;

CREATE OR REPLACE FUNCTION cdc_relay.message_spans_v1(p_slot text, p_incarnation text)
RETURNS TABLE (since pg_lsn, until pg_lsn, until_xid xid8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.since, s.until, s.until_xid FROM cdc_relay.message_span s
     WHERE s.slot = p_slot AND s.incarnation = p_incarnation ORDER BY s.since
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
    SELECT * INTO r FROM cdc_relay.message_span s WHERE s.slot = p_slot AND s.incarnation = p_incarnation AND s.until IS NULL;
    IF p_on AND r.slot IS NULL THEN
        INSERT INTO cdc_relay.message_span (slot, incarnation, since) VALUES (p_slot, p_incarnation, pg_current_wal_insert_lsn());
    ELSIF p_on AND r.closing THEN
        UPDATE cdc_relay.message_span s SET closing = false WHERE s.slot = p_slot AND s.incarnation = p_incarnation AND s.since = r.since;
    ELSIF NOT p_on AND NOT r.closing THEN
        UPDATE cdc_relay.message_span s SET closing = true WHERE s.slot = p_slot AND s.incarnation = p_incarnation AND s.since = r.since;
        code := 'again';
    ELSIF NOT p_on AND r.closing THEN
        UPDATE cdc_relay.message_span s SET until = pg_current_wal_insert_lsn(), until_xid = pg_snapshot_xmax(pg_current_snapshot())
         WHERE s.slot = p_slot AND s.incarnation = p_incarnation AND s.since = r.since;
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

-- cdc_relay.emit without a table: the same parameters, the same rules, and the event's id comes back. It runs with its owner's
-- rights, so that nobody else needs any on pg_logical_emit_message; EXECUTE on it is for those who may write events:
--
--   GRANT EXECUTE ON FUNCTION cdc_relay.emit_message TO shop
--
-- The form of the message stands in package decoder, which reads it.
DO $migrate$
BEGIN
    EXECUTE format($create$
CREATE OR REPLACE FUNCTION cdc_relay.emit_message(
    aggregate_type text,
    aggregate_id   text,
    event_type     text,
    payload        {{.PayloadType}},
    headers        jsonb DEFAULT '{}',
    topic          text DEFAULT NULL,
    partition_key  text DEFAULT NULL,
    event_id       uuid DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $emit$
DECLARE
    id    uuid  := coalesce(event_id, %s);
    body  bytea := {{if eq .PayloadType "bytea"}}payload{{else}}convert_to(payload::text, 'UTF8'){{end}};
    flags int   := {{if eq .PayloadType "bytea"}}32{{else if eq .PayloadType "text"}}16{{else}}0{{end}};
    texts bytea := convert_to(aggregate_type, 'UTF8') || '\x00'::bytea || convert_to(aggregate_id, 'UTF8') || '\x00'::bytea
                || convert_to(event_type, 'UTF8') || '\x00'::bytea;
    wrong text;
BEGIN
    IF texts IS NULL OR '' IN (aggregate_type, aggregate_id, event_type) THEN
        RAISE EXCEPTION 'emit_message: %% is empty, and it is required', CASE WHEN coalesce(aggregate_type, '') = '' THEN 'aggregate_type'
            WHEN coalesce(aggregate_id, '') = '' THEN 'aggregate_id' ELSE 'event_type' END USING ERRCODE = 'invalid_parameter_value';
    ELSIF id = '00000000-0000-0000-0000-000000000000' THEN
        RAISE EXCEPTION 'emit_message: event_id is the nil uuid: every event after the first would be taken for a copy of it' USING ERRCODE = 'invalid_parameter_value';
    ELSIF octet_length(body) > {{.PayloadMaxBytes}} THEN
        RAISE EXCEPTION 'emit_message: the payload has %% bytes, more than payload_bound allows: {{.PayloadMaxBytes}}', octet_length(body)
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payload_bound';
    END IF;
    IF topic <> '' THEN
        flags := flags + 1;
        texts := texts || convert_to(topic, 'UTF8') || '\x00'::bytea;
    END IF;
    IF partition_key <> '' THEN
        flags := flags + 2;
        texts := texts || convert_to(partition_key, 'UTF8') || '\x00'::bytea;
    END IF;
    IF headers <> '{}' THEN
        IF jsonb_typeof(headers) <> 'object' THEN
            RAISE EXCEPTION 'emit_message: headers are a JSON %%, want an object', jsonb_typeof(headers) USING ERRCODE = 'invalid_parameter_value';
        END IF;
        SELECT name INTO wrong FROM jsonb_object_keys(headers) AS k (name)
         WHERE name IN ('', 'event_id', 'event_type', 'aggregate_type', 'aggregate_id')
            OR starts_with(name, 'cdc-') OR starts_with(name, 'ce_') OR starts_with(name, '__debezium.')
         LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'emit_message: header %% has no name or one that the relay writes itself', quote_ident(wrong) USING ERRCODE = 'invalid_parameter_value';
        END IF;
        flags := flags + 4;
        texts := texts || convert_to(headers::text, 'UTF8') || '\x00'::bytea;
    END IF;
    IF body IS NOT NULL THEN
        flags := flags + 8;
        texts := texts || body;
    END IF;
    -- First the xid, then the look: whoever is younger than the end of a span has seen it.
    PERFORM pg_current_xact_id();
    IF NOT EXISTS (SELECT FROM cdc_relay.message_span s JOIN cdc_relay.checkpoint c USING (slot, incarnation)
                    WHERE s.until IS NULL AND NOT s.closing) THEN
        RAISE EXCEPTION 'emit_message: no relay publishes messages from this database, and the event would be lost'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run the relay with messages: on, or call cdc_relay.emit.';
    END IF;
    PERFORM pg_logical_emit_message(true, 'cdc_relay', set_byte('\x0100'::bytea, 1, flags) || uuid_send(id) || texts);
    RETURN id;
END
$emit$
    $create$, CASE WHEN current_setting('server_version_num')::int >= 180000 THEN 'uuidv7()' ELSE 'cdc_relay.uuid_v7()' END);
END
$migrate$;

REVOKE ALL ON FUNCTION
    cdc_relay.message_spans_v1(text, text), cdc_relay.messages_v1(text, integer, text, boolean), cdc_relay.message_rights_v1(),
    cdc_relay.emit_message(text, text, text, {{.PayloadType}}, jsonb, text, text, uuid)
    FROM PUBLIC;
