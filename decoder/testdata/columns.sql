-- A table of other names; one column wanted twice, others that nobody asked for; payloads of each type in tables of their own.
CREATE SCHEMA app;
CREATE TYPE app.kind AS ENUM ('made', 'gone');
CREATE TABLE app.events (unused int, what app.kind, body bytea, id bigint, who text);
CREATE TABLE app.json_events (id int, body json, who text);
CREATE TABLE app.text_events (id int, who text, body varchar(100));
CREATE PUBLICATION p FOR TABLE app.events, app.json_events, app.text_events;
-- slot
BEGIN;
INSERT INTO app.events VALUES (1, 'made', '\x00ff10', 1, 'w-1');
INSERT INTO app.events VALUES (NULL, 'gone', NULL, 2, 'w-2');
INSERT INTO app.events VALUES (NULL, 'gone', '', 3, NULL);
INSERT INTO app.events VALUES (NULL, NULL, '', NULL, 'w-4');
INSERT INTO app.json_events VALUES (1, '{ "b" : 1.50,  "b":2 }', 'w-1');
INSERT INTO app.text_events VALUES (1, 'w-1', 'no json: ä "');
INSERT INTO app.text_events VALUES (2, 'w-1', '');
COMMIT;
