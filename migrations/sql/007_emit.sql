-- What package outbox does for programs in Go, for all others: one call writes an event and returns its id.
--
--   SELECT cdc_relay.emit(aggregate_type => 'orders', aggregate_id => 'o-1', event_type => 'OrderCreated', payload => '{"total": 12}')
--
-- It runs with the caller's rights, who needs INSERT on the outbox and nothing else: so the id is made here, and not read back
-- from the column's default. No SET search_path: it is not a definer's function, and SET costs each call.
DO $migrate$
BEGIN
    EXECUTE format($create$
CREATE OR REPLACE FUNCTION cdc_relay.emit(
    aggregate_type text,                   -- what kind of thing the event is about; names the topic, unless topic does
    aggregate_id   text,                   -- which one; the key, unless partition_key is
    event_type     text,                   -- what happened
    payload        {{.PayloadType}},       -- the record's value; null: a tombstone
    headers        jsonb DEFAULT '{}',     -- an object: the record's headers
    topic          text DEFAULT NULL,      -- null or empty: the relay's rule
    partition_key  text DEFAULT NULL,      -- null or empty: aggregate_id
    event_id       uuid DEFAULT NULL       -- null: a v7 made here
) RETURNS uuid
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $emit$
#variable_conflict use_variable
DECLARE
    id     pg_catalog.uuid := coalesce(event_id, %s);
    others pg_catalog.jsonb := coalesce(headers, '{}');
    wrong  pg_catalog.text;
BEGIN
    wrong := CASE
        WHEN coalesce(aggregate_type, '') = '' THEN 'aggregate_type'
        WHEN coalesce(aggregate_id, '') = '' THEN 'aggregate_id'
        WHEN coalesce(event_type, '') = '' THEN 'event_type'
    END;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'emit: %% is empty, and it is required', wrong USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF id = '00000000-0000-0000-0000-000000000000' THEN
        RAISE EXCEPTION 'emit: event_id is the nil uuid: every event after the first would be taken for a copy of it' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF others <> '{}' THEN
        IF pg_catalog.jsonb_typeof(others) <> 'object' THEN
            RAISE EXCEPTION 'emit: headers are a JSON %%, want an object', pg_catalog.jsonb_typeof(others) USING ERRCODE = 'invalid_parameter_value';
        END IF;
        SELECT name INTO wrong FROM pg_catalog.jsonb_object_keys(others) AS k (name)
         WHERE name IN ('', 'event_id', 'event_type', 'aggregate_type', 'aggregate_id')
            OR pg_catalog.starts_with(name, 'cdc-') OR pg_catalog.starts_with(name, 'ce_') OR pg_catalog.starts_with(name, '__debezium.')
         LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'emit: header %% has no name or one that the relay writes itself', pg_catalog.quote_ident(wrong) USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END IF;
    INSERT INTO {{.Outbox}} (event_id, aggregate_type, aggregate_id, event_type, topic, partition_key, payload, headers)
    VALUES (id, aggregate_type, aggregate_id, event_type, nullif(topic, ''), nullif(partition_key, ''), payload, others);
    RETURN id;
END
$emit$
    $create$, CASE WHEN current_setting('server_version_num')::int >= 180000 THEN 'pg_catalog.uuidv7()' ELSE 'cdc_relay.uuid_v7()' END);
END
$migrate$;
GRANT EXECUTE ON FUNCTION cdc_relay.emit(text, text, text, {{.PayloadType}}, jsonb, text, text, uuid) TO PUBLIC;
