-- A mapped column is dropped: the first row after it stops the decoder, with its name.
CREATE TABLE outbox (event_id int, aggregate_type text, aggregate_id text, event_type text, payload text);
CREATE PUBLICATION p FOR TABLE outbox;
-- slot
INSERT INTO outbox VALUES (1, 'a', 'k', 't', 'whole');
ALTER TABLE outbox RENAME COLUMN aggregate_id TO renamed;
INSERT INTO outbox VALUES (2, 'a', 'k', 't', 'after the rename');
