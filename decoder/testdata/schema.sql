-- The schema changes in mid-stream: added, dropped, renamed columns, a table made again with another order; wide rows.
CREATE TABLE outbox (event_id int, aggregate_type text, aggregate_id text, event_type text, payload text);
CREATE PUBLICATION p FOR TABLE outbox;
-- slot
INSERT INTO outbox VALUES (1, 'a', 'k', 't', 'before');
ALTER TABLE outbox ADD COLUMN wide1 text DEFAULT 'w', ADD COLUMN wide2 int;
INSERT INTO outbox VALUES (2, 'a', 'k', 't', 'two more columns', NULL, 7);
BEGIN;
INSERT INTO outbox VALUES (3, 'a', 'k', 't', 'first half');
ALTER TABLE outbox DROP COLUMN wide1;
INSERT INTO outbox VALUES (4, 'a', 'k', 't', 'one dropped in the same transaction', 8);
COMMIT;
ALTER TABLE outbox DROP COLUMN payload;
ALTER TABLE outbox ADD COLUMN payload json;
INSERT INTO outbox VALUES (5, 'a', 'k', 't', 9, '{"moved": "to the end"}');
ALTER TABLE outbox ALTER COLUMN event_id TYPE text;
INSERT INTO outbox VALUES ('six', 'a', 'k', 't', 9, '6');
BEGIN;
DROP TABLE outbox;
CREATE TABLE outbox (payload bytea, event_type text, aggregate_id text, aggregate_type text, event_id int);
ALTER PUBLICATION p ADD TABLE outbox;
COMMIT;
INSERT INTO outbox VALUES ('bytes', 't', 'k', 'a', 7);
DO $$
BEGIN
    FOR i IN 1..300 LOOP
        EXECUTE format('ALTER TABLE outbox ADD COLUMN c%s int', i);
    END LOOP;
END $$;
INSERT INTO outbox VALUES ('wide', 't', 'k', 'a', 8, 1, 2, 3);
