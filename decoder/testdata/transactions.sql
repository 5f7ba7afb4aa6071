-- Savepoints rolled back, COPY, a prepared transaction, empty and rolled back ones; logical messages of both kinds.
CREATE TABLE outbox (event_id int, aggregate_type text, aggregate_id text, event_type text, payload text);
CREATE TABLE business (id int);
CREATE PUBLICATION p FOR TABLE outbox WITH (publish = 'insert');
-- slot
BEGIN;
INSERT INTO outbox VALUES (1, 'a', 'k', 't', 'kept');
SAVEPOINT s;
INSERT INTO outbox VALUES (2, 'a', 'k', 't', 'rolled back');
ROLLBACK TO s;
INSERT INTO outbox VALUES (3, 'a', 'k', 't', 'after the savepoint');
SAVEPOINT s2;
INSERT INTO outbox VALUES (4, 'a', 'k', 't', 'released');
RELEASE s2;
COMMIT;
BEGIN;
INSERT INTO outbox VALUES (5, 'a', 'k', 't', 'rolled back');
ROLLBACK;
INSERT INTO business VALUES (1);
COPY outbox FROM STDIN;
6	a	k	t	copied
7	a	k	t	\N
8	a	k	t	copied too
\.
BEGIN;
INSERT INTO outbox VALUES (9, 'a', 'k', 't', 'prepared');
SELECT pg_logical_emit_message(true, 'prefix', 'in the transaction');
INSERT INTO outbox VALUES (10, 'a', 'k', 't', 'prepared too');
PREPARE TRANSACTION 'gid';
INSERT INTO outbox VALUES (11, 'a', 'k', 't', 'committed before the prepared one');
COMMIT PREPARED 'gid';
SELECT pg_logical_emit_message(false, 'prefix', 'outside of one');
BEGIN;
SELECT pg_logical_emit_message(false, 'prefix', 'from a transaction that goes');
ROLLBACK;
INSERT INTO outbox VALUES (12, 'a', 'k', 't', 'last');
