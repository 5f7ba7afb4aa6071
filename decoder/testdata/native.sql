-- The native outbox: every column used, every column null that may be, transactions of one row and of several.
CREATE TABLE outbox (
    event_id uuid NOT NULL, aggregate_type text NOT NULL, aggregate_id text NOT NULL, event_type text NOT NULL, topic text,
    partition_key text, payload jsonb, headers jsonb NOT NULL DEFAULT '{}', created_at timestamptz NOT NULL DEFAULT now(),
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY);
CREATE PUBLICATION p FOR TABLE outbox WITH (publish = 'insert', publish_via_partition_root = true);
-- slot
INSERT INTO outbox (event_id, aggregate_type, aggregate_id, event_type, payload)
    VALUES ('00000000-0000-7000-8000-000000000001', 'orders', 'o-1', 'OrderCreated', '{"b": 1, "a": {"x": [1, 2]}}');
BEGIN;
INSERT INTO outbox (event_id, aggregate_type, aggregate_id, event_type, topic, partition_key, payload, headers)
    VALUES ('00000000-0000-7000-8000-000000000002', 'orders', 'o-1', 'OrderPaid', 'payments', 'customer-7', '"text"',
        '{"traceparent": "00-1-2-01", "n": 1.50, "o": {"k": [null, true]}, "event_id": "mine", "cdc-lsn": "mine", "q": "a\"b\u00e9"}');
INSERT INTO outbox (event_id, aggregate_type, aggregate_id, event_type, payload)
    VALUES ('00000000-0000-7000-8000-000000000003', 'orders', 'ö-2', 'OrderDeleted', NULL);
COMMIT;
INSERT INTO outbox (event_id, aggregate_type, aggregate_id, event_type, payload, headers)
    VALUES ('00000000-0000-7000-8000-000000000004', 'orders', '', '', '[]', '[1]');
INSERT INTO outbox (event_id, aggregate_type, aggregate_id, event_type, payload, headers)
    VALUES ('00000000-0000-7000-8000-000000000005', 'Order.Weird Topic', 'o-3', 'T', 'null', 'null');
