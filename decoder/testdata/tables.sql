-- A partitioned root with publish_via_partition_root, two tables with rules of their own, one that is not configured; TRUNCATE,
-- UPDATE and DELETE, which have no effect, and inserts of all tables counted in one index.
CREATE TABLE outbox (event_id int, aggregate_type text, aggregate_id text, event_type text, payload text, day date NOT NULL)
    PARTITION BY RANGE (day);
CREATE TABLE outbox_1 PARTITION OF outbox FOR VALUES FROM ('2026-01-01') TO ('2026-01-02');
CREATE TABLE outbox_2 (day date NOT NULL, payload text, event_type text, aggregate_id text, aggregate_type text, event_id int);
ALTER TABLE outbox ATTACH PARTITION outbox_2 FOR VALUES FROM ('2026-01-02') TO ('2026-01-03');
CREATE TABLE second (event_id int, aggregate_type text, aggregate_id text, event_type text, payload text);
CREATE TABLE other (id int PRIMARY KEY);
CREATE PUBLICATION p FOR TABLE outbox, second, other WITH (publish_via_partition_root = true);
ALTER TABLE outbox REPLICA IDENTITY FULL;
ALTER TABLE outbox_1 REPLICA IDENTITY FULL;
ALTER TABLE outbox_2 REPLICA IDENTITY FULL;
-- slot
BEGIN;
INSERT INTO other VALUES (1);
INSERT INTO outbox VALUES (1, 'a', 'k', 't', 'first day', '2026-01-01');
INSERT INTO other VALUES (2);
INSERT INTO outbox VALUES (2, 'a', 'k', 't', 'second day, columns turned round', '2026-01-02');
INSERT INTO second VALUES (3, 'a', 'k', 't', 'allowed');
INSERT INTO second VALUES (4, 'b', 'k', 't', 'not allowed');
UPDATE outbox SET payload = 'changed' WHERE event_id = 1;
UPDATE outbox SET day = '2026-01-02' WHERE event_id = 1;
DELETE FROM outbox WHERE event_id = 2;
INSERT INTO outbox VALUES (5, 'a', 'k', 't', 'last of the transaction', '2026-01-01');
COMMIT;
CREATE TABLE outbox_3 PARTITION OF outbox FOR VALUES FROM ('2026-01-03') TO ('2026-01-04');
INSERT INTO outbox VALUES (6, 'a', 'k', 't', 'into a new partition', '2026-01-03');
TRUNCATE outbox, second;
INSERT INTO second VALUES (7, 'a', NULL, NULL, 'nulls');
INSERT INTO second VALUES (8, NULL, 'k', 't', 'no type');
INSERT INTO outbox VALUES (10, 'a', 'k', 't', 'into the root', '2026-01-02');
