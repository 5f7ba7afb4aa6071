-- The table of Debezium's outbox event router, with columns for additional placements of every supported type.
CREATE TABLE outbox (
    id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL, aggregateid varchar(255) NOT NULL, type varchar(255) NOT NULL,
    payload jsonb, tenant text, n int, amount numeric(12, 2), ok boolean, ts timestamp, tz timestamptz, doc jsonb, prio int DEFAULT 3);
CREATE PUBLICATION p FOR TABLE outbox;
-- slot
SET TimeZone = 'Asia/Kolkata';
INSERT INTO outbox VALUES ('00000000-0000-4000-8000-000000000001', 'Order', 'o-1', 'OrderCreated', '{"b": 1, "a": {"x": [1, 2]}}',
    'acme', 42, 12.30, true, '2026-01-02 03:04:05.678901', '2026-01-02 03:04:05.678901+00', '{"a": 1}');
INSERT INTO outbox VALUES ('00000000-0000-4000-8000-000000000002', 'Order', '', 'OrderDeleted', NULL);
UPDATE outbox SET tenant = 'other';
DELETE FROM outbox;
INSERT INTO outbox VALUES ('00000000-0000-4000-8000-000000000003', 'Customer', 'c-1', 'Created', '"a \"quoted\" string"', 'x', -1,
    -0.05, false, '1969-12-31 23:59:59.5', '2026-01-02 03:04:05', '[1, 2]', 0);
